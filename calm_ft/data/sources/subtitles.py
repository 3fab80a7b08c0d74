"""Subtitles beside a recording (srt, vtt, ass): sentences and when they are said.

A cue ends where the screen is full, often within a sentence; cues are joined until the sentence ends, so that a clip
begins and ends where the speaker pauses. Captions that roll (each cue repeats the line before it, as YouTube's do) give
each line once.
"""

from dataclasses import dataclass

from calm_ft.data.utterance import UnusableClip

SUBTITLE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", ".”", '."', '!"', '?"', "!”", "?”", ".»", "!»", "?»")
# Cues further apart than this are not one sentence, however the first one ends.
MAX_PAUSE_SEC = 0.6
MAX_JOINED_SEC = 15.0
# Rolling captions show the line before for this long before the next one grows.
MIN_CUE_SEC = 0.05


@dataclass(frozen=True)
class Cue:
    """A text and when it is said, from the start of the file."""

    start_sec: float
    end_sec: float
    text: str


def read_cues(content: str) -> list[Cue]:
    """The sentences of a subtitle file.

    Raises:
        UnusableClip: it is no subtitle file, holds no cue, or pysubs2 is not installed.
    """
    return _join_sentences(_without_repeats(_parse(content)))


def _parse(content: str) -> list[Cue]:
    try:
        import pysubs2
    except ImportError:
        raise UnusableClip("subtitles need pysubs2, which is not installed: install the extra `preparation`") from None
    try:
        file = pysubs2.SSAFile.from_string(content)
    except Exception:  # any: what a broken file makes the parser raise is not documented
        raise UnusableClip("the subtitles cannot be read") from None
    events = sorted((event for event in file.events if event.is_text), key=lambda event: event.start)
    cues = [Cue(event.start / 1000, event.end / 1000, event.plaintext.strip()) for event in events]
    cues = [cue for cue in cues if cue.text and cue.end_sec > cue.start_sec]
    if not cues:
        raise UnusableClip("the subtitles hold no text")
    return cues


def _without_repeats(cues: list[Cue]) -> list[Cue]:
    """The cues without the lines that the cue before showed last, where it still stands or has just gone."""
    kept: list[Cue] = []
    shown: list[str] = []
    shown_until_sec = 0.0
    for cue in cues:
        lines = [line.strip() for line in cue.text.split("\n") if line.strip()]
        if cue.start_sec <= shown_until_sec + MIN_CUE_SEC:
            repeated = next(
                (count for count in range(min(len(shown), len(lines)), 0, -1) if shown[-count:] == lines[:count]), 0
            )
            new = lines[repeated:]
        else:
            new = lines
        if new:
            start_sec = (
                max(cue.start_sec, kept[-1].end_sec) if kept and cue.start_sec < kept[-1].end_sec else cue.start_sec
            )
            if cue.end_sec - start_sec >= MIN_CUE_SEC:
                kept.append(Cue(start_sec, cue.end_sec, " ".join(new)))
        shown, shown_until_sec = lines, cue.end_sec
    return kept


def _join_sentences(cues: list[Cue]) -> list[Cue]:
    joined: list[Cue] = []
    for cue in cues:
        last = joined[-1] if joined else None
        goes_on = (
            last is not None
            and not last.text.endswith(SENTENCE_ENDS)
            and cue.start_sec - last.end_sec <= MAX_PAUSE_SEC
            and cue.end_sec - last.start_sec <= MAX_JOINED_SEC
        )
        if last is not None and goes_on:
            joined[-1] = Cue(last.start_sec, cue.end_sec, f"{last.text} {cue.text}")
        else:
            joined.append(cue)
    return joined
