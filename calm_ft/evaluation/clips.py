"""Clips as they are compared: what a system said, and what was measured of it.

Systems are "reference" (the true recordings: the floor of what errors a metric makes by itself), "codec" (their round
trip through the codec: the ceiling for whatever speaks through it), "base" (zero-shot) and "tuned". What is measured is
what a clip's WAV file holds, 16 bits a sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calm_ft.evaluation.kept_audio import Timing
from calm_ft.metrics.audio_io import AudioLike, wav_bytes

RUNAWAY_RATIO = 2.5
TRUNCATED_RATIO = 0.5
TRUNCATED_END_DB = -20.0


@dataclass(frozen=True)
class Spoken:
    """One clip of one system as its WAV file's content.

    `timing` is None for what was not generated, and for what was, but not timed; `voice` for the voice that was tuned
    to, else it is the name of a base voice. `kept_as` is its name in `KeptAudio`, empty for what was not generated.
    """

    system: str
    index: int
    seed: int
    text: str
    wav: bytes
    sample_rate_hz: int
    ended: bool = True
    timing: Timing | None = None
    voice: str | None = None
    kept_as: str = ""

    @property
    def name(self) -> str:
        """Its file's name."""
        voice = "" if self.voice is None else f"{self.voice}_"
        return f"{self.system}_{voice}{self.index:03d}_{self.seed}.wav"


@dataclass(frozen=True)
class Scored:
    """A clip's numbers, why others are missing, and what went wrong with it."""

    spoken: Spoken
    metrics: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, float | None]:
        """All figures of the clip, what went wrong with it among them as 0 or 1."""
        return {**self.metrics, **{name: float(value) for name, value in self.flags.items()}}


def recorded(
    system: str, index: int, text: str, audio: AudioLike, sample_rate_hz: int, voice: str | None = None
) -> Spoken:
    """A clip that no system spoke: a recording [T], or its round trip."""
    return Spoken(system, index, 0, text, wav_bytes(audio, sample_rate_hz), sample_rate_hz, voice=voice)


def flags_of(spoken: Spoken, numbers: Mapping[str, float | None]) -> dict[str, bool]:
    """runaway: not ended by itself, or far too long; truncated: loud at the very end, or far too short."""
    ratio, end_db = numbers.get("duration_ratio"), numbers.get("end_level_db")
    silence = numbers.get("silence_share")
    runaway = not spoken.ended or (ratio is not None and ratio > RUNAWAY_RATIO)
    cut = end_db is not None and end_db > TRUNCATED_END_DB
    return {
        "runaway": runaway,
        "silent": silence is None or silence >= 1.0,
        "truncated": cut or (ratio is not None and ratio < TRUNCATED_RATIO),
    }
