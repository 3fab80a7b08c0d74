"""What is wrong with a set of clips, by rules on figures that were measured before: pure functions on rows.

Each check yields findings: a kind, a clip, and what was found in it. `KINDS` says of each kind how bad it is and how a
person mends it. An error keeps its clip out, a warning and a note do not.

Outliers are found by the median and the median absolute deviation (Rousseeuw and Croux, "Alternatives to the median
absolute deviation", 1993), of each speaker and language by itself, so that a few wrong clips do not hide themselves.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from calm_ft.data.split import plain_text
from calm_ft.preparation.clips import PreparedClip, Problem
from calm_ft.preparation.kinds import KINDS, kind_of

MIN_CLIPS_FOR_STATISTICS = 12
MAD_TO_STD = 1.4826
# A text that is spoken twice as fast or as slowly as its speaker's others lies 0.69 off in the logarithm.
# A clip cut in half is that much faster; pauses and spelled letters make true texts up to twice as slow.
OUTLYING_RATE_STD, OUTLYING_FAST_LOG, OUTLYING_SLOW_LOG = 3.5, 0.55, 0.92
# In such sound neither aligners nor voice encoders can be relied on.
UNJUDGED_FAULTS = frozenset({"noisy", "music", "reverberant", "clipped"})
MIN_LETTERS_FOR_RATE = 8
LETTERS_PER_SEC = (2.0, 32.0)
SYLLABIC_LETTERS_PER_SEC = (0.7, 13.0)
MIN_CORRELATION, MIN_LENGTH_SPREAD = 0.35, 0.25
# Alignments of texts that are not said stay below (alignment.py); so do texts of which every second word was misheard.
LOWEST_CONFIDENCE, LOWEST_HEARD_CONFIDENCE = 0.5, 0.2
SAME_TEXT = 0.7
SURER = 0.2
MIN_SPEAKER_SEC, MAX_IMBALANCE = 300.0, 10.0
SURELY_OTHER_COSINE = 0.77
MIN_HELDOUT = 20


@dataclass(frozen=True)
class Finding:
    """Something wrong with one clip (`clip` is its id), or with the whole set (None)."""

    kind: str
    clip: str | None
    detail: str


@dataclass(frozen=True)
class Evidence:
    """What other parts found over all clips.

    Attributes:
        same_sound: groups of ids that are one recording.
        other_voices: ids that sound unlike their speaker's other clips, with the cosine between the two.
        one_voice: pairs of speakers who sound like one person.
        other_language: ids of which the text is in another language than theirs, with what that is.
        doubted_languages: sentences on languages that most of their texts are not in.
        remarks: bracketed remarks and other text that is not spoken, by id.
        kept: ids that a person let in; no error leaves them out.
        rejected: ids that a person left out.
    """

    same_sound: Sequence[Sequence[str]] = ()
    other_voices: Mapping[str, float] = field(default_factory=dict)
    one_voice: Sequence[tuple[str, str]] = ()
    other_language: Mapping[str, str] = field(default_factory=dict)
    doubted_languages: Sequence[str] = ()
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()


def check_clips(clips: Sequence[PreparedClip], evidence: Evidence) -> list[Finding]:
    """All findings on single clips; duplicates last, because of each group the best clip without an error is kept."""
    findings = [
        *rejected(clips, evidence.rejected),
        *sound_faults(clips),
        *speaking_rates(clips),
        *wrong_texts(clips),
        *unsure_texts(clips),
        *other_voices(clips, evidence.other_voices),
        *(Finding("other_language", id, detail) for id, detail in evidence.other_language.items()),
        *one_word(clips),
        *(Finding("remarks", id, ", ".join(found)) for id, found in evidence.remarks.items() if found),
    ]
    bad = frozenset(each.clip for each in findings if each.clip is not None and leaves_out(each))
    return [*findings, *duplicates(clips, evidence.same_sound, bad - evidence.kept), *repeated_texts(clips)]


def check_set(clips: Sequence[PreparedClip], evidence: Evidence) -> list[Finding]:
    """Findings on the clips that are kept, as a whole."""
    doubts = [Finding("language_doubted", None, detail) for detail in evidence.doubted_languages]
    return [*doubts, *unrelated_texts(clips), *small_sets(clips), *same_voices(evidence.one_voice), *few_judged(clips)]


def leaves_out(finding: Finding) -> bool:
    """Whether a clip with this finding does not train, unless a person lets it in."""
    return kind_of(finding.kind).severity == "error" or finding.kind == "left_out_by_hand"


def problems_of(findings: Iterable[Finding]) -> list[Problem]:
    """One problem a kind, errors first, then by number of clips."""
    by_kind: dict[str, dict[str, str]] = defaultdict(dict)
    of_set: dict[str, list[str]] = defaultdict(list)
    for each in findings:
        if each.clip is None:
            of_set[each.kind].append(each.detail)
        else:
            by_kind[each.kind].setdefault(each.clip, each.detail)
    problems = []
    for name in {**by_kind, **of_set}:
        kind, found = kind_of(name), by_kind.get(name, {})
        details = (*found.values(), *of_set.get(name, ()))
        problems.append(Problem(name, kind.severity, kind.title, tuple(found), kind.mend, details))
    order = ("error", "warning", "note")
    return sorted(problems, key=lambda each: (order.index(each.severity), -len(each.clips), each.kind))


def rejected(clips: Sequence[PreparedClip], ids: frozenset[str]) -> Iterator[Finding]:
    """Clips that a person left out."""
    for clip in clips:
        if clip.id in ids:
            yield Finding("left_out_by_hand", clip.id, 'corrections.jsonl says "use": false')


def sound_faults(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """What was measured on each clip's sound."""
    for clip in clips:
        for kind, detail in clip.faults:
            yield Finding(kind, clip.id, detail)


def num_letters(text: str) -> int:
    """Letters and digits of a text, without marks, blanks and punctuation."""
    return sum(character.isalnum() for character in text)


def is_syllabic(text: str) -> bool:
    """Whether most letters are Chinese, Japanese or Korean, which take as long to say as several of an alphabet."""
    letters = [character for character in text if character.isalnum()]
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in letters)
    return wide > len(letters) / 2


def num_words(text: str) -> int:
    """Words between blanks; of a script without blanks, half its letters."""
    return num_letters(text) // 2 if is_syllabic(text) else sum(any(map(str.isalnum, word)) for word in text.split())


def speech_sec(clip: PreparedClip) -> float:
    """How long the clip speaks: its length without its pauses, where that was measured."""
    return clip.measures.get("speech_sec") or clip.duration_sec


def speaking_rates(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Clips of which the text is far too long or too short for the sound."""
    for speaker in by_voice(clips).values():
        judged = [clip for clip in speaker if num_letters(clip.text) >= MIN_LETTERS_FOR_RATE]
        rates = np.array([num_letters(clip.text) / max(speech_sec(clip), 0.1) for clip in judged])
        scores = robust_scores(np.log(rates)) if len(rates) else rates
        middle = float(np.median(rates)) if len(rates) else 0.0
        for clip, rate, score in zip(judged, rates, scores, strict=True):
            lowest, highest = SYLLABIC_LETTERS_PER_SEC if is_syllabic(clip.text) else LETTERS_PER_SEC
            off = float(np.log(rate / middle))
            if not lowest <= rate <= highest:
                usual = f"{lowest:g} to {highest:g} are spoken"
            elif abs(score) > OUTLYING_RATE_STD and not -OUTLYING_SLOW_LOG < off < OUTLYING_FAST_LOG:
                usual = f"this speaker says about {middle:.0f}"
            else:
                continue
            is_fast = rate > highest or (rate >= lowest and rate > middle)
            kind = "text_too_long" if is_fast else "text_too_short"
            yield Finding(kind, clip.id, f"{rate:.1f} letters a second, where {usual}")


def wrong_texts(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Clips of which text and sound agree badly; neither clips of one word nor bad sound are judged so.

    Where most of a speaker's clips agree badly, the judge may not understand the voice, and leaves out none of them.
    """
    for name, speaker in by_voice(_judged_by_confidence(clips)).items():
        values = np.array([clip.confidence for clip in speaker], float)
        middle = float(np.median(values))
        if middle < LOWEST_CONFIDENCE:
            yield Finding(
                "unjudged_texts",
                None,
                f"of {name}'s {len(speaker)} clips half agree with their text by {middle:.2f} only",
            )
            continue
        for clip, value in zip(speaker, values, strict=True):
            if value < LOWEST_CONFIDENCE:
                detail = f"text and sound agree to {value:.2f}; most clips reach {middle:.2f}"
                yield Finding("wrong_text", clip.id, detail)


def unsure_texts(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Transcribed clips of which the recogniser was far from sure."""
    for clip in clips:
        if clip.text_from == "heard" and clip.confidence is not None and clip.confidence < LOWEST_HEARD_CONFIDENCE:
            yield Finding("unsure_text", clip.id, f"the recogniser was sure of it by {clip.confidence:.2f} only")


def _judged_by_confidence(clips: Iterable[PreparedClip]) -> list[PreparedClip]:
    given = (clip for clip in clips if clip.confidence is not None and clip.text_from != "heard")
    return [clip for clip in given if num_words(clip.text) > 1 and not has_bad_sound(clip)]


def has_bad_sound(clip: PreparedClip) -> bool:
    """Whether the sound is too bad for a model to judge the text or the voice by it."""
    return any(kind in UNJUDGED_FAULTS for kind, _ in clip.faults)


def other_voices(clips: Sequence[PreparedClip], found: Mapping[str, float]) -> Iterator[Finding]:
    """Clips of another person than their speaker's others, and clips that may be: short clean ones reach .78 to .86."""
    for clip in clips:
        if clip.id in found and not has_bad_sound(clip):
            detail = f"its voice is like the speaker's others by a cosine of {found[clip.id]:.2f} only"
            yield Finding("other_voice" if found[clip.id] < SURELY_OTHER_COSINE else "unlike_voice", clip.id, detail)


def one_word(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Clips of one word or letter."""
    for clip in clips:
        if num_words(clip.text) <= 1:
            yield Finding("one_word", clip.id, f"says only '{clip.text}'")


def duplicates(
    clips: Sequence[PreparedClip], groups: Iterable[Sequence[str]], bad: frozenset[str]
) -> Iterator[Finding]:
    """All but the best clip of each group of the same sound; all, where texts differ and nothing decides."""
    by_id = {clip.id: clip for clip in clips}
    for group in groups:
        members = [by_id[id] for id in group if id in by_id and id not in bad]
        if len(members) < 2:
            continue
        members.sort(key=lambda clip: (-(clip.confidence or 0.0), -clip.duration_sec, clip.id))
        best, others = members[0], members[1:]
        unlike = [clip for clip in others if likeness(best.text, clip.text) < SAME_TEXT]
        if unlike and not _is_surer(best, unlike):
            for clip in members:
                other = next(each for each in members if each is not clip)
                yield Finding("same_sound_other_text", clip.id, f"the same sound as {other.id}, with another text")
            continue
        for clip in others:
            yield Finding("duplicate", clip.id, f"the same sound as {best.id}, which is kept")


def repeated_texts(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Texts that several clips say; the splits keep them together."""
    texts = Counter(plain_text(clip.text) for clip in clips)
    for clip in clips:
        if texts[plain_text(clip.text)] > 1 and num_words(clip.text) > 1:
            yield Finding("repeated_text", clip.id, f"{texts[plain_text(clip.text)]} clips say '{clip.text[:60]}'")


def unrelated_texts(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Speakers whose longer texts do not take longer: the list of texts is shifted or mixed up."""
    for name, speaker in by_voice(clips).items():
        lengths = np.log([num_letters(clip.text) + 1 for clip in speaker])
        durations = np.log([max(speech_sec(clip), 0.1) for clip in speaker])
        if len(speaker) < MIN_CLIPS_FOR_STATISTICS or min(lengths.std(), durations.std()) < MIN_LENGTH_SPREAD:
            continue
        correlation = float(np.corrcoef(lengths, durations)[0, 1])
        if correlation < MIN_CORRELATION:
            detail = f"the lengths of {name}'s texts and clips correlate by {correlation:.2f}; true texts reach 0.9"
            yield Finding("unrelated_texts", None, detail)


def small_sets(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Speakers with little speech, in itself or beside the others."""
    seconds = {name: sum(clip.duration_sec for clip in speaker) for name, speaker in by_speaker(clips).items()}
    for name, total in seconds.items():
        if total < MIN_SPEAKER_SEC:
            yield Finding("small_set", None, f"{name} speaks for {total / 60:.1f} minutes")
    if seconds and max(seconds.values()) > MAX_IMBALANCE * min(seconds.values()):
        most, least = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
        detail = f"{most} speaks for {seconds[most] / 60:.1f} minutes, {least} for {seconds[least] / 60:.1f}"
        yield Finding("unbalanced", None, detail)


def same_voices(pairs: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Speakers who are probably one person, such as two folders of one session."""
    for first, second in pairs:
        yield Finding("one_voice", None, f"{first} and {second} sound like one person")


def few_judged(clips: Sequence[PreparedClip]) -> Iterator[Finding]:
    """Too few held-out clips for intervals that tell two models apart."""
    num_heldout = sum(clip.split == "heldout" for clip in clips)
    if num_heldout < MIN_HELDOUT:
        yield Finding("few_heldout", None, f"{num_heldout} of {len(clips)} clips are held out")


def by_speaker(clips: Iterable[PreparedClip]) -> dict[str, list[PreparedClip]]:
    """The clips of each speaker, in their order."""
    found: dict[str, list[PreparedClip]] = defaultdict(list)
    for clip in clips:
        found[clip.speaker].append(clip)
    return dict(found)


def by_voice(clips: Iterable[PreparedClip]) -> dict[str, list[PreparedClip]]:
    """The clips of each speaker, in each language by itself where the set names several: "anna in fr"."""
    clips = list(clips)
    if len({clip.named_language for clip in clips}) < 2:
        return by_speaker(clips)
    found: dict[str, list[PreparedClip]] = defaultdict(list)
    for clip in clips:
        found[f"{clip.speaker} in {clip.named_language or 'no named language'}"].append(clip)
    return dict(found)


def robust_scores(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distances from the median in standard deviations [N], by the median absolute deviation; 0 for few values."""
    if len(values) < MIN_CLIPS_FOR_STATISTICS:
        return np.zeros(len(values))
    off = values - np.median(values)
    scale = MAD_TO_STD * np.median(np.abs(off))
    return off / max(float(scale), 1e-3)


def likeness(first: str, second: str) -> float:
    """How much of two texts is the same, between 0 and 1, whatever their case and punctuation."""
    return SequenceMatcher(None, plain_text(first), plain_text(second), autojunk=False).ratio()


def _is_surer(best: PreparedClip, unlike: Sequence[PreparedClip]) -> bool:
    """Whether the confidence of the best clip's text decides against the others."""
    if best.confidence is None or any(clip.confidence is None for clip in unlike):
        return False
    return all(best.confidence - (clip.confidence or 0.0) >= SURER for clip in unlike)


__all__ = ["KINDS", "Evidence", "Finding", "check_clips", "check_set", "leaves_out", "problems_of"]
