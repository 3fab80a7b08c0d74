"""What is done to every clip before it trains: no offset, one loudness, the same silence at both ends.

Loudness is that of ITU-R BS.1770 by pyloudnorm, of the speech without the silence around it. One gain is applied to the
whole clip, and never more than keeps the peak under the limit: nothing is clipped or compressed, and a clip with high
peaks stays quieter than the target instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_ft.metrics.base import ModelMissing
from calm_ft.preparation.clips import Span
from calm_ft.preparation.sound.voice_activity import speech_spans

_BLOCK_SEC = 0.4
_FADE_SEC = 0.01
_QUIETEST_LUFS = -70.0


@dataclass(frozen=True)
class Conditioning:
    """How clips are made alike.

    Attributes:
        loudness_lufs: the loudness of the speech; None leaves the level as it is.
        silence_sec: the silence before and after the speech; None leaves the ends as they are.
        peak_dbfs: no sample is louder than this after a gain; a clip that was louder before is turned down.
        max_gain_db: the largest gain; more would turn noise into a clip's content.
    """

    loudness_lufs: float | None = -23.0
    silence_sec: float | None = 0.2
    peak_dbfs: float = -1.0
    max_gain_db: float = 40.0


@dataclass(frozen=True)
class Conditioned:
    """A conditioned clip: samples [T'], the gain, and where in the given sound its first and last sample lie.

    `start_sec` is negative and `end_sec` beyond the end where silence was added.
    """

    samples: NDArray[np.float32]
    gain_db: float
    start_sec: float
    end_sec: float


def condition(
    samples: NDArray[np.floating[Any]],
    sample_rate_hz: int,
    settings: Conditioning,
    spans: Sequence[Span] | None = None,
) -> Conditioned:
    """Mono sound [T] without offset, at the asked loudness and with the asked silence at both ends.

    `spans` are those of `speech_spans` where they are known already. Sound without any speech keeps its ends. Raises
    ModelMissing without pyloudnorm or silero-vad.
    """
    if not samples.size:
        return Conditioned(np.zeros(0, np.float32), 0.0, 0.0, 0.0)
    centred = samples - np.mean(samples, dtype=np.float64)
    if spans is None:
        spans = speech_spans(centred, sample_rate_hz)
    first, last = (
        (round(spans[0].start_sec * sample_rate_hz), min(round(spans[-1].end_sec * sample_rate_hz), samples.size))
        if spans
        else (0, samples.size)
    )
    gain_db = _gain_db(centred, centred[first:last], sample_rate_hz, settings)
    louder = centred * 10 ** (gain_db / 20)
    silence_samples = round((settings.silence_sec or 0.0) * sample_rate_hz)
    if settings.silence_sec is None or not spans:
        return Conditioned(louder.astype(np.float32), gain_db, 0.0, samples.size / sample_rate_hz)
    start, end = first - silence_samples, last + silence_samples
    return Conditioned(
        _with_silence(louder, first, last, silence_samples, round(_FADE_SEC * sample_rate_hz)),
        gain_db,
        start / sample_rate_hz,
        end / sample_rate_hz,
    )


def loudness_lufs(samples: NDArray[np.floating[Any]], sample_rate_hz: int) -> float:
    """The integrated loudness of sound [T] or [T, C] by ITU-R BS.1770, minus infinity for silence.

    Sound shorter than the 0.4 s of one block is repeated to that length: a repeated sound is as loud as one. Raises
    ModelMissing without pyloudnorm.
    """
    try:
        from pyloudnorm import Meter
    except ImportError as error:
        raise ModelMissing(f"{error.name} is not installed: install the extra `preparation`.") from error
    if not samples.size:
        return -np.inf
    fewest = int(np.ceil(_BLOCK_SEC * sample_rate_hz)) + 1
    if len(samples) < fewest:
        samples = np.concatenate([samples] * -(-fewest // len(samples)))[:fewest]
    return float(Meter(sample_rate_hz).integrated_loudness(samples.astype(np.float64)))


def _gain_db(
    whole: NDArray[np.floating[Any]],
    speech: NDArray[np.floating[Any]],
    sample_rate_hz: int,
    settings: Conditioning,
) -> float:
    peak = float(np.abs(whole).max())
    if settings.loudness_lufs is None or peak == 0.0:
        return 0.0
    loudness = loudness_lufs(speech, sample_rate_hz)
    wanted_db = settings.loudness_lufs - loudness if loudness > _QUIETEST_LUFS else settings.max_gain_db
    # float32 rounds to 1 part in 2^24, so the limit itself may be passed by that much; a full-scale sample may not.
    return min(wanted_db, settings.max_gain_db, settings.peak_dbfs - 20 * float(np.log10(peak)))


def _with_silence(
    samples: NDArray[np.floating[Any]], first: int, last: int, silence_samples: int, fade_samples: int
) -> NDArray[np.float32]:
    """Speech from sample `first` to `last` with what lies around it, zeros where the recording has too little.

    What is cut off or runs into added zeros is faded over, always outside of the speech.
    """
    start, end = max(0, first - silence_samples), min(samples.size, last + silence_samples)
    kept = samples[start:end].astype(np.float32)
    for ramp_samples, from_end in ((min(fade_samples, first - start), False), (min(fade_samples, end - last), True)):
        if ramp_samples:
            ramp = (np.arange(ramp_samples) / ramp_samples).astype(np.float32)
            part = slice(kept.size - ramp_samples, None) if from_end else slice(0, ramp_samples)
            kept[part] *= ramp[::-1] if from_end else ramp
    return np.pad(kept, (silence_samples - (first - start), silence_samples - (end - last)))
