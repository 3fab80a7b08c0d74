"""What a survey of a dataset says: the verdict, how much is enough, distributions, problems, voice prompts."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from calm_ft.data.audio import mix_down, read_samples, recorded_duration_sec
from calm_ft.data.utterance import UnusableClip, Utterance
from calm_ft.preparation.clips import Problem
from calm_ft.preparation.kinds import NOTHING
from calm_ft.preparation.page.rows import HELD_OUT, LEFT_OUT, ClipRow
from calm_ft.preparation.page.survey import SpeakerTotals, Survey
from calm_ft.report.figures import number
from calm_ft.report.page.charts import Chart, histogram
from calm_ft.report.page.media import PlayedClip

EXAMPLES_OF_A_PROBLEM, MAX_EXAMPLES = 3, 60
MAX_PROMPTS = 6
SHOWN_SEC = 20.0
"""A longer clip is heard and seen for this long."""
MAX_SPEAKERS, MAX_DETAILS = 20, 10
TOO_LITTLE_SEC, ENOUGH_SEC = 60.0, 300.0
"""One and five minutes, which papers/recipe_study.md compared with fifteen."""
STUDY = (
    ("1 minute", "100%", "5.1%", "97%", "5.9%, worse than the base beyond chance"),
    ("5 minutes", "98%", "4.0%", "99%", "4.3%"),
    ("15 minutes", "100%", "4.2%", "99%", "4.9%"),
)
"""Speech, then the share of clips whose voice is identified and the character error rate: head_only, then full."""


@dataclass(frozen=True)
class SetVerdict:
    """Two sentences, and the tone in which the page shows them: better, mixed or worse.

    `kind` is the problem that the second sentence names, empty where there is none.
    """

    enough: str
    mend: str
    tone: str
    kind: str = ""


@dataclass(frozen=True)
class Heard:
    """A clip with its player and picture; `fault` says why it has none, `remark` that it is longer."""

    row: ClipRow
    audio_uri: str = ""
    picture_uri: str = ""
    shown_sec: float = 0.0
    remark: str = ""
    fault: str = ""


@dataclass(frozen=True)
class ShownProblem:
    """A problem, how many clips have it, and some of them to be heard, each with what was found in it.

    `lost` is how much is left out for it, empty where nothing is. `details` are what was found in the whole set.
    """

    problem: Problem
    count: int
    lost: str
    examples: tuple[tuple[Heard, str], ...]
    details: tuple[str, ...]


def verdict(found: Survey, problems: Sequence[tuple[Problem, int]]) -> SetVerdict:
    """Whether there is enough speech, and what to mend first."""
    enough, tone = _enough(found)
    to_mend = [
        (problem, count) for problem, count in problems if problem.severity != "note" and NOTHING not in problem.mend
    ]
    if not to_mend:
        return SetVerdict(enough, "No problem was found that needs mending.", tone)
    first, count = to_mend[0]
    clips = f" ({counted(count, 'clip')})" if count else ""
    tone = "mixed" if tone == "better" else tone
    return SetVerdict(enough, f"Mend this first: {first.title.rstrip('.')}{clips}.", tone, first.kind)


def _enough(found: Survey) -> tuple[str, str]:
    num_clips = found.num_kept - found.splits[HELD_OUT]
    if not num_clips:
        return "There is nothing to train on, for no clip was kept.", "worse"
    speakers = {name: each for name, each in found.speakers.items() if each.learnt_sec}
    learnt_sec = sum(each.learnt_sec for each in speakers.values())
    amount = f"{duration_text(learnt_sec)} to train on in {counted(num_clips, 'clip')}"
    if len(speakers) > 1:
        return _enough_of_each(list(speakers.values()), amount)
    if learnt_sec < TOO_LITTLE_SEC:
        return f"Not enough: {amount}, and in this project's study even one minute cost words.", "worse"
    if learnt_sec < ENOUGH_SEC:
        return f"Enough for the voice, perhaps not for the words: {amount}, where five minutes would be safe.", "mixed"
    return f"Enough: {amount}, and in this project's study five minutes did what fifteen did.", "better"


def _enough_of_each(speakers: Sequence[SpeakerTotals], amount: str) -> tuple[str, str]:
    poor = sorted((each for each in speakers if each.learnt_sec < ENOUGH_SEC), key=lambda each: each.learnt_sec)
    amount += f" by {len(speakers):,} speakers"
    if not poor:
        return f"Enough: {amount}, each with five minutes or more.", "better"
    if len(poor) == len(speakers):
        return f"Little for each voice: {amount}, none with five minutes.", "mixed"
    named = ", ".join(each.name for each in poor[:3]) + (", and others" if len(poor) > 3 else "")
    return f"Enough for some: {amount}, of whom {len(poor):,} have less than five minutes ({named}).", "mixed"


def distributions(found: Survey) -> list[Chart]:
    """Of the kept clips; a measure that no clip has is left out."""
    wanted = (
        ("Length of clips", "s", found.duration_sec),
        ("Level as recorded", "LUFS", found.level_lufs),
        ("Signal to noise", "dB", found.snr_db),
        ("Speaking rate", "characters/s", found.characters_per_sec),
        ("Length of texts", "characters", found.num_characters),
        ("Tokens of texts", "tokens", found.num_tokens),
    )
    return [histogram(title, unit, values) for title, unit, values in wanted if len(values)]


def facts(found: Survey, given_sec: float | None) -> list[tuple[str, str, str]]:
    """(value, what it is, more about it)."""
    given = "" if given_sec is None else f"of {duration_text(given_sec)} given"
    parts = [
        f"{duration_text(found.split_sec[split])} {split}"
        for split in ("train", "validation", HELD_OUT)
        if found.splits[split]
    ]
    left_out = duration_text(found.split_sec[LEFT_OUT]) if found.split_sec[LEFT_OUT] else ""
    unknown = found.unknown_sec[LEFT_OUT]
    more = [left_out, f"{unknown:,} of unknown length" if unknown else ""]
    return [
        (duration_text(found.kept_sec), "of speech kept", given),
        (f"{found.num_kept:,}", "clips", ", ".join(parts)),
        (f"{len(found.speakers):,}", "speaker" if len(found.speakers) == 1 else "speakers", ""),
        (f"{found.splits[LEFT_OUT]:,}", "left out", ", ".join(filter(None, more))),
    ]


def largest_speakers(found: Survey) -> list[tuple[str, str, str, str]]:
    """(name, clips, speech, median SNR) of those with most speech."""
    ordered = sorted(found.speakers.values(), key=lambda each: (-each.recorded_sec, each.name))
    return [
        (
            each.name,
            f"{each.num_clips:,}",
            duration_text(each.recorded_sec),
            f"{number(float(np.median(each.snr_db)))} dB" if each.snr_db else "n/a",
        )
        for each in ordered[:MAX_SPEAKERS]
    ]


def languages(found: Survey) -> list[tuple[str, str, str]]:
    """(language, clips, speech) of those with most speech; empty where the clips name no or one language."""
    if len(found.languages) < 2:
        return []
    ordered = sorted(found.languages.items(), key=lambda item: (-item[1].recorded_sec, item[0]))
    return [
        (name or "not named", f"{each.num_clips:,}", duration_text(each.recorded_sec))
        for name, each in ordered[:MAX_SPEAKERS]
    ]


def wanted_examples(problems: Iterable[tuple[Problem, int]]) -> dict[str, list[str]]:
    """Kind -> the ids of its examples: from the beginning, the middle and the end of its clips."""
    wanted: dict[str, list[str]] = {}
    for problem, _ in problems:
        num = min(EXAMPLES_OF_A_PROBLEM, len(problem.clips), MAX_EXAMPLES - sum(map(len, wanted.values())))
        places = np.linspace(0, len(problem.clips) - 1, max(num, 0)).round().astype(int)
        wanted[problem.kind] = [problem.clips[place] for place in places]
    return wanted


def shown_problems(
    places: Sequence[Path], found: Survey, problems: Sequence[tuple[Problem, int]], wanted: dict[str, list[str]]
) -> list[ShownProblem]:
    """The problems with what can be heard of their clips; `places` are those of `heard`."""
    return [
        ShownProblem(
            problem,
            count,
            duration_text(lost) if problem.severity == "error" and (lost := found.lost_sec[problem.kind]) else "",
            tuple(
                (heard(places, found.examples[id]), detail)
                for id, detail in zip_longest(problem.clips, problem.details[: len(problem.clips)], fillvalue="")
                if id in wanted[problem.kind] and id in found.examples
            ),
            problem.details[len(problem.clips) :][:MAX_DETAILS],
        )
        for problem, count in problems
    ]


def prompts(places: Sequence[Path], found: Survey) -> list[Heard]:
    """The clips that serve best as voice prompts: several of one speaker, the best of each of several."""
    speakers = sorted(found.speakers.values(), key=lambda each: -each.recorded_sec)[:MAX_PROMPTS]
    each_has = max(1, MAX_PROMPTS // 2 // max(1, len(speakers)))
    return [heard(places, row) for row in _best(speakers, each_has)]


def _best(speakers: Sequence[SpeakerTotals], num: int) -> list[ClipRow]:
    return [row for speaker in speakers for row in speaker.prompts[:num]]


def heard(places: Sequence[Path], row: ClipRow) -> Heard:
    """The clip's first SHOWN_SEC with their spectrogram; of an hour-long file no more is read.

    Args:
        places: the folders that its path may be relative to: the dataset, and that of the recordings.
    """
    paths = [place / row.path for place in places]
    recording = Utterance(row.id, next(filter(os.path.isfile, paths), paths[0]), row.text)
    try:
        duration_sec = recorded_duration_sec(recording)
        samples, rate_hz = read_samples(replace(recording, end_sec=min(duration_sec, SHOWN_SEC)))
    except UnusableClip as fault:
        return Heard(row, fault=sentence(str(fault)))
    mono = mix_down(samples)
    shown_sec = mono.size / rate_hz
    clip = PlayedClip(mono, rate_hz, "")
    remark = f"the first {SHOWN_SEC:.0f} s of {duration_text(duration_sec)}" if duration_sec > shown_sec + 0.01 else ""
    return Heard(row, clip.audio_uri, clip.picture_uri(shown_sec), shown_sec, remark)


def sentence(text: str) -> str:
    """With a capital and a full stop, as a title or a mend of `kinds.py` has none."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def counted(num: int, what: str) -> str:
    """1 clip, 2 clips."""
    return f"{num:,} {what}{'' if num == 1 else 's'}"


def duration_text(duration_sec: float) -> str:
    """12.3 s, 4.5 minutes, 2.3 hours."""
    if duration_sec < 60:
        return f"{duration_sec:.1f} s"
    if duration_sec < 3600:
        return f"{duration_sec / 60:.1f} minutes"
    return f"{duration_sec / 3600:.1f} hours"
