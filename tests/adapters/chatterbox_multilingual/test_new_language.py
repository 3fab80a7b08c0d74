"""A language that the model lacks: its characters and tag take unread rows, and stock reads what training read."""

import json
import unicodedata
from pathlib import Path

import pytest
import torch
from chatterbox.mtl_tts import punc_norm
from tokenizers import Tokenizer

from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter, NewLanguageAdapter
from calm_ft.adapters.chatterbox_multilingual.models import TINY_TOKENIZER_FILES, TOKENIZER
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full
from calm_ft.runs import adapter_for
from tests.adapters.chatterbox_multilingual.conftest import make_adapter, upstream_tokenizer

TEXTS = ["Გამარჯობა, როგორ ხარ?", "Ŵel, ħaj!", "Один стол"]
RELEASED = Tokenizer.from_file(str(TINY_TOKENIZER_FILES[TOKENIZER]))


def learner(language: str = "qq", **settings: object) -> NewLanguageAdapter:
    adapter = make_adapter("chatterbox_new_language", language=language, **settings)
    assert isinstance(adapter, NewLanguageAdapter)
    return adapter


def fitted(texts: list[str] = TEXTS, language: str = "qq") -> NewLanguageAdapter:
    adapter = learner(language)
    adapter.fit_vocabulary(texts)
    return adapter


def test_characters_and_tag_that_were_lacking_are_read_and_everything_else_as_before() -> None:
    adapter = learner()
    assert adapter.text_coverage(TEXTS[0]).unknown
    adapter.fit_vocabulary(TEXTS)
    own = adapter.models.tokenizer.tokenizer
    for text in TEXTS:
        assert not adapter.text_coverage(text).unknown
        assert adapter.text.tokens(text)[1] == own.token_to_id("[qq]")
    old, new = RELEASED.get_vocab(), own.get_vocab()
    changed = set(adapter.reused_rows.nonzero().flatten().tolist())
    assert {row for row in range(404) if row in changed} == {new[name] for name in new.keys() - old.keys()}
    assert all(new[name] == row for name, row in old.items() if row not in changed)
    for text in ("[fr]ça va être bien.", "[de]über ß.", "[ko]안녕.", "[en]her, in.", "[sw]sitaki"):
        given = unicodedata.normalize("NFKD", text).replace(" ", "[SPACE]")
        assert own.encode(given).ids == RELEASED.encode(given).ids


def test_rows_of_no_token_come_first_then_chinese_then_other_scripts_and_no_part_of_a_merge() -> None:
    names = {row: name for name, row in RELEASED.get_vocab().items()}
    reused = [row for row, code in enumerate(fitted().reused_rows.tolist()) if code]
    assert {401, 402, 403} < set(reused)
    assert all(names[row].startswith("[cj_") for row in reused if row in names)
    ethiopic = [chr(code) for code in range(0x1200, 0x1248)]
    many = fitted(["".join(ethiopic), "Один стол"], language="am")
    others = [names[row] for row, code in enumerate(many.reused_rows.tolist()) if code and row in names]
    letters = [name for name in others if not name.startswith("[cj_")]
    assert len(others) - len(letters) == 37  # all of Chinese
    assert letters
    assert not {"с", "т", "ст", "er", "in"} & set(letters)
    assert all(unicodedata.name(each).split()[0] in ("HEBREW", "HANGUL") for each in letters)


@pytest.mark.slow
def test_new_rows_begin_at_the_mean_and_old_ones_stay_bit_for_bit() -> None:
    before, adapter = learner(), fitted()
    is_new = adapter.reused_rows != 0
    assert is_new.sum() == 10
    for old, new in (
        (before.t3.text_emb.weight, adapter.t3.text_emb.weight),
        (before.t3.text_head.weight, adapter.t3.text_head.weight),
    ):
        assert torch.equal(new[~is_new], old[~is_new])
        torch.testing.assert_close(new[is_new], old.mean(dim=0).expand_as(new[is_new]))
    changed = {n for n, p in adapter.named_parameters() if not torch.equal(p, dict(before.named_parameters())[n])}
    assert changed == {"t3.text_emb.weight", "t3.text_head.weight"}


def test_the_rows_are_a_function_of_the_texts_whatever_their_order() -> None:
    assert torch.equal(fitted().reused_rows, fitted([*reversed(TEXTS), TEXTS[0]]).reused_rows)


def test_a_language_that_the_model_has_gets_characters_and_no_tag() -> None:
    adapter = fitted(["Ħello."], language="en")
    assert adapter.reused_rows[adapter.reused_rows != 0].tolist() == [ord("ħ")]
    assert adapter.describe().endswith("with 1 characters of en in unread rows")


def test_a_checkpoint_brings_its_vocabulary_into_a_fresh_model_and_the_released_one_back() -> None:
    adapter, strategy = fitted(), Full(["s3gen"])
    strategy.apply(adapter, lr=1e-3)
    state = {name: tensor.clone() for name, tensor in strategy.trainable_state(adapter).items()}
    fresh, tokens = learner(), adapter.text.tokens(TEXTS[0])
    plain = {name: tensor.clone() for name, tensor in fresh.fitted_state().items()}
    as_released = fresh.text.tokens(TEXTS[1])
    strategy.apply(fresh, lr=0.0)
    strategy.load_state(fresh, state)
    assert torch.equal(fresh.text.tokens(TEXTS[0]), tokens)
    assert torch.equal(fresh.t3.text_emb.weight, adapter.t3.text_emb.weight)
    strategy.load_state(fresh, plain)
    assert torch.equal(fresh.text.tokens(TEXTS[1]), as_released)
    fresh.take_vocabulary(state)
    assert torch.equal(fresh.text.tokens(TEXTS[0]), tokens)
    assert torch.equal(fresh.t3.text_emb.weight, adapter.t3.text_emb.weight)


@pytest.mark.slow
def test_stocks_tokenizer_reads_an_export_as_training_read_it_and_so_does_a_run_upon_it(voice_file, tmp_path) -> None:
    adapter, folder = fitted(), tmp_path / "export"
    adapter.export(folder, voice_file)
    theirs = upstream_tokenizer(folder / TOKENIZER)
    assert max(theirs.tokenizer.get_vocab().values()) < 404
    for text in TEXTS:
        given = punc_norm(f"[qq]{text}")  # as stock's generate does, which is given no language
        assert adapter.text.tokens(text).tolist() == [255, *theirs.encode(given, None), 0]
    again = adapter_for(str(folder))
    assert isinstance(again, ChatterboxMultilingualAdapter)
    assert again.language == "qq"
    assert all(torch.equal(again.text.tokens(text), adapter.text.tokens(text)) for text in TEXTS)
    assert 'generate("[qq]Hello there.", language_id=None)' in (folder / "README.md").read_text()
    further = learner(local_dir=str(folder))
    further.fit_vocabulary([*TEXTS, "ჟ"])
    assert further.reused_rows[further.reused_rows != 0].tolist() == [ord("ჟ")]  # the tag and the others are there


def test_more_characters_than_there_are_rows_are_refused_with_both_numbers() -> None:
    with pytest.raises(UserError, match=r"hold 400 characters .* lacks, and \d+ of its rows can be reused"):
        fitted(["".join(map(chr, range(0x4E00, 0x4E00 + 400)))])


@pytest.mark.parametrize(
    ("experiment", "settings", "said"),
    [
        ("chatterbox_new_language", {"language": "ja"}, "cannot be learned so: .*pykakasi"),
        ("chatterbox_new_language", {"language": None}, "give the code of the language to be learned"),
        ("chatterbox_s3gen", {"language": "qq"}, "learned by T3, which the objective does not train"),
    ],
)
def test_what_cannot_learn_a_language_is_refused(experiment: str, settings: dict[str, object], said: str) -> None:
    target = "calm_ft.adapters.chatterbox_multilingual.adapter.NewLanguageAdapter"
    with pytest.raises(UserError, match=said):
        make_adapter(experiment, _target_=target, **settings)


def test_the_written_tokenizer_has_no_token_twice(voice_file, tmp_path: Path) -> None:
    fitted().export(tmp_path / "export", voice_file)
    content = json.loads((tmp_path / "export" / TOKENIZER).read_text(encoding="utf-8"))
    rows = [*content["model"]["vocab"].values()]
    assert len(rows) == len(set(rows))
    added = {each["content"]: each["id"] for each in content["added_tokens"]}
    assert all(content["model"]["vocab"][name] == row for name, row in added.items())
