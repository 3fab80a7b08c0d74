"""Chatterbox Multilingual by the whole command: clips of several languages, and a language that it has to learn."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import torch
from chatterbox.mtl_tts import punc_norm
from safetensors.torch import load_file

from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter
from calm_ft.adapters.chatterbox_multilingual.models import TOKENIZER
from calm_ft.runs import adapter_for
from scripts import evaluate, export, synthesize
from tests.adapters.chatterbox_multilingual.conftest import make_adapter, upstream_tokenizer
from tests.scripts.run_script import run
from tests.training.tiny_run import copy_short_clips, run_train

T3 = "t3_mtl23ls_v2.safetensors"
FRENCH = ["Bonjour à tous.", "Ça va très bien.", "Où êtes-vous?", "L'été est là."]
GERMAN = ["Guten Tag.", "Schön, nicht?"]
JAPANESE = "こんにちは。"
INVENTED = ["ქართული ენა.", "გამარჯობა ŵ.", "Ħaj, ეს არის.", "კარგი, ŵel!", "დიახ, ან არა?", "Один да ორი."]
"""A made-up language: Georgian letters, which the tokenizer lacks, among others that it has or lacks."""


@pytest.fixture
def overrides(tiny: list[str]) -> list[str]:
    small = ["adapter=chatterbox_multilingual_tiny", "adapter.max_speech_tokens=60", "optimizer.lr=1e-3"]
    return [*tiny, *small, "trainer.accumulate_grad_batches=1", "data.validation_fraction=0.3"]


def write_list(folder: Path, texts: Sequence[tuple[str, str]]) -> Path:
    """A table of the demo voice's shortest recordings with other texts, each with its language."""
    copy_short_clips(folder, len(texts))
    clips = sorted(folder.glob("*.ogg"))
    for clip in clips:
        clip.with_suffix(".txt").unlink()
    rows = [f"{clip.name}\t{text}\t{language}" for clip, (text, language) in zip(clips, texts, strict=True)]
    (folder / "list.tsv").write_text("\n".join(["path\ttext\tlanguage", *rows, ""]), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_clips_of_several_languages_train_in_their_own_and_one_of_them_is_spoken(
    overrides: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    texts = [*((text, "fr") for text in FRENCH), *((text, "de-AT") for text in GERMAN), (JAPANESE, "ja")]
    data, folder = write_list(tmp_path / "mixed", texts), tmp_path / "run"
    own = [f"data.path={data}", f"output_dir={folder}", "adapter.language=fr"]
    assert run_train(monkeypatch, "experiment=chatterbox_t3", *overrides, *own) == 0
    assert "chatterbox_multilingual_tiny, a rehearsal with random weights" in capsys.readouterr().out
    (excluded,) = [json.loads(line) for line in (folder / "excluded.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "it is in ja: Chatterbox reads ja well only with the package pykakasi" in excluded["reason"]
    facts = json.loads((folder / "run.json").read_text())
    assert facts["num_train_clips"] + facts["num_validation_clips"] == len(FRENCH) + len(GERMAN)
    base, tuned = make_adapter(language="fr").t3.state_dict(), load_file(folder / "export" / T3)
    assert any(not torch.equal(base[name], tuned[name]) for name in base)
    heldout = write_list(tmp_path / "heldout", [("Guten Tag.", "de"), ("Merci bien.", "fr"), ("Ja.", "de")])
    arguments = ["--heldout", heldout, "--num-sentences", 3]
    assert run(monkeypatch, evaluate, folder, *arguments) == 0
    printed = capsys.readouterr().out
    assert "2 recordings: they are in de, and sentences are spoken in adapter.language=fr alone" in printed
    out = tmp_path / "hello.wav"
    assert run(monkeypatch, synthesize, folder, "--text", "Bonjour.", "--output", out) == 0
    samples, rate = soundfile.read(out)
    assert rate == 24_000
    assert len(samples) > 960
    speaker = adapter_for(str(folder))
    assert isinstance(speaker, ChatterboxMultilingualAdapter)
    assert speaker.language == "fr"


@pytest.mark.slow
def test_a_new_language_goes_the_whole_way_and_stock_reads_its_texts_as_training_did(
    overrides: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    data, folder = write_list(tmp_path / "invented", [(text, "") for text in INVENTED]), tmp_path / "run"
    own = [f"data.path={data}", f"output_dir={folder}", "adapter.language=qq"]
    command = ["experiment=chatterbox_new_language", *overrides, *own]
    assert run_train(monkeypatch, *command) == 0
    printed = capsys.readouterr().out
    assert "with the tag [qq] and" in printed
    assert "the tokenizer does not know" not in printed
    assert run_train(monkeypatch, *command, "trainer.max_steps=4", "resume=true") == 0
    again = tmp_path / "again"
    assert run(monkeypatch, export, folder, "--output-dir", again) == 0
    one, other = (load_file(each / T3) for each in (folder / "export", again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (again / TOKENIZER).read_bytes() == (folder / "export" / TOKENIZER).read_bytes()
    theirs, speaker = upstream_tokenizer(again / TOKENIZER), adapter_for(str(again))
    assert isinstance(speaker, ChatterboxMultilingualAdapter)
    for text in INVENTED:
        ids = theirs.encode(punc_norm(f"[qq]{text}"), language_id=None)
        assert theirs.tokenizer.token_to_id("[UNK]") not in ids
        assert speaker.text.tokens(text).tolist() == [255, *ids, 0]
    assert one["text_emb.weight"].shape == make_adapter().t3.text_emb.weight.shape
    assert run(monkeypatch, evaluate, folder, "--num-sentences", 1) == 0
    assert run(monkeypatch, evaluate, "base", "--of", folder, "--num-sentences", 1) == 0
    assert run(monkeypatch, synthesize, again, "--text", "ქართული", "--output", tmp_path / "hello.wav") == 0


@pytest.mark.slow
def test_a_strategy_that_leaves_new_characters_as_they_begin_is_refused(
    overrides: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    data = write_list(tmp_path / "invented", [(text, "") for text in INVENTED])
    own = [f"data.path={data}", f"output_dir={tmp_path / 'run'}", "adapter.language=qq", "strategy=lora_t3"]
    assert run_train(monkeypatch, "experiment=chatterbox_new_language", *overrides, *own) == 2
    assert "leaves t3.text_emb.weight as it is, where new characters have to be learned" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
