"""For each sentence the clips of all systems side by side, each that several runs share only once.

Clips belong together by what they should say; where a run did not record that, by the bytes of its reference. Of a
sentence spoken with several seeds the first is shown, so that systems are compared on the same noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calm_ft.report.page.figures import REFERENCE, TUNED, Run, Utterance, ordered_systems
from calm_ft.report.page.media import Clip, digest_of, read_clip
from calm_ft.report.page.metric_table import whose
from calm_ft.report.page.wording import NOT_AVAILABLE, number

_LONGEST_PICTURE = 2.0
"""A picture ends at this multiple of the reference, lest a runaway clip make all others too narrow to see."""


@dataclass(frozen=True)
class Card:
    """A player and its picture; `problem` says why there are none. `metrics` are (name, value, reason if missing)."""

    system: str
    runs: str
    audio_uri: str
    picture_uri: str
    picture_alt: str
    duration: str
    is_cut: bool
    flags: tuple[str, ...]
    metrics: tuple[tuple[str, str, str], ...]
    problem: str


@dataclass(frozen=True)
class Sentence:
    text: str | None
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Sentences:
    shown: tuple[Sentence, ...]
    num_all: int


@dataclass
class _Spoken:
    """One clip and the runs whose it is."""

    utterance: Utterance
    clip: Clip | None
    runs: list[str]


def sentences(runs: Sequence[Run], num_shown: int, scrub: Callable[[object], str]) -> Sentences:
    """The first `num_shown` sentences; those that most runs speak come first."""
    keys: dict[str, str] = {}
    by_key: dict[str, list[tuple[Run, Utterance]]] = {}
    # Runs that know their texts come first: a run that does not finds its sentences by their references.
    for run in sorted(runs, key=lambda run: not run.evaluation.was_evaluated):
        for one in _sentences_of(run):
            digest = _reference_digest(one)
            key = one[0].text or keys.get(digest) or digest or f"{run.name} {one[0].index}"
            if digest:
                keys.setdefault(digest, key)
            by_key.setdefault(key, []).extend((run, utterance) for utterance in one)
    order = {run.name: number for number, run in enumerate(runs)}
    groups = sorted(by_key.values(), key=lambda rows: -len({run.name for run, _ in rows}))
    shown = (
        _sentence(sorted(rows, key=lambda row: order[row[0].name]), len(runs), scrub) for rows in groups[:num_shown]
    )
    return Sentences(tuple(shown), len(groups))


def _sentences_of(run: Run) -> list[list[Utterance]]:
    """The utterances by sentence, one a system: that of the lowest seed."""
    found: dict[tuple[int, str | None], dict[str, Utterance]] = {}
    for each in sorted(run.evaluation.utterances, key=lambda each: (each.index, each.seed)):
        found.setdefault((each.index, each.text), {}).setdefault(each.system, each)
    return [list(systems.values()) for systems in found.values()]


def _reference_digest(utterances: Sequence[Utterance]) -> str:
    return next((digest_of(each.audio) for each in utterances if each.system == REFERENCE), "")


def _sentence(rows: Sequence[tuple[Run, Utterance]], num_runs: int, scrub: Callable[[object], str]) -> Sentence:
    spoken: list[_Spoken] = []
    for run, utterance in rows:
        clip = read_clip(utterance.audio)
        same = [each for each in spoken if _is_same(each, utterance, clip)]
        if same:
            same[0].runs.append(run.name)
        else:
            spoken.append(_Spoken(utterance, clip, [run.name]))
    systems = ordered_systems({each.utterance.system for each in spoken})
    spoken.sort(key=lambda each: systems.index(each.utterance.system))
    text = next((utterance.text for _, utterance in rows if utterance.text), None)
    longest_sec = _picture_sec(spoken)
    return Sentence(text, tuple(_card(each, text, num_runs, longest_sec, scrub) for each in spoken))


def _is_same(spoken: _Spoken, utterance: Utterance, clip: Clip | None) -> bool:
    """A tuned model's clip is its own, even where training changed nothing."""
    if spoken.clip is None or clip is None or utterance.system == TUNED:
        return False
    return spoken.utterance.system == utterance.system and spoken.clip.digest == clip.digest


def _picture_sec(spoken: Sequence[_Spoken]) -> float:
    """How much time all pictures of a sentence show."""
    durations_sec = [each.clip.duration_sec for each in spoken if each.clip is not None]
    references_sec = [
        each.clip.duration_sec for each in spoken if each.clip is not None and each.utterance.system == REFERENCE
    ]
    limit_sec = _LONGEST_PICTURE * max(references_sec or durations_sec or [0.0])
    return min(limit_sec, max(durations_sec, default=0.0))


def _card(each: _Spoken, text: str | None, num_runs: int, picture_sec: float, scrub: Callable[[object], str]) -> Card:
    utterance, clip = each.utterance, each.clip
    runs = whose(utterance.system, each.runs, num_runs)
    duration = NOT_AVAILABLE if clip is None else f"{number(clip.duration_sec)} s"
    names = dict.fromkeys([*utterance.metrics, *utterance.missing])
    return Card(
        system=utterance.system,
        runs=runs,
        audio_uri="" if clip is None else clip.audio_uri,
        picture_uri="" if clip is None else clip.picture_uri(picture_sec),
        picture_alt=f"Mel spectrogram of {utterance.system} {runs}, {duration}: {text or 'text not recorded'}",
        duration=duration,
        is_cut=clip is not None and clip.duration_sec > picture_sec + 1e-6,
        flags=utterance.flags,
        metrics=tuple(
            (name, number(utterance.metrics.get(name)), scrub(utterance.missing.get(name, ""))) for name in names
        ),
        problem="" if clip is not None else f"{utterance.audio.name} is missing, empty or unreadable",
    )
