"""What --tokenizer finds: tokens as the adapter counts them, characters that the tokenizer lacks, and refusals."""

import json
import shutil
from pathlib import Path

import pytest
from pocket_tts.models.text_chunking import prepare_text_prompt

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.tokenizer import read_tokenizer
from calm_ft.errors import UserError
from calm_ft.preparation.page.page import write_page
from calm_ft.preparation.pipeline import Request, prepare
from calm_ft.preparation.tokens import as_read, count_tokens
from tests.preparation.page_dataset import made_row, write_rows
from tests.preparation.test_dataset import clip

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "calm_ft/assets/nano/tokenizer.model"
DEMO = ROOT / "calm_ft/assets/demo_voice/train"
TEXTS = (
    "It was on the window.",
    "  two   blanks, and no mark ",
    "Does she know?",
    "A dash at the end -",
    'He said "stop"',
    'He said "stop,"',
    "Łódź and the naïve café, 東京!",
    "ok",
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_tokens_and_the_unknown_characters_that_the_adapter_trains_on(
    nano_adapter: PocketTTSAdapter, text: str
) -> None:
    reader, read = read_tokenizer(TOKENIZER), as_read(text)
    by_default = prepare_text_prompt(text, pad_with_spaces_for_short_inputs=False, remove_semicolons=False)[0]
    assert read == " ".join(by_default.split())
    if nano_adapter.text.prepare(text) == by_default:  # the embedded model's settings replace some marks besides
        assert reader.num_tokens(read) == len(nano_adapter.text.tokens(text))
        assert reader.unknown_characters(read) == nano_adapter.text_coverage(text).unknown


def test_each_unknown_character_is_counted_with_examples_and_known_ones_are_not() -> None:
    clips = [clip("a", "Łódź, Łódź!"), clip("b", "A plain sentence."), clip("c", "Łuk")]
    findings = count_tokens(clips, read_tokenizer(TOKENIZER))
    assert {each.clip: each.detail for each in findings if each.clip} == {
        "a": "it does not know Ł (2x), ó (2x), ź (2x)",
        "c": "it does not know Ł (1x)",
    }
    assert next(each.detail for each in findings if each.clip is None) == "Ł: 3x in 2 clips, such as a, c"
    assert all(each.num_tokens and each.num_tokens > 1 for each in clips)


def test_a_tokenizer_in_json_is_read_as_well(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = [("<unk>", 0.0), *((each, -1.0) for each in "▁abcdefghijklmnopqrstuvwxyz.T")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=0))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reader = read_tokenizer(tmp_path / "tokenizer.json")
    assert reader.num_tokens("The cat.") == len("▁The▁cat.")
    assert reader.unknown_characters("The żuk, że.") == {"ż": 2, ",": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "is no tokenizer"),
        (b"words" * 99, "is no tokenizer"),
        (b'{"a": 1}', "is no token"),
    ],
)
def test_a_missing_and_a_wrong_file_are_refused_before_anything_is_written(tmp_path, content, said) -> None:
    (tmp_path / "recordings").mkdir()
    if content is not None:
        (tmp_path / "tokenizer.model").write_bytes(content)
    request = Request(tmp_path / "recordings", tmp_path / "dataset", tokenizer=tmp_path / "tokenizer.model")
    with pytest.raises(UserError, match=said) as error:
        prepare(request)
    assert "tokenizer.json of the model" in str(error.value)
    assert not (tmp_path / "dataset").exists()


def test_the_page_shows_tokens_where_they_were_counted(tmp_path: Path) -> None:
    for name, tokens in (("without", {}), ("with", {"num_tokens": 12})):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / "manifest.jsonl", (made_row(number, **tokens) for number in range(20)))
        write_page(tmp_path / name)
    assert "Tokens of texts" in (tmp_path / "with/report.html").read_text()
    assert "Tokens of texts" not in (tmp_path / "without/report.html").read_text()


@pytest.mark.slow
def test_a_dataset_says_what_the_tokenizer_lacks_and_has_the_same_clips_and_splits_as_without(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for audio in sorted(DEMO.glob("*.ogg"))[:5]:
        shutil.copy(audio, recordings)
        shutil.copy(audio.with_suffix(".txt"), recordings)
    text = recordings / "001.txt"
    text.write_text(text.read_text().strip() + " Łódź")

    def rows(**settings) -> tuple[list[dict], list]:
        request = Request(recordings, tmp_path / "dataset", language="en", transcribe="none", **settings)
        problems = prepare(request, say=lambda line: None).problems
        lists = [tmp_path / "dataset" / name for name in ("manifest.jsonl", "heldout.jsonl")]
        return [json.loads(line) for path in lists for line in path.read_text().splitlines()], problems

    before, _ = rows()
    after, problems = rows(tokenizer=TOKENIZER)
    (found,) = [each for each in problems if each.kind == "unread_characters"]
    assert (found.severity, found.clips) == ("warning", ("001",))
    assert found.details[0] == "it does not know Ł (1x), ó (1x), ź (1x)"
    assert set(found.details[1:]) == {f"{each}: 1x in 1 clip, such as 001" for each in "Łóź"}
    assert all(row.pop("num_tokens") > 0 for row in after)
    for row in after:
        row["problems"] = [each for each in row["problems"] if each != "unread_characters"]
    assert after == before
