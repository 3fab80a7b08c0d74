"""Playing with int8 weights: what stock's own quantisation gives, and nothing of it in the model that trains."""

import hashlib
from pathlib import Path

import pytest
import torch
from pocket_tts.models.tts_model import TTSModel
from torch import nn

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.quantization import int8_linears, with_own_modules
from calm_ft.errors import UserError
from calm_ft.evaluation.kept_audio import KeptAudio
from calm_ft.evaluation.speaking import Speaker
from calm_ft.finetuning.lora import Lora
from calm_ft.tensor_hash import add_tensors
from tests.adapters import contract
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.chatterbox_multilingual.conftest import make_adapter as multilingual
from tests.adapters.chatterbox_turbo.conftest import make_turbo
from tests.adapters.pocket_tts.test_export import load
from tests.adapters.recordings import write_speechlike
from tests.outside_system.adapter import SpectrumAdapter

TEXT = "The dog ran."
SYSTEMS = ["pocket_tts", "chatterbox", "chatterbox_multilingual"]


@pytest.fixture
def voice_file(tmp_path: Path) -> Path:
    return write_speechlike(tmp_path / "voice.wav", 2.0, 24_000)


def said(adapter: TTSAdapter, voice_file: Path) -> torch.Tensor:
    return adapter.synthesize([TEXT], adapter.load_voice(voice_file), seed=3)[0].audio


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    add_tensors(digest, module.state_dict().items())
    return digest.hexdigest()


def made(system: str, nano_adapter: PocketTTSAdapter) -> TTSAdapter:
    """The adapter of a system of `SYSTEMS`."""
    if system == "pocket_tts":
        return nano_adapter
    return (multilingual if system == "chatterbox_multilingual" else make_adapter)(max_speech_tokens=30)


def tuned_by_lora(nano_adapter: PocketTTSAdapter) -> Lora:
    """LoRA upon the backbone, with an update that can be heard."""
    strategy = Lora(rank=4, alpha=8, targets={"backbone": ["in_proj", "linear2"]})
    strategy.apply(nano_adapter, lr=1e-3)
    with torch.no_grad():
        for name, parameter in nano_adapter.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.02)
    return strategy


def test_the_int8_model_is_the_one_that_stock_makes_of_the_export(
    nano_adapter: PocketTTSAdapter, voice_file: Path, tmp_path: Path
) -> None:
    strategy = tuned_by_lora(nano_adapter)
    with strategy.merged(nano_adapter.eval()):
        nano_adapter.export(tmp_path / "export", voice_file)
        quantized = nano_adapter.quantized()
        spoken, own = said(quantized, voice_file), fingerprint(quantized.tts)
    assert own == fingerprint(TTSModel.load_model(config=tmp_path / "export" / "config.yaml", quantize=True))
    assert torch.equal(spoken, said(load(tmp_path / "export").quantized(), voice_file))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_model_that_trains_keeps_its_weights_its_speech_and_its_gradients(
    system: str, nano_adapter: PocketTTSAdapter, voice_file: Path, tmp_path: Path
) -> None:
    adapter = made(system, nano_adapter).eval()
    before, spoken = contract.snapshot(adapter), said(adapter, voice_file)
    quantized = adapter.quantized()
    in_int8 = said(quantized, voice_file)
    assert len(in_int8) > 0
    assert torch.isfinite(in_int8).all()
    assert fingerprint(quantized) != fingerprint(adapter)
    after = contract.snapshot(adapter)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(said(adapter, voice_file), spoken)
    batch = adapter.collate(contract.examples(contract.encoded(adapter, tmp_path)))
    adapter.requires_grad_(True)
    adapter.loss(batch, torch.Generator().manual_seed(0)).total.backward()
    assert sum(p.grad is not None for p in adapter.parameters()) > 10


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_backbones_linear_layers_have_int8_weights(system: str, nano_adapter: PocketTTSAdapter) -> None:
    quantized = made(system, nano_adapter).quantized()
    backbone = quantized.get_submodule("flow_lm.transformer" if system == "pocket_tts" else "t3.tfmr")
    layers = [each for each in backbone.modules() if hasattr(each, "in_features")]
    assert len(layers) >= 4
    assert all(each.weight().dtype == torch.qint8 for each in layers)  # type: ignore[operator]
    outside = [p for name, p in quantized.named_parameters() if "transformer" not in name and "tfmr" not in name]
    assert all(p.dtype == torch.float32 for p in outside)


def test_what_int8_weights_say_is_kept_under_other_names(nano_adapter: PocketTTSAdapter) -> None:
    adapters = [nano_adapter, nano_adapter.quantized()]
    with torch.no_grad():
        nano_adapter.flow_lm.transformer.layers[0].linear1.weight.add_(0.01)
    adapters.append(nano_adapter.quantized())
    names = [Speaker(each, "tuned", 0, KeptAudio(None))._weights for each in adapters]
    assert len(set(names)) == 3
    assert names[2] == Speaker(nano_adapter.quantized(), "base", 0, KeptAudio(None))._weights


def test_layers_of_an_int8_copy_are_near_those_that_they_are_made_of() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
    copied = with_own_modules(layers)
    assert all(one is other for one, other in zip(layers.parameters(), copied.parameters(), strict=True))
    int8_linears(copied)
    x = torch.randn(5, 64)
    assert type(layers[0]) is nn.Linear
    assert 0 < float((layers(x) - copied(x)).detach().abs().max()) < 0.05


def test_what_cannot_be_played_so_is_refused_in_one_sentence(nano_adapter: PocketTTSAdapter) -> None:
    with pytest.raises(UserError, match=r"^spectrum_tts cannot be played with int8 weights: leave --quantize out\.$"):
        SpectrumAdapter().quantized()
    with pytest.raises(UserError, match="GPT2Model has no linear layers of torch's own kind"):
        make_turbo().quantized()
    with pytest.raises(UserError, match="played on a CPU, and the model is on meta"):
        nano_adapter.to("meta").quantized()
