"""From one recording to the places of its clips and their texts: what happens before any clip is written.

A recording of a clip's length with its text is one piece. A longer one is cut in its pauses, and its text with it, by
an aligner. One without text is cut too; its pieces are transcribed later, piece by piece, so that little is lost when
the work is interrupted.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_ft.data.utterance import UnusableClip
from calm_ft.metrics.audio_io import MODEL_RATE_HZ
from calm_ft.preparation.clips import HeardWord, Span
from calm_ft.preparation.sound.voice_activity import clip_spans, speech_spans
from calm_ft.preparation.tools import ClipSettings, SettingsByLanguage, cleaned, models_of, mono_for_models
from calm_ft.preparation.words.alignment import split_alignment
from calm_ft.preparation.words.text import spoken_form


@dataclass(frozen=True)
class Recording:
    """One recording as it was given: a file or a part of it, with its text or (None) without."""

    id: str
    path: Path
    source: str
    digest: str
    speaker: str
    text: str | None
    duration_sec: float
    start_sec: float = 0.0
    end_sec: float | None = None
    words: tuple[HeardWord, ...] = ()
    language: str | None = None
    """ISO 639-1 code, where its row names it."""

    def needs_cutting(self, settings: ClipSettings) -> bool:
        """Whether it is cut, cleaned or transcribed; a clip of the right length with its text is taken as it is."""
        return self.text is None or self.duration_sec > settings.max_sec or settings.clean_command is not None

    def identity(self) -> tuple[object, ...]:
        """What the pieces depend on."""
        return (self.digest, self.start_sec, self.end_sec, self.text)


@dataclass(frozen=True)
class Piece:
    """A part of a file that becomes one clip; words count from its start."""

    start_sec: float
    end_sec: float | None
    text: str | None
    text_from: str
    confidence: float | None = None
    words: tuple[HeardWord, ...] = ()


@dataclass(frozen=True)
class Cut:
    """The pieces of a recording, or why there are none; JSON keeps it as `as_row` and `cut_from` say."""

    pieces: tuple[Piece, ...] = ()
    kind: str = ""
    reason: str = ""

    def as_row(self) -> dict[str, Any]:
        return {"pieces": [asdict(piece) for piece in self.pieces], "kind": self.kind, "reason": self.reason}


def cut_from(row: dict[str, Any]) -> Cut:
    """What `as_row` made."""
    pieces = []
    for piece in row["pieces"]:
        words = tuple(HeardWord(**word) for word in piece["words"])
        pieces.append(Piece(**{**piece, "words": words}))
    return Cut(tuple(pieces), row["kind"], row["reason"])


def whole(recording: Recording) -> Cut:
    """The recording as one piece."""
    return Cut((_uncut(recording),))


def cut(recording: Recording, settings_by_language: SettingsByLanguage) -> Cut:
    """Cuts a recording that `needs_cutting`. Faults of the recording become the reason of the result."""
    settings = settings_by_language[recording.language]
    try:
        path = cleaned(recording.path, recording.digest, settings)
        if recording.text is not None and recording.duration_sec <= settings.max_sec:
            return Cut((_uncut(recording),))
        samples = mono_for_models(path, recording.start_sec, recording.end_sec)
    except UnusableClip as fault:
        return Cut(kind="unreadable", reason=str(fault))
    speech = speech_spans(samples, MODEL_RATE_HZ)
    if not speech:
        return Cut(kind="no_speech", reason="no speech was found in it")
    spans = clip_spans(samples, MODEL_RATE_HZ, speech, settings.min_sec, settings.max_sec)
    if recording.text is None:
        return _placed(recording, spans)
    return _with_text(recording, samples, spans, settings)


def _with_text(recording: Recording, samples: NDArray[np.float32], spans: list[Span], settings: ClipSettings) -> Cut:
    """Aligns the text with the whole recording and gives each span its words; a single span has all of them."""
    if len(spans) == 1:
        start, end = recording.start_sec + spans[0].start_sec, recording.start_sec + spans[0].end_sec
        return Cut((Piece(start, end, recording.text, "given"),))
    aligner = models_of(settings).aligner
    text = spoken_form(recording.text or "", settings.language).text
    if aligner is None:
        if recording.duration_sec <= settings.longest_sec:
            return Cut((_uncut(recording),))
        language = settings.language or "an unknown language"
        return Cut(
            kind="no_alignment",
            reason=f"it lasts {recording.duration_sec:.0f} s, and no aligner for {language} is installed that could "
            "split its text",
        )
    try:
        alignment = aligner.align(samples, MODEL_RATE_HZ, text)
    except UnusableClip as fault:
        return Cut(kind="no_alignment", reason=str(fault))
    pieces = []
    for span, own in zip(spans, split_alignment(alignment, spans), strict=True):
        if own.words:
            start, end = recording.start_sec + span.start_sec, recording.start_sec + span.end_sec
            part = " ".join(word.word for word in own.words)
            pieces.append(Piece(start, end, part, "aligned", own.score, _within(own.words, span)))
    return Cut(tuple(pieces))


def _placed(recording: Recording, spans: Sequence[Span]) -> Cut:
    start = recording.start_sec
    return Cut(tuple(Piece(start + span.start_sec, start + span.end_sec, None, "heard") for span in spans))


def _uncut(recording: Recording) -> Piece:
    return Piece(recording.start_sec, recording.end_sec, recording.text, "given", None, recording.words)


def _within(words: Sequence[HeardWord], span: Span) -> tuple[HeardWord, ...]:
    """The words with times counted from the start of the span."""

    def moved(time_sec: float) -> float:
        return min(max(0.0, time_sec - span.start_sec), span.duration_sec)

    return tuple(replace(word, start_sec=moved(word.start_sec), end_sec=moved(word.end_sec)) for word in words)
