"""Exports in bfloat16 and float16: half the size, loaded by stock, and what is judged is what they hold."""

from pathlib import Path

import pytest
import torch
from chatterbox.models.t3 import T3
from pocket_tts.models.tts_model import TTSModel
from safetensors.torch import load_file
from torch import nn

from calm_ft.adapters.chatterbox.tiny import TinyS3Gen, tiny_t3_config
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.reduced import DTYPES, rounded
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Strategy
from tests.adapters import contract
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.contract import AdapterCase
from tests.adapters.pocket_tts.test_export import load
from tests.adapters.test_contract import CASES
from tests.outside_system.adapter import SpectrumAdapter

LARGEST_CHANGE = {torch.bfloat16: 2**-8, torch.float16: 2**-11}
"""Of a number that is neither very small nor very large, as a share of it: half the distance to the next one."""
REDUCIBLE = [case for case in CASES if case.name != "outside"]
small_types = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def size(folder: Path) -> int:
    """Bytes of the files that hold the weights."""
    return sum(
        path.stat().st_size for path in folder.iterdir() if path.suffix == ".safetensors" or "s3gen" in path.name
    )


@pytest.mark.slow
@small_types
@pytest.mark.parametrize("case", REDUCIBLE, ids=lambda case: case.name)
def test_an_export_of_half_the_size_reloads_with_the_residuals_of_the_rounded_weights(
    case: AdapterCase, dtype: torch.dtype, tmp_path: Path
) -> None:
    adapter = case.make()
    clips = contract.encoded(adapter, tmp_path)
    contract.fit_statistics(adapter, clips)
    strategy: Strategy = case.strategies[-1]
    strategy.apply(adapter, lr=1e-2)
    batch = adapter.collate(contract.examples(clips))
    contract.fit_batch(adapter, batch, num_steps=2, lr=1e-2)
    adapter.eval()
    before = contract.snapshot(adapter)
    with strategy.merged(adapter):
        voice = contract.voice_recording(adapter, tmp_path)
        adapter.export(tmp_path / "whole", voice)
        trained = adapter.residuals(batch, seed=1).values
        adapter.export_as(dtype)
        adapter.export(tmp_path / "export", voice)
        with adapter.as_exported():
            num_weights = sum(weight.numel() for weight in adapter.reducible_weights())
            expected = adapter.residuals(batch, seed=1).values
    after = contract.snapshot(adapter)
    assert all(torch.equal(before[name], after[name]) for name in before)
    reloaded = case.reload(tmp_path / "export")
    found = reloaded.residuals(batch, seed=1).values
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(not torch.equal(trained[name], found[name]) for name in trained)
    if case.name.startswith("chatterbox"):  # what hears stays as it is, and so do the cached features
        assert reloaded.feature_fingerprint() == adapter.feature_fingerprint()
    torch.testing.assert_close(found["residual"], trained["residual"], rtol=0.05, atol=0)
    saved = size(tmp_path / "whole") - size(tmp_path / "export")
    assert saved == pytest.approx(2 * num_weights, rel=0.02)  # all the rest of a file is its header and buffers


@small_types
def test_stock_loads_a_reduced_export_and_says_with_it_what_the_rounded_weights_say(
    nano_adapter: PocketTTSAdapter, speech_file: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    with torch.no_grad():
        for parameter in nano_adapter.components()["flow_head"].module.parameters():
            parameter.mul_(1.001)  # the embedded weights are float16 numbers, trained ones are not
    nano_adapter.export_as(dtype)
    nano_adapter.export(tmp_path / "export", speech_file)
    stored = load_file(tmp_path / "export" / "model.safetensors")
    buffers = dict(nano_adapter.tts.named_buffers()).keys()
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.float32} == buffers & stored.keys()
    stock = TTSModel.load_model(config=tmp_path / "export" / "config.yaml")
    assert all(tensor.dtype == torch.float32 for tensor in stock.parameters())
    with nano_adapter.as_exported():
        own = nano_adapter.tts.state_dict()
        assert all(torch.equal(tensor, own[name]) for name, tensor in stock.state_dict().items())
        voice = nano_adapter.load_voice(speech_file)
    shipped = nano_adapter.load_voice(tmp_path / "export" / "voice.safetensors")
    assert all(torch.equal(voice[name]["cache"], part["cache"]) for name, part in shipped.items())
    assert load(tmp_path / "export").is_miniature  # though its codec is rounded
    assert f"stored in {str(dtype).removeprefix('torch.')}" in (tmp_path / "export" / "README.md").read_text()


@small_types
def test_upstreams_chatterbox_classes_load_reduced_files_into_float32(
    speech_file: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    adapter = make_adapter("chatterbox_full")
    adapter.export_as(dtype)
    adapter.export(tmp_path / "export", speech_file)
    with adapter.as_exported():
        for name, fresh, own in (
            ("t3_cfg.safetensors", T3(tiny_t3_config()), adapter.t3),
            ("s3gen.safetensors", TinyS3Gen(), adapter.s3gen),
        ):
            fresh.load_state_dict(load_file(tmp_path / "export" / name))
            expected = own.state_dict()
            assert all(torch.equal(tensor, expected[key]) for key, tensor in fresh.state_dict().items())
            assert all(tensor.dtype == torch.float32 for tensor in fresh.parameters())
    stored = load_file(tmp_path / "export" / "s3gen.safetensors")
    whole = {name.partition(".")[0] for name, tensor in stored.items() if tensor.dtype == torch.float32}
    assert {name.partition(".")[0] for name, tensor in stored.items() if tensor.dtype == dtype} == {"flow", "mel2wav"}
    assert {"tokenizer", "speaker_encoder"} <= whole


@small_types
def test_weights_are_rounded_within_the_context_alone(dtype: torch.dtype) -> None:
    weights = nn.Parameter(torch.linspace(0.1, 30.0, 1000))
    before = weights.detach().clone()
    with rounded([weights], dtype):
        change = ((weights.detach() - before) / before).abs().max()
        assert 0.9 * LARGEST_CHANGE[dtype] < float(change) <= LARGEST_CHANGE[dtype]
    assert torch.equal(weights, before)
    with rounded([weights], torch.float32):
        assert torch.equal(weights, before)


def test_what_a_type_cannot_hold_is_refused_before_anything_is_written(
    nano_adapter: PocketTTSAdapter, speech_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^spectrum_tts writes its exports in float32 alone: leave the dtype bf16 out"):
        SpectrumAdapter().export_as(torch.bfloat16)
    SpectrumAdapter().export_as(DTYPES["fp32"])
    nano_adapter.export_as(torch.float16)
    with torch.no_grad():
        nano_adapter.flow_lm.bos_emb[0] = 1e5
    with pytest.raises(UserError, match=r"export.dtype=fp16 holds no number above 65504, .* is 100000: take bf16"):
        nano_adapter.export(tmp_path / "export", speech_file)
    assert not (tmp_path / "export").exists()
    with pytest.raises(UserError, match="take bf16"):
        nano_adapter.export_as(torch.float16)
    nano_adapter.export_as(torch.bfloat16)
