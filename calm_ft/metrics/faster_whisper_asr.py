"""Whisper by CTranslate2 (package faster-whisper): the same models as transformers', several times as fast on a CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.hub import fetch, one_line
from calm_ft.metrics.resampling import at_model_rate

PREFIX = "faster-whisper:"


class FasterWhisperTranscriber:
    """A size such as small.en, a repository with a converted model, or a local folder with one (CTranslate2's)."""

    def __init__(self, model: str) -> None:
        """Raises ModelMissing where the package or the model cannot be had."""
        try:
            from faster_whisper import WhisperModel, available_models, download_model
        except ImportError as error:
            raise ModelMissing(f"{error.name} is not installed: install the extra `evaluation`.") from error
        folder = Path(model)
        if not folder.is_dir():
            if model not in available_models() and "/" not in model:
                sizes = ", ".join(available_models())
                raise ModelMissing(
                    f"faster-whisper has no model {model!r}: name one of {sizes}, a repository or a folder."
                )
            folder = fetch(lambda offline: download_model(model, local_files_only=offline), f"{PREFIX}{model}")
        # Without this file the package asks the hub for a tokenizer.
        if not (folder / "tokenizer.json").is_file():
            raise ModelMissing(
                f"{folder} holds no tokenizer.json: convert the model with --copy_files tokenizer.json "
                "preprocessor_config.json."
            )
        try:
            self._model: Any = WhisperModel(str(folder), device="cpu")
        except Exception as error:  # a folder may hold anything
            raise ModelMissing(
                f"{folder} holds no CTranslate2 Whisper that can be loaded ({one_line(error)})."
            ) from error
        self.name = f"{PREFIX}{model}"

    def transcribe(self, audio: np.ndarray, sample_rate_hz: int) -> str:
        """What is said in audio [T]; always the same, for nothing is drawn at a raised temperature."""
        samples = at_model_rate(audio, sample_rate_hz)
        segments, _ = self._model.transcribe(samples, temperature=0.0, condition_on_previous_text=False)
        return "".join(segment.text for segment in segments).strip()
