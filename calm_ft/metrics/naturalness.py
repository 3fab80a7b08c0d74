"""Predicted opinion scores (MOS, 1 to 5): what listeners of other systems' clips would probably have said.

UTMOS (Saeki et al., "UTMOS: UTokyo-SaruLab System for VoiceMOS Challenge 2022") comes from the hub as a TorchScript
file, DNSMOS (Reddy et al., "DNSMOS P.835", 2022) in the package speechmos. DNSMOS was made for noise suppression: it
hears noise and distortion well and stiff prosody hardly.
"""

import functools
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import Figure, Given, Measurement, Metric, ModelMissing, SpeechClip
from calm_ft.metrics.hub import fetch_file

UTMOS_REPO, UTMOS_FILE = "Blinorot/UTMOS-PyTorch", "utmos_scripted.pt"
UTMOS_FIGURE = Figure("utmos", "MOS", "higher", "naturalness (UTMOS)", trusted=2.0)
DNSMOS_FIGURES = (
    Figure("dnsmos_overall", "MOS", "higher", "naturalness (DNSMOS)", trusted=2.0),
    Figure("dnsmos_signal", "MOS", "higher", "undistorted speech (DNSMOS)", trusted=2.0),
    Figure("dnsmos_background", "MOS", "higher", "quiet background (DNSMOS)", trusted=2.0),
)
_WINDOW_SAMPLES = 144_160  # 9.01 s


class UTMOS(Metric):
    """The strong learner of UTMOS22."""

    figures = (UTMOS_FIGURE,)
    is_opinion = True
    in_threads = True

    def __init__(self, file: Path | None = None) -> None:
        """`file`: the scripted model; None fetches it. Raises ModelMissing where it cannot be had."""
        path = file or fetch_file(UTMOS_REPO, UTMOS_FILE)
        try:
            self._model = torch.jit.load(str(path), map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelMissing(f"{path} is no TorchScript model.") from error
        self.identity = f"utmos-1 {UTMOS_REPO}"

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def for_voice(self, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> None:
        """Left out: it costs most, and forgetting shows in the words and the voice."""

    def _measure(self, clip: SpeechClip) -> Measurement:
        samples = torch.from_numpy(at_model_rate(clip.audio, clip.sample_rate_hz))
        with torch.no_grad():
            return {"utmos": float(self._model.score(samples))}


class DNSMOS(Metric):
    """Overall, signal and background scores of ITU-T P.835."""

    figures = DNSMOS_FIGURES
    identity = "dnsmos-1"
    is_opinion = True
    in_threads = True

    def __init__(self) -> None:
        """Raises ModelMissing where speechmos or onnxruntime is not installed."""
        self._model = _dnsmos()

    @classmethod
    def build(cls, given: Given) -> Self:
        return cls()

    def for_voice(self, voice: str, prompt: np.ndarray, sample_rate_hz: int) -> None:
        """Left out, as UTMOS is."""

    def _measure(self, clip: SpeechClip) -> Measurement:
        samples = at_model_rate(clip.audio, clip.sample_rate_hz)
        raw = np.mean([self._model.onnx_sess.run(None, {"input_1": each[None]})[0][0] for each in _windows(samples)], 0)
        signal, background, overall = self._model.get_polyfit_val(*raw, False)
        return {"dnsmos_overall": overall, "dnsmos_signal": signal, "dnsmos_background": background}


def _windows(samples: np.ndarray) -> list[np.ndarray]:
    """Windows [144160] of samples at 16 kHz, one a second; a shorter clip is repeated to fill exactly one.

    speechmos itself doubles a short clip until it is long enough and then averages up to nine windows of the same.
    """
    if samples.size < _WINDOW_SAMPLES:
        return [np.resize(samples, _WINDOW_SAMPLES)]
    return [
        samples[start : start + _WINDOW_SAMPLES]
        for start in range(0, samples.size - _WINDOW_SAMPLES + 1, MODEL_RATE_HZ)
    ]


@functools.cache
def _dnsmos() -> Any:
    try:
        import onnxruntime
        from speechmos import dnsmos
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `evaluation`.") from error
    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    model = dnsmos.DNSMOS(str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads spin while they wait, and several clips are measured at once
    model.onnx_sess = onnxruntime.InferenceSession(str(folder / "sig_bak_ovr.onnx"), options)
    return model
