"""Exports as the unmodified package loads them, and what a failing one leaves."""

import shutil
from pathlib import Path

import pytest
import torch
from chatterbox.models.t3 import T3
from chatterbox.models.voice_encoder import VoiceEncoder
from chatterbox.tts import ChatterboxTTS, Conditionals
from safetensors.torch import load_file
from torch import nn

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.tiny import TinyS3Gen, tiny_t3_config, write_random_files
from calm_ft.config import build, compose_config, plain
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter

FILES = ["README.md", "conds.pt", "s3gen.safetensors", "t3_cfg.safetensors", "tokenizer.json", "ve.safetensors"]


@torch.no_grad()
def nudge(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.add_(1e-3)


def assert_holds(path: Path, module: nn.Module) -> None:
    """The file's tensors are the module's, name by name, bit for bit."""
    stored, own = load_file(path), module.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[name], own[name]) for name in own)


@pytest.mark.slow
def test_an_export_loads_strictly_into_upstreams_classes(adapter: ChatterboxAdapter, voice_file, tmp_path) -> None:
    nudge(adapter.t3)
    adapter.synthesize(["Hello."], adapter.load_voice(voice_file), seed=0)  # leaves no trace in what is saved
    adapter.export(tmp_path / "export", voice_file)
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == FILES
    for name, fresh, tuned in (
        ("t3_cfg.safetensors", T3(tiny_t3_config()), adapter.t3),
        ("s3gen.safetensors", TinyS3Gen(), adapter.s3gen),
        ("ve.safetensors", VoiceEncoder(), adapter.voice_encoder),
    ):
        fresh.load_state_dict(load_file(tmp_path / "export" / name))
        assert_holds(tmp_path / "export" / name, tuned)
    voice = Conditionals.load(tmp_path / "export" / "conds.pt")
    assert torch.equal(voice.t3.speaker_emb, adapter.load_voice(voice_file).t3.speaker_emb)


@pytest.mark.parametrize(
    ("experiment", "written"),
    [
        ("chatterbox_t3", {"t3_cfg.safetensors"}),
        ("chatterbox_s3gen", {"s3gen.safetensors"}),
        ("chatterbox_full", {"s3gen.safetensors", "t3_cfg.safetensors"}),
    ],
)
def test_frozen_files_are_the_bases_own(files: Path, voice_file, tmp_path, experiment: str, written: set[str]) -> None:
    adapter = make_adapter(experiment, local_dir=str(files))
    adapter.export(tmp_path / "export", voice_file)
    weights = {"s3gen.safetensors", "t3_cfg.safetensors", "ve.safetensors"}
    linked = {name for name in weights if (tmp_path / "export" / name).samefile(files / name)}
    assert linked == weights - written


def test_files_are_copied_where_they_cannot_be_linked(files: Path, voice_file, tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    make_adapter(local_dir=str(files)).export(tmp_path / "export", voice_file)
    assert (tmp_path / "export" / "ve.safetensors").read_bytes() == (files / "ve.safetensors").read_bytes()
    assert not (tmp_path / "export" / "ve.safetensors").samefile(files / "ve.safetensors")


def test_an_export_replaces_an_older_one_and_not_its_base(files: Path, voice_file, tmp_path) -> None:
    adapter = make_adapter(local_dir=str(files))
    adapter.export(tmp_path / "export", voice_file)
    before = load_file(files / "t3_cfg.safetensors")
    nudge(adapter.t3)
    adapter.export(tmp_path / "export", voice_file)
    assert_holds(tmp_path / "export" / "t3_cfg.safetensors", adapter.t3)
    after = load_file(files / "t3_cfg.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("target", ["other files", "the base", "a file", "an empty folder"])
def test_an_export_takes_no_other_folders_place(files: Path, voice_file, tmp_path, target: str) -> None:
    place = files if target == "the base" else tmp_path / "place"
    if target == "a file":
        place.write_text("mine")
    elif target != "the base":
        place.mkdir()
    if target == "other files":
        (place / "notes.txt").write_text("mine")
    adapter = make_adapter(local_dir=str(files))
    if target == "an empty folder":
        adapter.export(place, voice_file)
        return
    listed = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"holds other files \(notes.txt\)|holds the base model|is a file"):
        adapter.export(place, voice_file)
    assert sorted(tmp_path.rglob("*")) == listed


def test_a_full_disk_leaves_the_older_export(files: Path, voice_file, tmp_path, monkeypatch) -> None:
    adapter = make_adapter(local_dir=str(files))
    adapter.export(tmp_path / "export", voice_file)
    before = (tmp_path / "export" / "t3_cfg.safetensors").read_bytes()
    nudge(adapter.t3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="make room"):
        adapter.export(tmp_path / "export", voice_file)
    assert (tmp_path / "export" / "t3_cfg.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "model", "voice.wav"]


@pytest.mark.slow
def test_at_full_size_from_local_has_every_tensor_of_the_tuned_model(voice_file, tmp_path) -> None:
    base = write_random_files(tmp_path / "base")
    settings = plain(compose_config(["experiment=chatterbox_full"]))["adapter"]
    adapter = build({**settings, "local_dir": str(base), "max_speech_tokens": 6})
    nudge(adapter.t3)
    nudge(adapter.s3gen.flow)
    adapter.export(tmp_path / "export", voice_file)
    tts = ChatterboxTTS.from_local(tmp_path / "export", "cpu")
    for stock, tuned in ((tts.t3, adapter.t3), (tts.s3gen, adapter.s3gen), (tts.ve, adapter.voice_encoder)):
        theirs, ours = stock.state_dict(), tuned.state_dict()
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    voice = adapter.load_voice(voice_file)
    assert torch.equal(tts.conds.t3.cond_prompt_speech_tokens, voice.t3.cond_prompt_speech_tokens)
    assert torch.equal(tts.conds.gen["prompt_feat"], voice.gen["prompt_feat"])
    spoken = adapter.synthesize(["Hello there."], voice, seed=0)[0]
    assert len(spoken.audio) == 6 * 960
    assert torch.isfinite(spoken.audio).all()
