"""Is the true sentence's recording the nearest one of all? A check of what is said that needs no recogniser."""

import hashlib
from collections.abc import Mapping

import numpy as np

from calm_ft.metrics.base import Clip, Figure, Measurement, Metric, NotMeasured
from calm_ft.metrics.mcd import mel_cepstra
from calm_ft.metrics.sentence_identification import identify_sentence

SENTENCE_FIGURE = Figure("sentence_identified", "rate", "higher")


class SentenceIdentified(Metric):
    """1 where the nearest of the listed recordings is that of the clip's text, else 0; silence says none of them."""

    figures = (SENTENCE_FIGURE,)
    needs_speech = False

    def __init__(self, recordings: Mapping[str, np.ndarray], sample_rate_hz: int) -> None:
        """`recordings`: text -> its recording [T], none of them silent; chance is one in their number."""
        self._texts = list(recordings)
        self._cepstra = [mel_cepstra(audio, sample_rate_hz) for audio in recordings.values()]
        digest = hashlib.sha256()
        for text, cepstra in zip(self._texts, self._cepstra, strict=True):
            digest.update(text.encode() + cepstra.tobytes())
        self.identity = f"sentence-1 {digest.hexdigest()}"

    def _measure(self, clip: Clip) -> Measurement:
        if clip.text not in self._texts or len(self._texts) < 2:
            return {SENTENCE_FIGURE.name: NotMeasured("there are no two recordings to choose from")}
        cepstra = mel_cepstra(clip.audio, clip.sample_rate_hz)
        right = len(cepstra) > 0 and self._texts[identify_sentence(cepstra, self._cepstra)] == clip.text
        return {SENTENCE_FIGURE.name: float(right)}
