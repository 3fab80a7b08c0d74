"""The names by which strategies select, and what the cache's fingerprint depends on."""

import copy
from collections import Counter

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.flow.interpolant import CosineInterpolant
from calm_ft.flow.loss_weighting import LearnedUncertainty
from calm_ft.flow.objective import FlowMatchingWithLSD
from calm_ft.flow.stop_gradient import FreezeTargetParameters
from calm_ft.flow.time_sampling import LogitNormalTimes
from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.conftest import NANO, default_objective


@pytest.mark.parametrize("bos_before_voice", [True, False])
def test_every_parameter_is_in_exactly_one_component(tmp_path, bos_before_voice):
    bundle = write_tiny_bundle(tmp_path / "bundle", num_layers=3, bos_before_voice=bos_before_voice)
    weighting = LearnedUncertainty()
    objective = FlowMatchingWithLSD(CosineInterpolant(), LogitNormalTimes(), weighting, FreezeTargetParameters())
    adapter = PocketTTSAdapter(str(bundle), objective)
    parts = adapter.components()
    counts = Counter(id(p) for part in parts.values() for p in part.module.parameters())
    assert counts == Counter(id(p) for p in adapter.parameters())
    assert [name for name in parts if name.startswith("backbone.layers.")] == [
        f"backbone.layers.{index}" for index in range(3)
    ]
    assert "objective" in parts


def test_parameters_are_named_as_upstream_names_them(nano_adapter):
    own = {name for name, _ in nano_adapter.named_parameters()} | {name for name, _ in nano_adapter.named_buffers()}
    assert own == nano_adapter.tts.state_dict().keys()


@pytest.mark.parametrize("copied", [False, True])
def test_components_hold_the_models_own_parameters_after_moves_and_copies(nano_adapter, copied):
    adapter = copy.deepcopy(nano_adapter) if copied else nano_adapter
    parts = adapter.components()
    adapter.to(torch.float64).to("cpu", torch.float32)
    own = {id(p) for p in adapter.parameters()}
    assert {id(p) for p in adapter.tts.parameters()} == own
    for part in (parts, adapter.components()):
        assert {id(p) for each in part.values() for p in each.module.parameters()} == own
    adapter.requires_grad_(False)
    parts["voice_projection"].module.requires_grad_(True)
    parts["latent_input"].module.requires_grad_(True)
    trains = {name for name, p in adapter.named_parameters() if p.requires_grad}
    inputs = {"bos_before_voice", "speaker_proj_weight", "bos_emb", "input_linear.weight"}
    assert trains == {f"flow_lm.{name}" for name in inputs}


def test_the_fingerprint_is_that_of_the_encoder_alone(nano_adapter):
    again = PocketTTSAdapter(str(NANO), default_objective())
    first = nano_adapter.feature_fingerprint()
    assert again.feature_fingerprint() == first
    state = again.tts.state_dict()
    with torch.no_grad():
        for name in ("flow_lm.bos_emb", "flow_lm.emb_mean", "mimi.upsample.convtr.convtr.weight"):
            assert any(key.startswith(name.rsplit(".", 2)[0]) for key in state), name
        for name, tensor in state.items():
            if name.startswith(("flow_lm.", "mimi.decoder", "mimi.upsample", "mimi.quantizer")):
                tensor.mul_(1.5)
    assert again.feature_fingerprint() == first
    for name in (n for n in state if n.startswith(("mimi.encoder", "mimi.downsample"))):
        kept = state[name].clone()
        with torch.no_grad():
            state[name].view(-1)[0] += 1e-3
        assert again.feature_fingerprint() != first, name
        state[name].copy_(kept)
    assert again.feature_fingerprint() == first
