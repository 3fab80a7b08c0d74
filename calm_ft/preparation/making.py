"""From a piece of a recording to one clip of the dataset: heard, measured, conditioned, compared, written.

What it needs travels in a `PieceJob`, so that it runs in any process; what comes back is a row for `results.py`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_ft.data.audio import MAX_PEAK, SILENT_PEAK, mix_down, read_samples
from calm_ft.data.utterance import UnusableClip, Utterance
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate, resampled
from calm_ft.preparation.checks import num_letters
from calm_ft.preparation.clips import HeardWord, PreparedClip
from calm_ft.preparation.pieces import Piece
from calm_ft.preparation.sound.conditioning import Conditioned, condition
from calm_ft.preparation.sound.likeness import fingerprint
from calm_ft.preparation.sound.measures import faults, measure
from calm_ft.preparation.sound.overlap import overlap_faults, overlap_sec
from calm_ft.preparation.sound.voice_activity import speech_spans
from calm_ft.preparation.tools import MAX_RATE_HZ, ClipSettings, Models, SettingsByLanguage, models_of, write_flac
from calm_ft.preparation.words.text import spoken_form
from calm_ft.preparation.words.transcription import Transcript, mismatch

MIN_SPEECH_SEC = 0.2
Row = dict[str, Any]


class Fault(UnusableClip):
    """A clip that cannot be used, with the kind of its problem."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class PieceJob:
    """One piece with its names; `heard` is what was transcribed in an earlier run.

    Attributes:
        path: where its sound is read from: the recording, or what a cleaning program made of it.
        language: what the row of the recording names.
        file: the clip that is written, relative to the dataset.
        made_from, heard_from: fingerprints of what the clip and its transcript depend on.
    """

    id: str
    path: Path
    file: str
    source: str
    speaker: str
    language: str | None
    piece: Piece
    made_from: str
    heard_from: str
    heard: Row | None = None


@dataclass(frozen=True)
class Made:
    """The row of a clip, or of why there is none (with `kind`); `heard` is a new transcript to keep."""

    id: str
    row: Row
    heard: Row | None = None


@dataclass(frozen=True)
class _Text:
    text: str
    text_from: str
    confidence: float | None
    language: str | None
    words: tuple[HeardWord, ...]


def make_clips(jobs: Sequence[PieceJob], settings_by_language: SettingsByLanguage) -> list[Made]:
    """Makes the clips of some pieces, which lie beside each other in one recording.

    Raises:
        OSError: the disk refuses.
        ModelMissing: a package is missing.
    """
    return [_make(job, settings_by_language[job.language]) for job in jobs]


def _make(job: PieceJob, settings: ClipSettings) -> Made:
    models = models_of(settings)
    heard: Row | None = None
    try:
        channels, rate_hz = _sound(job)
        mono = mix_down(channels)
        if job.piece.text is None and job.heard is None:
            heard = _listen(mono, rate_hz, models)
        text = _text_of(job, mono, rate_hz, models, settings, heard or job.heard)
        return Made(job.id, _clip_row(job, channels, mono, rate_hz, text, models, settings), heard)
    except UnusableClip as fault:
        kind = fault.kind if isinstance(fault, Fault) else "unreadable"
        duration_sec = None if job.piece.end_sec is None else job.piece.end_sec - job.piece.start_sec
        return Made(job.id, {"kind": kind, "reason": str(fault), "duration_sec": duration_sec}, heard)


def _sound(job: PieceJob) -> tuple[NDArray[np.float32], int]:
    """The piece as recorded, [T, C]; raises UnusableClip where it holds no usable sound."""
    piece = job.piece
    channels, rate_hz = read_samples(Utterance(job.id, job.path, "", start_sec=piece.start_sec, end_sec=piece.end_sec))
    peak = float(np.abs(channels).max())
    if float(np.abs(channels - channels.mean(axis=0)).max()) < SILENT_PEAK:
        raise Fault("silent", "the audio is silent")
    if peak > MAX_PEAK:
        raise Fault("integer_samples", f"its samples reach {peak:.0f}, where 1 is full scale")
    return channels, rate_hz


def _listen(mono: NDArray[np.float32], rate_hz: int, models: Models) -> Row:
    if models.listener is None:
        raise Fault("no_text", "it has no text and was not transcribed")
    found: Transcript = models.listener.listen(mono, rate_hz)
    return asdict(found)


def _text_of(
    job: PieceJob, mono: NDArray[np.float32], rate_hz: int, models: Models, settings: ClipSettings, heard: Row | None
) -> _Text:
    """The piece's text, and how well it agrees with the sound as far as something here can judge it."""
    piece = job.piece
    if piece.text is None:
        assert heard is not None
        return _heard_text(heard, mono, rate_hz, models, settings)
    if not num_letters(piece.text):
        raise Fault("no_words", "the text has nothing to say in it")
    if piece.confidence is not None or (piece.words and models.aligner is None):
        return _Text(piece.text, piece.text_from, piece.confidence, settings.language, piece.words)
    confidence, words = _agreement(mono, rate_hz, piece.text, models, settings)
    return _Text(piece.text, piece.text_from, confidence, settings.language, piece.words or words)


def _heard_text(heard: Row, mono: NDArray[np.float32], rate_hz: int, models: Models, settings: ClipSettings) -> _Text:
    words = tuple(HeardWord(**word) for word in heard["words"])
    text = heard.get("text") or " ".join(word.word.strip() for word in words)
    if not num_letters(text):
        raise Fault("no_speech", "no word was heard in it")
    confidence = _mean_confidence(words)
    if not words:  # The recogniser told no times. What it misheard fits the sound as well, so this judges nothing.
        _, words = _alignment(mono, rate_hz, spoken_form(text, settings.language).text, models)
    return _Text(text, "heard", confidence, heard["language"], words)


def _agreement(
    mono: NDArray[np.float32], rate_hz: int, text: str, models: Models, settings: ClipSettings
) -> tuple[float | None, tuple[HeardWord, ...]]:
    """How well a given text fits: by a good recogniser where there is one, else by its alignment."""
    spoken = spoken_form(text, settings.language).text
    if models.listener is not None and models.listener.is_judge:
        found = models.listener.listen(mono, rate_hz)
        return 1.0 - mismatch(spoken, found.text, settings.language or found.language or ""), ()
    return _alignment(mono, rate_hz, spoken, models)


def _alignment(
    mono: NDArray[np.float32], rate_hz: int, spoken: str, models: Models
) -> tuple[float | None, tuple[HeardWord, ...]]:
    """How well a spoken text fits the sound, and when each word is said; nothing where there is no aligner."""
    if models.aligner is None:
        return None, ()
    try:
        alignment = models.aligner.align(at_model_rate(mono, rate_hz), MODEL_RATE_HZ, spoken)
    except UnusableClip:
        return 0.0, ()
    return alignment.score, alignment.words


def _clip_row(
    job: PieceJob,
    channels: NDArray[np.float32],
    mono: NDArray[np.float32],
    rate_hz: int,
    text: _Text,
    models: Models,
    settings: ClipSettings,
) -> Row:
    spans = speech_spans(mono, rate_hz)
    measures = measure(channels, rate_hz, spans)
    conditioned = condition(mono, rate_hz, settings.conditioning, spans)
    out_rate_hz = min(rate_hz, MAX_RATE_HZ if rate_hz % 11025 else 44100)
    samples = resampled(conditioned.samples, rate_hz, out_rate_hz)
    duration_sec = len(samples) / out_rate_hz
    if duration_sec < MIN_SPEECH_SEC + 2 * settings.silence_sec:
        raise Fault("no_speech", f"it holds less than {MIN_SPEECH_SEC} s of speech")
    if duration_sec > settings.longest_sec:
        raise Fault("too_long", f"it lasts {duration_sec:.1f} s without a pause to cut it in")
    write_flac(settings.dataset / job.file, samples, out_rate_hz)
    found = faults(measures)
    at_once_sec = overlap_sec(samples, out_rate_hz) if settings.finds_overlap else None
    if at_once_sec is not None:
        found += overlap_faults(at_once_sec, found)
    start_sec = job.piece.start_sec
    clip = PreparedClip(
        id=job.id,
        path=job.file,
        source=job.source,
        source_start_sec=start_sec + max(0.0, conditioned.start_sec),
        source_end_sec=start_sec + min(len(mono) / rate_hz, conditioned.end_sec),
        speaker=job.speaker,
        original_text=text.text,
        text=text.text,
        text_from=text.text_from,
        duration_sec=duration_sec,
        confidence=None if text.confidence is None else round(text.confidence, 4),
        language=text.language,
        measures=_figures({**asdict(measures), "gain_db": conditioned.gain_db, "overlap_sec": at_once_sec}),
        faults=tuple(found),
    )
    row = asdict(clip)
    row["words"] = [asdict(word) for word in _moved(text.words, conditioned)]
    row["fingerprint"] = pack(fingerprint(samples, out_rate_hz))
    row["embedding"] = None if models.embed is None else pack(models.embed(samples, out_rate_hz).astype(np.float16))
    return row


def pack(array: NDArray[Any]) -> list[Any]:
    """An array as JSON keeps it: its type, shape and bytes."""
    return [str(array.dtype), list(array.shape), base64.b64encode(array.tobytes()).decode()]


def unpack(packed: Sequence[Any]) -> NDArray[Any]:
    """What `pack` was given."""
    kind, shape, content = packed
    return np.frombuffer(base64.b64decode(content), dtype=kind).reshape(shape)


def _figures(found: Mapping[str, Any]) -> dict[str, float]:
    """The measures that are finite numbers, rounded, for the manifest."""
    return {
        name: round(float(value), 4)
        for name, value in found.items()
        if isinstance(value, int | float) and np.isfinite(value)
    }


def _moved(words: Sequence[HeardWord], conditioned: Conditioned) -> list[HeardWord]:
    """Word times counted from the first sample of the conditioned clip."""
    length = conditioned.end_sec - conditioned.start_sec

    def moved(time_sec: float) -> float:
        return min(max(0.0, time_sec - conditioned.start_sec), length)

    return [HeardWord(word.word, moved(word.start_sec), moved(word.end_sec), word.confidence) for word in words]


def _mean_confidence(words: Sequence[HeardWord]) -> float | None:
    known = [word.confidence for word in words if word.confidence is not None]
    return float(np.mean(known)) if known else None
