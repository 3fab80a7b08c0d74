"""LoRA weights as a file: the same weights come back, they fold into a model, and every other file is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from peft import PeftModel

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from calm_ft.finetuning.lora import LORA_FILE, PEFT_FOLDER
from calm_ft.finetuning.lora_file import merge_lora_file, read_lora, save_lora
from tests.conftest import NANO, default_objective
from tests.finetuning.lora_parts import ALPHA, BACKBONE, RANK, bits, lora, own_bits, same, with_lora


def nano() -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective())


@pytest.fixture
def tuned(nano_adapter: PocketTTSAdapter, tmp_path: Path) -> PocketTTSAdapter:
    """An adapter with LoRA weights, which are saved in the test's folder."""
    with_lora(nano_adapter).save(nano_adapter, tmp_path)
    return nano_adapter


def test_a_file_says_what_it_is_and_holds_the_lora_weights_alone(tuned: PocketTTSAdapter, tmp_path: Path) -> None:
    with safetensors.safe_open(tmp_path / LORA_FILE, "pt") as file:
        metadata, keys = file.metadata(), set(file.keys())
    assert (metadata["rank"], metadata["alpha"]) == (str(RANK), str(ALPHA))
    assert json.loads(metadata["targets"]) == BACKBONE
    assert "flow_lm.transformer.layers.0.self_attn.in_proj.lora_A.weight" in keys
    assert len(keys) == 2 * 4 * 6
    num_weights = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert (tmp_path / LORA_FILE).stat().st_size < 4 * num_weights + 10_000


def test_a_run_that_starts_from_a_file_starts_from_its_weights(tuned: PocketTTSAdapter, tmp_path: Path) -> None:
    again = nano()
    strategy = lora(weights=str(tmp_path / LORA_FILE))
    strategy.apply(again, 1e-3)
    strategy.begin(again)
    assert same(bits(again), bits(tuned))


def test_a_file_folded_in_for_good_gives_the_merged_model_bit_for_bit(tuned: PocketTTSAdapter, tmp_path: Path) -> None:
    plain = nano()
    before = own_bits(plain)
    merge_lora_file(plain, tmp_path / LORA_FILE)
    assert not same(own_bits(plain), before)
    with lora().merged(tuned):
        assert same(bits(plain), bits(tuned))


def test_peft_loads_the_weights_upon_the_stock_model_with_the_same_outputs(
    tuned: PocketTTSAdapter, tmp_path: Path
) -> None:
    stock = nano().tts
    inputs = torch.randn(2, 7, tuned.flow_lm.dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        base = stock.flow_lm.transformer(inputs, None)
        PeftModel.from_pretrained(stock, str(tmp_path / PEFT_FOLDER))
        assert torch.equal(stock.flow_lm.transformer(inputs, None), tuned.flow_lm.transformer(inputs, None))
    assert not torch.allclose(base, tuned.flow_lm.transformer(inputs, None), atol=1e-2)


def flip_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another_kind(path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path)


def without_a_factor(path: Path) -> None:
    tensors = safetensors.torch.load_file(path)
    tensors.pop(next(name for name in tensors if ".lora_B." in name))
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(tensors, path, metadata)


@pytest.mark.parametrize("damage", [flip_a_weight, truncate, empty, another_kind, without_a_factor])
def test_a_damaged_file_is_refused_and_changes_nothing(
    tuned: PocketTTSAdapter, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / LORA_FILE
    damage(path)
    plain = nano()
    before = bits(plain)
    with pytest.raises(UserError, match="is damaged or no LoRA file"):
        merge_lora_file(plain, path)
    assert same(bits(plain), before)


@pytest.mark.parametrize("name", ["nowhere.safetensors", ""])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="There is no LoRA file"):
        read_lora(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 8}, f"has rank {RANK}, but strategy.rank=8: set strategy.rank={RANK}"),
        ({"alpha": 8.0}, "has alpha 10, but strategy.alpha=8"),
        ({"targets": {"backbone": ["linear1"]}}, "has other layers than strategy.targets name"),
    ],
)
def test_a_file_of_other_settings_is_refused(
    tuned: PocketTTSAdapter, tmp_path: Path, settings: dict, said: str
) -> None:
    adapter = nano()
    strategy = lora(weights=str(tmp_path / LORA_FILE), **settings)
    strategy.apply(adapter, 1e-3)
    with pytest.raises(UserError, match=said):
        strategy.begin(adapter)


def test_a_file_of_another_base_is_refused_and_changes_nothing(tuned: PocketTTSAdapter, tmp_path: Path) -> None:
    path, other = tmp_path / LORA_FILE, nano()
    other.flow_lm.transformer.layers[3].linear1.weight.data[0, 0] += 1e-6
    before = bits(other)
    with pytest.raises(UserError, match="was made for another base model"):
        merge_lora_file(other, path)
    assert same(bits(other), before)
    strategy = lora(weights=str(path))
    strategy.apply(other, 1e-3)
    with pytest.raises(UserError, match="was made for another base model"):
        strategy.begin(other)


def test_a_file_for_layers_that_a_model_lacks_is_refused(tuned: PocketTTSAdapter, tmp_path: Path) -> None:
    path = tmp_path / LORA_FILE
    content = read_lora(path)
    save_lora(path, replace(content, factors={f"t3.{name}": pair for name, pair in content.factors.items()}))
    with pytest.raises(UserError, match="was made for another base model"):
        merge_lora_file(nano(), path)


def test_a_file_is_not_folded_into_a_model_that_has_lora_layers(tuned: PocketTTSAdapter, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was made for another base model"):
        merge_lora_file(tuned, tmp_path / LORA_FILE)
