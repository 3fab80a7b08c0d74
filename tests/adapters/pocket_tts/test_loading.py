"""Every way of naming a model that works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pocket_tts.utils.config import Config

from calm_ft.adapters.pocket_tts.adapter import FreshPocketTTSAdapter, PocketTTSAdapter
from calm_ft.adapters.pocket_tts.loading import load_config, released_configs, trainable_configs
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng
from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.conftest import NANO, default_objective


def load(model: object, **settings: object) -> PocketTTSAdapter:
    return PocketTTSAdapter(str(model), default_objective(), **settings)  # type: ignore[arg-type]


def states_equal(one: PocketTTSAdapter, other: PocketTTSAdapter) -> bool:
    left, right = one.tts.state_dict(), other.tts.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_every_trainable_released_name_gives_its_config_without_a_download():
    assert {"english_2026-10", "english_2026-01", "english_2026-09_24l", "french"} <= set(trainable_configs())
    heads = released_configs()
    for name in trainable_configs():
        config = load_config(name, None)
        assert isinstance(config, Config)
        assert config.flow_lm.flow.type == heads[name] == "lsd"
        assert config.weights_path is not None
        assert config.weights_path.startswith("hf://kyutai/pocket-tts/")


def test_yaml_folder_and_working_directory_all_name_the_same_model(tiny_bundle, tmp_path, monkeypatch):
    by_folder = load(tiny_bundle)
    assert states_equal(by_folder, load(tiny_bundle / "config.yaml"))
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(tiny_bundle / "config.yaml", tmp_path)
    assert states_equal(by_folder, load(relative))


def test_a_released_name_with_a_local_folder_takes_the_folders_config_and_files(tiny_bundle, tmp_path):
    local = Path(shutil.copytree(tiny_bundle, tmp_path / "elsewhere"))
    text = (local / "config.yaml").read_text().replace("model.safetensors", "hf://kyutai/none/model.safetensors")
    (local / "config.yaml").write_text(text)
    assert states_equal(load(tiny_bundle), load("english_2026-10", local_dir=str(local)))


def test_a_released_name_with_a_local_folder_without_yaml_keeps_the_released_config(tiny_bundle, tmp_path):
    local = Path(shutil.copytree(tiny_bundle, tmp_path / "weights_only"))
    (local / "config.yaml").unlink()
    config = load_config("english_2026-10", str(local))
    assert config.weights_path == str(local / "model.safetensors")
    assert config.flow_lm.lookup_table.tokenizer == "sentencepiece"
    assert config.flow_lm.transformer == load_config("english_2026-10", None).flow_lm.transformer
    with pytest.raises(UserError, match=r"do not fit their config"):
        load("english_2026-10", local_dir=str(local))


def test_a_folder_of_links_into_a_store_of_nameless_files_loads(tmp_path):
    """A hub cache's snapshot: config.yaml and tokenizer.json are links to files named by their hashes."""
    bundle = write_tiny_bundle(tmp_path / "bundle", json_tokenizer=True)
    for index, name in enumerate(("config.yaml", "tokenizer.json", "model.safetensors")):
        (bundle / name).rename(tmp_path / f"blob{index}")
        (bundle / name).symlink_to(tmp_path / f"blob{index}")
    for adapter in (load(bundle), load("english_2026-10", local_dir=str(bundle))):
        assert adapter.tts.config.flow_lm.lookup_table.tokenizer_path == str(bundle / "tokenizer.json")
        assert adapter.text.tokens("ab") == adapter.tts.flow_lm.conditioner.prepare("Ab.")[0].tolist()


@pytest.mark.parametrize("bos_before_voice", [True, False])
def test_models_with_and_without_bos_before_voice_train(tmp_path, three_examples, bos_before_voice):
    adapter = load(write_tiny_bundle(tmp_path / "bundle", bos_before_voice=bos_before_voice))
    assert hasattr(adapter.flow_lm, "bos_before_voice") is bos_before_voice
    output = adapter.loss(adapter.collate(three_examples(adapter)), make_rng(0, "loss"))
    output.total.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in adapter.flow_lm.parameters())


@pytest.mark.parametrize(("num_layers", "dropout"), [(6, 0.0), (24, 0.2)])
def test_only_models_with_a_null_branch_drop_their_conditioning(tmp_path, num_layers, dropout):
    bundle = write_tiny_bundle(tmp_path / "bundle", num_layers=num_layers)
    assert load(bundle).conditioning_dropout == dropout
    assert load(bundle, conditioning_dropout=0.1).conditioning_dropout == 0.1
    assert FreshPocketTTSAdapter(0, model=str(bundle), objective=default_objective()).conditioning_dropout == 0.2


def test_paths_in_an_hf_yaml_mean_its_own_repository_and_revision(tiny_bundle, monkeypatch):
    monkeypatch.setattr("calm_ft.adapters.pocket_tts.loading.fetch", lambda path: tiny_bundle / "config.yaml")
    config = load_config("hf://someone/voice/deep/config.yaml@main", None)
    assert config.weights_path == "hf://someone/voice/deep/model.safetensors@main"
    assert config.flow_lm.lookup_table.tokenizer_path == "hf://someone/voice/deep/tokenizer.model@main"


@pytest.mark.slow
def test_neither_import_nor_load_changes_the_number_of_threads():
    program = f"""
import torch
torch.set_num_threads(3)
from tests.conftest import default_objective
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
assert torch.get_num_threads() == 3, "import"
PocketTTSAdapter({str(NANO)!r}, default_objective())
assert torch.get_num_threads() == 3, "load"
import logging
assert logging.root.handlers == [] and logging.root.manager.disable == 0, "logging"
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
