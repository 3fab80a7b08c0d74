"""LoRA upon transformers' Conv1D, which holds its weight transposed: injected, merged, and in files."""

import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from calm_ft.finetuning.lora import LORA_FILE, PEFT_FOLDER
from calm_ft.finetuning.lora_file import merge_lora_file
from calm_ft.finetuning.lora_layers import base_weight, factors, lora_layers
from tests.finetuning.lora_parts import ALPHA, RANK, bits, own_bits, same, with_lora
from tests.outside_system.adapter import SpectrumAdapter

TARGETS = {"decoder": ["grow", "shrink"], "frame_input": "all"}  # four Conv1D and one nn.Linear
CONV1D = {f"tts.layers.{index}.{leaf}" for index in range(2) for leaf in ("grow", "shrink")}


def outputs(adapter: SpectrumAdapter) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return adapter.tts(torch.arange(5)[None], torch.randn(1, 161, generator=rng), torch.ones(1, 5, 161))[0]


@pytest.fixture
def tuned() -> SpectrumAdapter:
    adapter = SpectrumAdapter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_lora(adapter, targets=TARGETS)
    return adapter


def test_layers_of_both_kinds_get_factors_of_their_inputs_and_outputs(tuned: SpectrumAdapter) -> None:
    shapes = {name: tuple(tuple(f.shape) for f in factors(layer)) for name, layer in lora_layers(tuned).items()}
    assert shapes.keys() == CONV1D | {"tts.frame_input"}
    assert shapes["tts.layers.0.grow"] == ((RANK, 16), (32, RANK))
    assert shapes["tts.layers.0.shrink"] == ((RANK, 32), (16, RANK))
    assert shapes["tts.frame_input"] == ((RANK, 161), (16, RANK))


def test_merged_weights_are_the_base_plus_the_transposed_update_and_go_back(tuned: SpectrumAdapter) -> None:
    strategy, before, adapted = with_lora(tuned, targets=TARGETS), bits(tuned), outputs(tuned)
    expected = {}
    for name, layer in lora_layers(tuned).items():
        a, b = (factor.detach().double() for factor in factors(layer))
        update = ALPHA / RANK * b @ a
        expected[f"{name}.weight"] = base_weight(layer).double() + (update.T if name in CONV1D else update)
    with strategy.merged(tuned):
        merged = bits(tuned)
        torch.testing.assert_close(outputs(tuned), adapted, rtol=1e-5, atol=1e-5)
    for name, weight in expected.items():
        torch.testing.assert_close(merged[name].double(), weight, rtol=0, atol=1e-6)
    assert same(bits(tuned), before)
    assert not torch.allclose(adapted, outputs(SpectrumAdapter()), atol=1e-3)


def test_both_files_put_the_same_weights_upon_a_plain_model(tuned: SpectrumAdapter, tmp_path: Path) -> None:
    strategy = with_lora(tuned, targets=TARGETS)
    strategy.save(tuned, tmp_path)
    folded, loaded = SpectrumAdapter(), SpectrumAdapter()
    merge_lora_file(folded, tmp_path / LORA_FILE)
    with strategy.merged(tuned):
        assert same(own_bits(folded), own_bits(tuned))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft says for some layers that it sets fan_in_fan_out itself
        PeftModel.from_pretrained(loaded, str(tmp_path / PEFT_FOLDER))
    assert torch.equal(outputs(loaded), outputs(tuned))
