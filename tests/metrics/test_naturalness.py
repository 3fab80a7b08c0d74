"""Predicted opinion scores: their order on known changes, and models that are not at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calm_ft.metrics.audio_io import MODEL_RATE_HZ
from calm_ft.metrics.base import ModelMissing, NotMeasured, SpeechClip
from calm_ft.metrics.naturalness import DNSMOS, UTMOS
from tests.metrics.conftest import RATE_HZ, clip, number, recording, voiced


def test_more_noise_is_a_lower_dnsmos() -> None:
    clean, noisy, drowned = (number(DNSMOS(), clip(0, noise=noise), "dnsmos_overall") for noise in (0.0, 0.02, 0.2))
    assert clean > noisy > drowned


def test_a_short_clip_is_repeated_to_one_window_and_a_long_one_has_several() -> None:
    text, audio, rate_hz = recording()
    assert rate_hz == MODEL_RATE_HZ
    window = np.resize(audio, 144_160)
    short, whole, longer = (
        number(DNSMOS(), SpeechClip(each, rate_hz, text), "dnsmos_overall")
        for each in (audio, window, np.concatenate([window, 0.3 * np.random.default_rng(0).standard_normal(rate_hz)]))
    )
    assert short == pytest.approx(whole, abs=1e-3)
    assert 1 <= longer < whole <= 5


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(RATE_HZ), np.full(100, 0.5)])
def test_without_speech_there_are_reasons_and_no_numbers(audio: np.ndarray) -> None:
    assert all(isinstance(each, NotMeasured) for each in DNSMOS().measure(SpeechClip(audio, RATE_HZ, "a")).values())


def test_utmos_is_what_the_scripted_model_says_of_the_clip_at_16_khz(tmp_path: Path) -> None:
    class Length(torch.nn.Module):
        @torch.jit.export
        def score(self, wav: torch.Tensor) -> torch.Tensor:
            return torch.full((1,), wav.shape[0] / 16000.0)

    torch.jit.script(Length()).save(str(tmp_path / "model.pt"))
    assert number(UTMOS(tmp_path / "model.pt"), SpeechClip(voiced(120, 3.0), RATE_HZ, "a"), "utmos") == pytest.approx(
        3.0
    )


def test_a_file_that_is_no_scripted_model_is_missing_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"nothing")
    with pytest.raises(ModelMissing, match="no TorchScript model"):
        UTMOS(tmp_path / "model.pt")
