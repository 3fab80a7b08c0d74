"""Exports as the stock package sees them, and what happens to the folder when something goes wrong."""

import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as hub_constants
import pytest
import safetensors.torch
import torch
import yaml
from pocket_tts.models.tts_model import TTSModel

from calm_ft.adapters.export_folder import _swap
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.export import push_to_hub, relocate, stage_for_hub
from calm_ft.errors import UserError
from tests.adapters.recordings import write_speechlike
from tests.adapters.tiny_bundle import SAMPLE_RATE_HZ, write_tiny_bundle
from tests.conftest import NANO, default_objective

FILES = ["README.md", "config.yaml", "model.safetensors", "tokenizer.model", "voice.safetensors"]


def load(model: Path) -> PocketTTSAdapter:
    return PocketTTSAdapter(str(model), default_objective())


def nudge(adapter: PocketTTSAdapter, *components: str) -> PocketTTSAdapter:
    """Change the weights of some components, as training would."""
    with torch.no_grad():
        for name in components:
            for parameter in adapter.components()[name].module.parameters():
                parameter.mul_(1.01).add_(0.001)
    return adapter


@pytest.fixture
def prompt(tmp_path) -> Path:
    return write_speechlike(tmp_path / "prompt.wav", 2.0, SAMPLE_RATE_HZ)


@pytest.fixture
def tuned(tiny_bundle) -> PocketTTSAdapter:
    return nudge(load(tiny_bundle), "flow_head", "eos_head", "backbone.layers.0")


@pytest.fixture
def export(tuned, prompt, tmp_path) -> Path:
    tuned.export(tmp_path / "runs" / "export", prompt)
    return tmp_path / "runs" / "export"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stock(folder: Path) -> TTSModel:
    return TTSModel.load_model(config=folder / "config.yaml")


def test_stock_loads_an_export_strictly_from_any_folder_and_speaks_in_its_voice(export, tuned, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert sorted(contents(export)) == FILES
    model = stock(export)
    assert model.has_voice_cloning
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tuned.tts.state_dict()[name]), name
    audio = model.generate_audio(model.get_state_for_audio_prompt(export / "voice.safetensors"), "Hello.")
    assert len(audio) > 0
    assert not list((tmp_path / "cwd").iterdir())


def test_frozen_tensors_of_the_embedded_model_are_exported_bit_for_bit(tmp_path):
    adapter = nudge(load(NANO), "flow_head")
    prompt = write_speechlike(tmp_path / "prompt.wav", 1.0, adapter.sample_rate_hz)
    adapter.export(tmp_path / "export", prompt)
    base = load(NANO).tts.state_dict()
    for name, tensor in safetensors.torch.load_file(tmp_path / "export" / "model.safetensors").items():
        trained = name.startswith("flow_lm.flow_net.") and not name.endswith(".freqs")
        assert torch.equal(tensor, base[name]) is not trained, name


def test_the_shipped_voice_is_made_with_the_tuned_weights(export, tuned, tiny_bundle, prompt):
    shipped = load(export).load_voice(export / "voice.safetensors")
    again = stock(export).get_state_for_audio_prompt(prompt)
    base = load(tiny_bundle).load_voice(prompt)
    for name, part in shipped.items():
        torch.testing.assert_close(part["cache"], again[name]["cache"], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(part["cache"], base[name]["cache"], rtol=1e-3, atol=1e-3)


def test_an_export_loads_as_a_base_model_and_gives_its_residuals(export, tuned, three_examples):
    reloaded = load(export)
    batch = tuned.collate(three_examples(tuned))
    expected, found = tuned.residuals(batch, seed=1), reloaded.residuals(batch, seed=1)
    assert all(torch.equal(expected.values[name], found.values[name]) for name in expected.values)
    with pytest.raises(UserError, match="holds the base model"):
        reloaded.export(export, export / "voice.safetensors")


def test_a_moved_export_works_again_after_relocate(export, tuned, tmp_path):
    moved = Path(shutil.move(export, tmp_path / "a folder with spaces"))
    with pytest.raises(UserError, match="does not exist"):
        load(moved)
    relocate(moved)
    assert torch.equal(stock(moved).flow_lm.bos_emb, tuned.flow_lm.bos_emb)
    assert str(export) not in (moved / "config.yaml").read_text() + (moved / "README.md").read_text()
    assert f'--config "{moved}/config.yaml"' in (moved / "README.md").read_text()
    assert sorted(contents(moved)) == FILES


def test_relocate_refuses_what_is_not_an_export(tmp_path, export):
    with pytest.raises(UserError, match="is not an export"):
        relocate(tmp_path)
    (export / "config.yaml").write_text("flow_lm: 3")
    with pytest.raises(UserError, match="damaged"):
        relocate(export)
    (export / "tokenizer.model").unlink()
    with pytest.raises(UserError, match="tokenizer is missing"):
        relocate(export)


def test_an_export_with_a_json_tokenizer_loads(tmp_path, prompt):
    adapter = load(write_tiny_bundle(tmp_path / "bundle", json_tokenizer=True))
    adapter.export(tmp_path / "export", prompt)
    assert stock(tmp_path / "export").flow_lm.conditioner.prepare("Ab.")[0].tolist() == adapter.text.tokens("Ab.")
    relocate(tmp_path / "export")
    assert stock(tmp_path / "export").config.flow_lm.lookup_table.tokenizer == "tokenizers"


def test_a_staged_export_names_its_repository_and_nothing_of_this_machine(export, tmp_path):
    before = contents(export)
    staged = stage_for_hub(export, "someone/voice", tmp_path / "staged")
    config = yaml.safe_load((staged / "config.yaml").read_text())
    assert config["weights_path"] == "hf://someone/voice/model.safetensors"
    assert config["flow_lm"]["lookup_table"]["tokenizer_path"] == "hf://someone/voice/tokenizer.model"
    assert '--config "hf://someone/voice/config.yaml"' in (staged / "README.md").read_text()
    for name in ("config.yaml", "README.md"):
        assert str(tmp_path) not in (staged / name).read_text()
    assert contents(export) == before
    for name in ("voice", "a/b/c", "/voice"):
        with pytest.raises(UserError, match="user/repo"):
            stage_for_hub(export, name, tmp_path / "other")


@pytest.mark.parametrize("obstacle", ["offline", "unreachable", "bad name"])
def test_a_push_that_fails_is_one_sentence_and_leaves_the_export_alone(export, monkeypatch, obstacle):
    if obstacle == "offline":
        monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    before = contents(export)
    with pytest.raises(UserError, match=r"could not be pushed .* untouched\.$") as refused:
        push_to_hub(export, "some one/voice!" if obstacle == "bad name" else "someone/voice")
    assert "\n" not in str(refused.value)
    assert contents(export) == before


def test_a_new_export_replaces_the_old_one_whole(export, tuned, prompt):
    before = contents(export)
    (export / "tokenizer.json").write_text("left over")
    nudge(tuned, "flow_head").export(export, prompt)
    after = contents(export)
    assert sorted(after) == FILES
    assert after["model.safetensors"] != before["model.safetensors"]
    assert [path.name for path in export.parent.iterdir()] == ["export"]


@pytest.mark.parametrize("names", [["notes.txt"], ["config.yaml", "run.json"], ["model.safetensors"]])
def test_a_folder_with_other_files_is_refused_and_kept(tuned, prompt, tmp_path, names):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("precious")
    with pytest.raises(UserError, match="holds other files"):
        tuned.export(folder, prompt)
    assert sorted(contents(folder)) == sorted(names)


def test_a_place_that_is_a_file_is_refused(tuned, prompt, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match="is a file"):
        tuned.export(tmp_path / "file", prompt)
    with pytest.raises(UserError, match="cannot be written"):
        tuned.export(tmp_path / "file" / "export", prompt)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow over 4 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_export_and_no_rubbish(export, tuned, prompt, request):
    before = contents(export)
    request.getfixturevalue("full_disk")
    with pytest.raises(UserError, match="cannot be written"):
        tuned.export(export, prompt)
    assert contents(export) == before
    assert [path.name for path in export.parent.iterdir()] == ["export"]


def test_a_swap_that_fails_puts_the_old_folder_back(export, tmp_path):
    before = contents(export)
    with pytest.raises(FileNotFoundError):
        _swap(tmp_path / "never written", export, tmp_path / "old")
    assert contents(export) == before
    assert not (tmp_path / "old").exists()


def test_a_voice_state_of_another_architecture_or_kind_is_refused(export, tmp_path):
    nano = load(NANO)
    with pytest.raises(UserError, match="another architecture"):
        nano.load_voice(export / "voice.safetensors")
    with pytest.raises(UserError, match="not a saved voice state"):
        nano.load_voice(export / "model.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"12")
    with pytest.raises(UserError, match="not a saved voice state"):
        nano.load_voice(tmp_path / "broken.safetensors")


def test_a_voice_that_is_not_there_or_says_nothing_is_refused(tiny_bundle, tmp_path):
    adapter = load(tiny_bundle)
    with pytest.raises(UserError, match="There is no voice"):
        adapter.load_voice(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(UserError, match="cannot be used"):
        adapter.load_voice(tmp_path / "text.wav")
    with pytest.raises(UserError, match="'alba' is a state of released weights"):
        adapter.load_voice("alba")
