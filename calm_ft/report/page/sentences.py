"""Sentences as rows and systems as columns: the clips of what should be the same speech stand in one line.

Clips belong together by what they should say; where a run did not record that, by the bytes of its reference. Of a
sentence spoken with several seeds the first is shown, so that systems are compared on the same noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calm_ft.metrics.registry import FIGURES
from calm_ft.report.figures import headlines, label, number, ordered_systems, system_name, value_text
from calm_ft.report.page.media import PlayedClip, digest_of, read_clip
from calm_ft.report.page.scrub import Scrubber
from calm_ft.report.page.tables import style
from calm_ft.report.picture import axis_of_clip, shared_axis_sec
from calm_ft.report.result import REFERENCE, TUNED, UtteranceRow
from calm_ft.report.runs import Run

_UNITS_SHOWN = ("dB", "s", "cents")


@dataclass(frozen=True)
class SentenceCard:
    """A player and its picture; `problem` says why there are none, `remark` how its time axis differs.

    `figures` are (label, value, reason if missing).
    """

    audio_uri: str = ""
    picture_uri: str = ""
    shown_sec: float = 0.0
    duration: str = ""
    remark: str = ""
    flags: tuple[str, ...] = ()
    figures: tuple[tuple[str, str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Head:
    """A column: a system, whose it is, and the class of its colour."""

    key: str
    letter: str
    name: str
    style: str

    @property
    def title(self) -> str:
        """What a reader who sees no colours is told."""
        return f"{self.letter} {self.name}".strip()


@dataclass(frozen=True)
class Sentence:
    """One sentence with a card for each column, None where a system has no clip; `shown_sec` is its time axis."""

    text: str
    shown_sec: float
    cards: tuple[SentenceCard | None, ...]


@dataclass(frozen=True)
class Sentences:
    """What the page plays, of `num_all` sentences that could be played."""

    heads: tuple[Head, ...]
    shown: tuple[Sentence, ...]
    num_all: int


@dataclass
class _Column:
    """A system's clips by sentence, and the letters of the runs that share every one of them."""

    system: str
    letters: list[str]
    rows: dict[str, UtteranceRow] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def take(self, letter: str, key: str, row: UtteranceRow, digest: str) -> None:
        if letter not in self.letters:
            self.letters.append(letter)
        self.rows.setdefault(key, row)
        self.digests.setdefault(key, digest)


def sentences(runs: Sequence[Run], num_shown: int, scrub: Scrubber) -> Sentences:
    """The first `num_shown` sentences; those that most runs speak come first."""
    spoken = _by_sentence(runs)
    keys = sorted(spoken, key=lambda key: -len({run.letter for run, _ in spoken[key]}))
    chosen = keys[:num_shown]
    columns = list(_columns(runs, {key: spoken[key] for key in chosen}))
    shown = (_sentence(key, spoken[key], columns, scrub) for key in chosen)
    return Sentences(tuple(_head(each, runs) for each in columns), tuple(shown), len(keys))


def _by_sentence(runs: Sequence[Run]) -> dict[str, list[tuple[Run, UtteranceRow]]]:
    keys: dict[str, str] = {}
    found: dict[str, list[tuple[Run, UtteranceRow]]] = {}
    # Runs that know their texts come first: a run that does not finds its sentences by their references.
    for run in sorted(runs, key=lambda run: not any(row.text for row in run.utterances)):
        for one in _sentences_of(run):
            digest = next((digest_of(Path(row.audio)) for row in one if row.system == REFERENCE), "")
            key = one[0].text or keys.get(digest) or digest or f"{run.letter} {one[0].index}"
            if digest:
                keys.setdefault(digest, key)
            found.setdefault(key, []).extend((run, row) for row in one)
    return found


def _sentences_of(run: Run) -> list[list[UtteranceRow]]:
    """The clips by sentence, one a system: that of the lowest seed."""
    found: dict[tuple[int, str], dict[str, UtteranceRow]] = {}
    for row in sorted(run.utterances, key=lambda row: (row.index, row.seed)):
        found.setdefault((row.index, row.text), {}).setdefault(row.system, row)
    return [list(systems.values()) for systems in found.values()]


def _columns(runs: Sequence[Run], spoken: dict[str, list[tuple[Run, UtteranceRow]]]) -> Iterator[_Column]:
    """A tuned model's clips are its own, even where training changed nothing; others are shared where all agree."""
    of_system: dict[str, dict[str, dict[str, UtteranceRow]]] = {}
    for key, rows in spoken.items():
        for run, row in rows:
            of_system.setdefault(row.system, {}).setdefault(run.letter, {}).setdefault(key, row)
    for system in ordered_systems(of_system):
        columns: list[_Column] = []
        for run in runs:
            rows_of_run = of_system[system].get(run.letter)
            if rows_of_run is None:
                continue
            digests = {key: digest_of(Path(row.audio)) for key, row in rows_of_run.items()}
            column = next((each for each in columns if system != TUNED and _agree(each, digests)), None)
            if column is None:
                column = _Column(system, [])
                columns.append(column)
            for key, row in rows_of_run.items():
                column.take(run.letter, key, row, digests[key])
        yield from columns


def _agree(column: _Column, digests: dict[str, str]) -> bool:
    return all(digest and column.digests.get(key, digest) == digest for key, digest in digests.items())


def _head(column: _Column, runs: Sequence[Run]) -> Head:
    numbers = {run.letter: number for number, run in enumerate(runs)}
    if column.system == TUNED:
        (letter,) = column.letters
        alone = "tuned" if len(runs) == 1 else ""
        return Head(f"tuned {letter}", letter, alone, style(letter))
    speakers = {run.letter for run in runs if any(row.system == column.system for row in run.utterances)}
    owners = (
        "" if set(column.letters) == speakers else f" of {', '.join(sorted(column.letters, key=numbers.__getitem__))}"
    )
    return Head(f"{column.system}{owners}", "", f"{system_name(column.system)}{owners}", column.system)


def _sentence(
    key: str, rows: Sequence[tuple[Run, UtteranceRow]], columns: Sequence[_Column], scrub: Scrubber
) -> Sentence:
    clips = {id(column): read_clip(Path(column.rows[key].audio)) for column in columns if key in column.rows}
    shared_sec = shared_axis_sec([clip.duration_sec for clip in clips.values() if clip is not None])
    cards = tuple(
        _card(column.rows[key], clips[id(column)], shared_sec, scrub) if key in column.rows else None
        for column in columns
    )
    return Sentence(next((row.text for _, row in rows if row.text), ""), shared_sec, cards)


def _card(row: UtteranceRow, clip: PlayedClip | None, shared_sec: float, scrub: Scrubber) -> SentenceCard:
    flags = tuple(label(name) for name, is_set in row.flags.items() if is_set)
    if clip is None:
        return SentenceCard(flags=flags, problem=f"{Path(row.audio).name} is missing, empty or unreadable")
    shown_sec, remark = axis_of_clip(clip.duration_sec, shared_sec)
    return SentenceCard(
        audio_uri=clip.audio_uri,
        picture_uri=clip.picture_uri(shown_sec),
        shown_sec=shown_sec,
        duration=f"{number(clip.duration_sec)} s",
        remark=remark,
        flags=flags,
        figures=tuple(_figures(row, scrub)),
    )


def _figures(row: UtteranceRow, scrub: Scrubber) -> Iterator[tuple[str, str, str]]:
    names = [name for name in FIGURES if name in row.metrics]
    names += [name for name in row.metrics if name not in FIGURES]
    main = headlines(name for name in names if row.metrics[name] is not None)
    for name in [*main, *(name for name in names if name not in main)]:
        unit = FIGURES[name].unit if name in FIGURES else ""
        value = value_text(row.metrics[name], unit)
        told = f"{value} {unit}" if unit in _UNITS_SHOWN and row.metrics[name] is not None else value
        yield label(name), told, scrub(row.missing.get(name, ""))
