"""One pass over a dataset's clips, in memory that grows by a few numbers a clip and not by its row.

The table of all clips is compressed while the rows are read; what else the page needs of single clips (examples,
voice prompts) is kept for a bounded number of them.
"""

import base64
import gzip
import heapq
import io
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from os.path import splitext

from calm_ft.preparation.page.rows import HELD_OUT, LEFT_OUT, ClipRow

PROMPT_SEC = (6.0, 12.0)
"""A voice prompt of this length shows how a voice speaks, and leaves the model room for the sentence."""
PROMPTS_OF_A_SPEAKER = 5
_HARMLESS_IN_A_PROMPT = {"offset", "too_quiet", "silent_channel", "remarks", "one_word", "repeated_text"}
"""Problems that conditioning has mended, or that are of the text alone."""
LEVEL, SNR = "loudness_lufs", "snr_db"
"""Measures of `sound.SoundMeasures`, of the sound as it was recorded."""


@dataclass
class SpeakerTotals:
    """What a speaker's kept clips sum up to, and the clips that serve best as a voice prompt, the best first.

    `learnt_sec` leaves out what is held out for judging.
    """

    name: str
    num_clips: int = 0
    recorded_sec: float = 0.0
    learnt_sec: float = 0.0
    snr_db: array = field(default_factory=lambda: array("d"))
    _best: list[tuple[tuple[float, float, int], ClipRow]] = field(default_factory=list)

    @property
    def prompts(self) -> list[ClipRow]:
        return [row for _, row in sorted(self._best, key=lambda each: each[0], reverse=True)]

    def add(self, row: ClipRow, place: int) -> None:
        self.num_clips += 1
        self.recorded_sec += row.recorded_sec or 0.0
        self.learnt_sec += 0.0 if row.split == HELD_OUT else row.recorded_sec or 0.0
        snr_db = row.measure(SNR)
        if snr_db is not None:
            self.snr_db.append(snr_db)
        if row.duration_sec and not is_unfit_for_a_prompt(row):
            candidate = ((*prompt_rank(row), -place), row)
            if len(self._best) < PROMPTS_OF_A_SPEAKER:
                heapq.heappush(self._best, candidate)
            else:
                heapq.heappushpop(self._best, candidate)


@dataclass
class LanguageTotals:
    """What the kept clips of a language sum up to."""

    num_clips: int = 0
    recorded_sec: float = 0.0


@dataclass
class Survey:
    """What the page shows of a dataset; measures are of the kept clips alone."""

    speakers: dict[str, SpeakerTotals] = field(default_factory=dict)
    languages: dict[str, LanguageTotals] = field(default_factory=lambda: defaultdict(LanguageTotals))
    """By what the rows name, empty for rows that name none."""
    splits: Counter[str] = field(default_factory=Counter)
    split_sec: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unknown_sec: Counter[str] = field(default_factory=Counter)
    """How many clips of a split have no known length."""
    lost_sec: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """How much is left out for each kind of problem."""
    duration_sec: array = field(default_factory=lambda: array("d"))
    level_lufs: array = field(default_factory=lambda: array("d"))
    snr_db: array = field(default_factory=lambda: array("d"))
    characters_per_sec: array = field(default_factory=lambda: array("d"))
    num_characters: array = field(default_factory=lambda: array("d"))
    num_tokens: array = field(default_factory=lambda: array("d"))
    examples: dict[str, ClipRow] = field(default_factory=dict)
    table: str = ""
    """All rows as gzip in base64: a list of lists as `table_row` writes them."""

    @property
    def kept(self) -> list[str]:
        return [split for split in self.splits if split != LEFT_OUT]

    @property
    def num_kept(self) -> int:
        return sum(self.splits[split] for split in self.kept)

    @property
    def kept_sec(self) -> float:
        return sum(self.split_sec[split] for split in self.kept)

    def add(self, row: ClipRow, place: int) -> None:
        self.splits[row.split] += 1
        self.split_sec[row.split] += row.recorded_sec or 0.0
        self.unknown_sec[row.split] += row.recorded_sec is None
        if not row.is_kept:
            for kind in row.problems:
                self.lost_sec[kind] += row.recorded_sec or 0.0
            return
        self.speakers.setdefault(row.speaker, SpeakerTotals(row.speaker)).add(row, place)
        language = self.languages[row.language]
        language.num_clips += 1
        language.recorded_sec += row.recorded_sec or 0.0
        self.num_characters.append(len(row.text))
        for values, value in (
            (self.duration_sec, row.duration_sec),
            (self.level_lufs, row.measure(LEVEL)),
            (self.snr_db, row.measure(SNR)),
            (self.characters_per_sec, row.characters_per_sec),
            (self.num_tokens, row.num_tokens),
        ):
            if value is not None:
                values.append(value)


def survey(rows: Iterable[ClipRow], wanted: Collection[str]) -> Survey:
    """Read all rows once; the rows whose ids are `wanted` are kept whole, as examples."""
    found = Survey()
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=6, mtime=0) as packed:
        packed.write(b"[")
        for place, row in enumerate(rows):
            found.add(row, place)
            if row.id in wanted:
                found.examples[row.id] = row
            line = ("," if place else "") + table_row(row)
            packed.write(line.encode("utf-8", "backslashreplace"))  # a lone surrogate becomes JSON's own escape of it
        packed.write(b"]")
    found.table = base64.b64encode(content.getvalue()).decode()
    return found


def table_row(row: ClipRow) -> str:
    """A clip in the table of all clips, as JSON: page.js names the columns in the same order."""
    values = [
        row.id,
        row.text,
        row.speaker,
        row.split,
        _rounded(row.duration_sec, 2),
        _rounded(row.measure(SNR), 1),
        _rounded(row.measure(LEVEL), 1),
        _rounded(row.characters_per_sec, 1),
        list(row.problems),
        _source(row),
        row.reason,
        row.original_text if row.original_text != row.text else "",
    ]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _source(row: ClipRow) -> str:
    """The recording and where the clip begins in it; empty where the clip is the whole of a recording of its name."""
    if row.source_start_sec:
        return f"{row.source} {_clock(row.source_start_sec)}"
    return "" if row.id in (row.source, splitext(row.source)[0]) else row.source


def prompt_rank(row: ClipRow) -> tuple[float, float]:
    """Higher is better: first by how near the length is to 6 to 12 s (in whole seconds), then by SNR."""
    shortest, longest = PROMPT_SEC
    duration_sec = row.duration_sec or 0.0
    away_sec = max(shortest - duration_sec, duration_sec - longest, 0.0)
    snr_db = row.measure(SNR)
    return -float(-(-away_sec // 1)), -1e9 if snr_db is None else snr_db


def is_unfit_for_a_prompt(row: ClipRow) -> bool:
    """Whether a clip is held out (it judges), clipped, cut at an edge, or has another fault that speech would copy."""
    return row.split == HELD_OUT or not _HARMLESS_IN_A_PROMPT.issuperset(row.problems)


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)


def _clock(time_sec: float) -> str:
    """Minutes and seconds: 0:07.5."""
    minutes, seconds = divmod(round(time_sec, 1), 60)
    return f"{int(minutes)}:{seconds:04.1f}"
