"""Nothing that runs on the device makes a float64 there, which Apple's MPS refuses."""

from pathlib import Path

import pytest
import torch

from calm_ft.adapters.base import RowResiduals, TTSAdapter
from calm_ft.adapters.pocket_tts.adapter import FreshPocketTTSAdapter, PocketTTSAdapter
from calm_ft.finetuning.lora_layers import update_ratio
from calm_ft.finetuning.strategy import Full
from calm_ft.randomness import make_rng
from calm_ft.training.residuals import ResidualMean
from tests.adapters import contract
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.float64_device import on_device, refuses, without_float64
from tests.conftest import NANO, default_objective
from tests.finetuning.lora_parts import with_lora

REFUSED = {
    "double": lambda x: x.double(),
    "double before cpu": lambda x: x.double().cpu(),
    "to": lambda x: x.to(torch.float64),
    "mixed": lambda x: x + x.cpu().double(),
    "made on its device": lambda x: torch.zeros(2, dtype=torch.float64, device=x.device),
    "moved to its device": lambda x: torch.zeros(2, dtype=torch.float64).to(x.device),
}
TAKEN = {
    "cpu before double": lambda x: x.cpu().double().sum(),
    "host": lambda x: torch.zeros(2, dtype=torch.float64) + 1,
    "float32": lambda x: (x + 1).to(x.device).mean(),
    "to the host": lambda x: x.to("cpu").double(),
}


@pytest.mark.parametrize("name", [*REFUSED, *TAKEN])
def test_the_stand_in_refuses_what_mps_refuses_and_no_more(name: str) -> None:
    x = on_device(torch.ones(3))
    assert refuses(lambda: {**REFUSED, **TAKEN}[name](x)) is (name in REFUSED)


def test_residuals_are_summed_in_float64_on_the_cpu() -> None:
    values, frames = on_device(torch.tensor([1.0, 4.0])), on_device(torch.tensor([1, 2]))
    mean = ResidualMean()
    with without_float64():
        mean.add(RowResiduals({"residual": values}, frames))
    assert mean.means() == {"residual": 3.0}


def make_pocket_tts() -> TTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective(), head_batch_multiplier=2)


def make_fresh() -> TTSAdapter:
    return FreshPocketTTSAdapter(0, model=str(NANO), objective=default_objective(), head_batch_multiplier=2)


def make_chatterbox() -> TTSAdapter:
    return make_adapter("chatterbox_full")


@pytest.mark.parametrize("make", [make_pocket_tts, make_fresh, make_chatterbox])
def test_encoding_training_and_validation_make_no_float64_on_the_device(make, tmp_path: Path) -> None:
    adapter = on_device(make())
    with without_float64():
        clips = contract.encoded(adapter, tmp_path)
        contract.fit_statistics(adapter, clips)
        Full().apply(adapter, 1e-3)
        batch = on_device(adapter.collate(contract.examples(clips)))
        adapter.loss(batch, make_rng(0, "loss")).total.backward()
        assert torch.isfinite(adapter.residuals(batch, 0).values["residual"]).all()


def test_the_size_of_a_lora_update_is_measured_without_float64() -> None:
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    with_lora(adapter)
    on_device(adapter)
    assert not refuses(lambda: update_ratio(adapter))
