"""Every way in which a Chatterbox cannot be had: one sentence that names the file and the way out."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub_constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter
from tests.conftest import default_objective

FILES = ["ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json"]


def test_a_model_of_a_folder_is_the_one_that_was_written(from_files: Callable[..., ChatterboxAdapter]) -> None:
    loaded, made = from_files(), make_adapter()
    assert loaded.models.files.keys() == {*FILES, "conds.pt"}
    theirs, ours = loaded.state_dict(), made.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(files: Path, from_files: Callable[..., ChatterboxAdapter], name: str) -> None:
    (files / name).unlink()
    with pytest.raises(UserError, match=f"adapter.local_dir=.* lacks {name}: it must hold"):
        from_files()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_short_is_named(files: Path, from_files: Callable[..., ChatterboxAdapter], name) -> None:
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"{name} is (damaged or cut short|not the tokenizer)"):
        from_files()


@pytest.mark.parametrize("change", ["lacks", "adds", "reshapes"])
@pytest.mark.parametrize("name", FILES[:3])
def test_weights_of_another_model_are_refused(
    files: Path, from_files: Callable[..., ChatterboxAdapter], name: str, change: str
) -> None:
    state = load_file(files / name)
    tensor = next(key for key in sorted(state) if key != "speech_emb.weight" and state[key].ndim == 2)
    if change == "lacks":
        del state[tensor]
    elif change == "adds":
        state["unheard.of"] = torch.zeros(2)
    else:
        state[tensor] = state[tensor][:-1].clone()
    save_file(state, files / name)
    with pytest.raises(UserError, match=rf"{name} does not fit the English Chatterbox"):
        from_files()


def test_s3gen_may_lack_the_buffers_that_upstream_computes(
    files: Path, from_files: Callable[..., ChatterboxAdapter]
) -> None:
    path = files / "s3gen.safetensors"
    state = {
        name: each for name, each in load_file(path).items() if "_mel_filters" not in name and "window" not in name
    }
    save_file(state, path)
    assert from_files().s3gen.tokenizer.window.sum() > 0


def test_another_width_is_no_english_chatterbox(files: Path, from_files: Callable[..., ChatterboxAdapter]) -> None:
    save_file({"speech_emb.weight": torch.zeros(10, 48)}, files / "t3_cfg.safetensors")
    with pytest.raises(UserError, match="its embeddings have 48 channels"):
        from_files()


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter.local_dir=.*nowhere is not a folder"):
        make_adapter(local_dir=str(tmp_path / "nowhere"))


def test_an_unreachable_hub_is_said_with_the_way_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hub cannot be reached .*pass adapter.local_dir=DIR \(ve.safetensors"):
        make_adapter(model="ResembleAI/chatterbox")


def test_files_in_the_hubs_cache_are_used_without_a_connection(files: Path, tmp_path: Path, monkeypatch) -> None:
    snapshot = tmp_path / "hub" / "models--someone--voice" / "snapshots" / "abc"
    shutil.copytree(files, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert make_adapter(model="someone/voice").models.files["ve.safetensors"] == snapshot / "ve.safetensors"


def test_an_objective_of_pocket_tts_is_refused_with_the_experiments_that_fit() -> None:
    with pytest.raises(UserError, match="choose experiment=chatterbox_t3"):
        make_adapter(objective=default_objective())


@pytest.mark.parametrize(
    "setting",
    [
        {"max_text_tokens": 300},
        {"max_speech_tokens": 0},
        {"max_speech_tokens": 1025},
        {"cfg_weight": 0.0},
        {"prompt_sec": 0},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"adapter.{next(iter(setting))}"):
        make_adapter(**setting)


@pytest.mark.slow
def test_without_the_package_one_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "chatterbox").mkdir()
    (tmp_path / "chatterbox" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'chatterbox'\")")
    root = Path(__file__).parents[3]
    command = [sys.executable, str(root / "scripts" / "train.py"), "experiment=chatterbox_t3", "logger=csv"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    overrides = ["adapter=chatterbox_tiny", f"output_dir={tmp_path / 'run'}"]
    ended = subprocess.run([*command, *overrides], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 2
    assert "needs the package chatterbox, which is not installed: run `make setup`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()
