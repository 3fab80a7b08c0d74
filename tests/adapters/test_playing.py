"""How speech is drawn: by the call, else by what the adapter was told, else as the model is played."""

from pathlib import Path

import pytest
import torch

from calm_ft.adapters.playing import Playing
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter
from tests.conftest import NANO, default_objective

TEXT = "The dog ran."


def audio(adapter: PocketTTSAdapter, speech_file: Path, **playing: float) -> torch.Tensor:
    (said,) = adapter.synthesize([TEXT], adapter.load_voice(speech_file), 0, **playing)  # type: ignore[arg-type]
    return said.audio


def test_what_an_adapter_is_told_is_what_a_call_without_settings_does(
    nano_adapter: PocketTTSAdapter, speech_file: Path
) -> None:
    one, four = audio(nano_adapter, speech_file), audio(nano_adapter, speech_file, num_steps=4)
    before = nano_adapter.synthesis_fingerprint(TEXT)
    nano_adapter.play_as(Playing(num_steps=4))
    assert torch.equal(audio(nano_adapter, speech_file), four)
    assert torch.equal(audio(nano_adapter, speech_file, num_steps=1), one)
    assert not torch.equal(one[: len(four)], four[: len(one)])
    assert nano_adapter.synthesis_fingerprint(TEXT) != before  # else kept audio would be taken for it


def test_guidance_of_a_model_without_a_null_branch_is_refused(
    nano_adapter: PocketTTSAdapter, speech_file: Path
) -> None:
    nano_adapter.has_null_branch = False
    with pytest.raises(UserError, match=r"cfg_coef 2\) takes a null branch, and .* has none: .* 24-layer model"):
        nano_adapter.play_as(Playing(cfg_coef=2.0))
    with pytest.raises(UserError, match="null branch"):
        audio(nano_adapter, speech_file, cfg_coef=1.5)
    nano_adapter.play_as(Playing(cfg_coef=1.0))  # no guidance at all is no guidance


def test_with_a_null_branch_guidance_changes_what_is_said(nano_adapter: PocketTTSAdapter, speech_file: Path) -> None:
    nano_adapter.has_null_branch = True
    plain = audio(nano_adapter, speech_file)
    assert torch.equal(audio(nano_adapter, speech_file, cfg_coef=1.0), plain)
    guided = audio(nano_adapter, speech_file, cfg_coef=2.0)
    length = min(len(plain), len(guided))
    assert not torch.equal(plain[:length], guided[:length])


def test_deep_models_are_played_with_upstreams_guidance(nano_adapter: PocketTTSAdapter) -> None:
    assert nano_adapter._generation_settings(Playing()).cfg_coef == 1.0
    nano_adapter.is_deep = nano_adapter.has_null_branch = True
    assert nano_adapter._generation_settings(Playing()).cfg_coef == 2.0
    assert nano_adapter._generation_settings(Playing(cfg_coef=1.0)).cfg_coef == 1.0


def test_an_export_says_whether_its_model_can_be_guided(speech_file: Path, tmp_path: Path) -> None:
    for dropout in (0.0, 0.1):
        adapter = PocketTTSAdapter(str(NANO), default_objective(), conditioning_dropout=dropout)
        adapter.has_null_branch = dropout > 0
        adapter.export(tmp_path / str(dropout), speech_file)
        exported = PocketTTSAdapter(str(tmp_path / str(dropout)), default_objective(), conditioning_dropout=0.0)
        assert exported.has_null_branch == (dropout > 0)


def test_chatterbox_takes_guidance_in_the_same_unit() -> None:
    adapter = make_adapter()
    adapter.play_as(Playing(cfg_coef=1.7, num_steps=3))
    assert adapter._sampling(adapter.playing).cfg_weight == pytest.approx(0.7)
    assert adapter._num_steps(adapter.playing) == 3
    for refused in (Playing(cfg_coef=1.0), Playing(temperature=0.0)):
        with pytest.raises(UserError, match=r"give more than 0|must be above 1"):
            adapter.play_as(refused)


@pytest.mark.parametrize("setting", [{"num_steps": 0}, {"temperature": -0.1}, {"cfg_coef": 0.0}])
def test_values_out_of_range_are_refused_by_name(setting: dict[str, float]) -> None:
    (name,) = setting
    with pytest.raises(UserError, match=rf"evaluation\.{name}="):
        Playing(**setting)  # type: ignore[arg-type]
