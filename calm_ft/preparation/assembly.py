"""From the rows of all clips to the dataset: spoken texts, checks, what is left out, splits, and its files."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_ft.data.tokenizer import TokenReader
from calm_ft.preparation import dataset as folder
from calm_ft.preparation.checks import (
    Evidence,
    Finding,
    by_speaker,
    by_voice,
    check_clips,
    check_set,
    leaves_out,
    num_letters,
    problems_of,
)
from calm_ft.preparation.clips import HeardWord, PreparedClip, Problem
from calm_ft.preparation.dataset import ClipLeftOut, Edits
from calm_ft.preparation.kinds import kind_of
from calm_ft.preparation.making import unpack
from calm_ft.preparation.sound.likeness import duplicate_groups, voice_outliers
from calm_ft.preparation.splits import assign_splits
from calm_ft.preparation.tokens import count_tokens
from calm_ft.preparation.words.text import foreign_texts, spoken_form

SAME_VOICE_COSINE, MIN_CLIPS_OF_VOICE = 0.9, 5
MIN_CLIPS_TO_COMPARE = 12  # a speaker's clips differ; of fewer an outlier is often the same person
MAX_DOUBTFUL_SHARE = 0.3
_FIELDS = {each.name for each in fields(PreparedClip)}
Row = dict[str, Any]


@dataclass(frozen=True)
class Assembled:
    """The clips that are kept, those that are left out (with those that a person let in), and the problems."""

    kept: list[PreparedClip]
    left_out: list[ClipLeftOut]
    problems: list[Problem]


@dataclass(frozen=True)
class MadeRow:
    """The kept row of a clip, or of why there is none, with what its recording is.

    Attributes:
        language: what its text is read in, as far as that is known before anything is heard.
        named_language: the same where the list or --language names it, else empty.
    """

    id: str
    source: str
    language: str | None
    named_language: str
    row: Row


@dataclass
class Gathered:
    """All clips, with the vectors by which they are compared and the remarks that were in their texts.

    `languages`: what a clip's text should be in, by id, where that is known.
    """

    clips: list[PreparedClip]
    left_out: list[ClipLeftOut]
    fingerprints: dict[str, NDArray[Any]]
    embeddings: dict[str, NDArray[Any]]
    remarks: dict[str, tuple[str, ...]]
    languages: dict[str, str]


def gather(rows: Iterable[MadeRow], edits: Edits) -> Gathered:
    """Reads rows one by one; words stay on the disk."""
    found = Gathered([], [], {}, {}, {}, {})
    for each in rows:
        id, row = each.id, each.row
        if "kind" in row:
            lost = ClipLeftOut(id, each.source, row["kind"], row["reason"], row.get("duration_sec"))
            found.left_out.append(replace(lost, language=each.named_language))
            continue
        clip = PreparedClip(**{name: value for name, value in row.items() if name in _FIELDS})
        clip.faults = tuple((kind, detail) for kind, detail in clip.faults)
        clip.language, clip.named_language = each.language or clip.language, each.named_language
        if each.language:
            found.languages[id] = each.language
        found.remarks[id] = _speak(clip, edits.texts.get(id))
        found.fingerprints[id] = unpack(row["fingerprint"])
        if row["embedding"] is not None:
            found.embeddings[id] = unpack(row["embedding"]).astype(np.float32)
        found.clips.append(clip)
    return found


def assemble(
    found: Gathered, edits: Edits, seed: int, heard_weakly: bool = False, tokenizer: TokenReader | None = None
) -> Assembled:
    """Checks all clips and decides which train, validate and judge.

    Args:
        heard_weakly: texts that were heard come from a recogniser whose words may not be trained on unread.
        tokenizer: that of the model, by which the texts that are kept are counted.
    """
    evidence = _evidence(found, edits)
    findings = check_clips(found.clips, evidence)
    if heard_weakly:
        heard = (clip for clip in found.clips if clip.text_from == "heard")
        findings += (Finding("weak_transcripts", clip.id, f"heard: '{clip.text[:60]}'") for clip in heard)
    reasons = _reasons(findings)
    let_in = {id for id, use in edits.use.items() if use}
    left_out = [
        ClipLeftOut(
            clip.id,
            clip.path,
            *reasons[clip.id],
            clip.duration_sec,
            use=clip.id in let_in,
            recorded_sec=clip.recorded_sec,
        )
        for clip in found.clips
        if clip.id in reasons
    ]
    kept = [clip for clip in found.clips if clip.id not in reasons or clip.id in let_in]
    assign_splits(kept, evidence.same_sound, seed, _doubtful(findings, len(kept)))
    findings += check_set(kept, evidence)
    if tokenizer is not None:  # after the splits, which are the same for every model
        findings += count_tokens(kept, tokenizer)
    findings += (Finding(each.kind, each.id, each.reason) for each in found.left_out)
    kinds: dict[str, list[str]] = {}
    for each in findings:
        if each.clip is not None:
            kinds.setdefault(each.clip, []).append(each.kind)
    for clip in found.clips:
        clip.problems = tuple(dict.fromkeys(kinds.get(clip.id, ())))
    return Assembled(kept, [*found.left_out, *left_out], problems_of(findings))


def write_dataset(
    dataset: Path, found: Gathered, assembled: Assembled, words_of: Callable[[PreparedClip], Sequence[HeardWord]]
) -> None:
    """The lists of clips, the problems and the audio report; `words_of` gives the words of a clip."""
    heldout = [clip for clip in assembled.kept if clip.split == "heldout"]
    others = [clip for clip in assembled.kept if clip.split != "heldout"]
    for name, clips in ((folder.MANIFEST, others), (folder.HELDOUT, heldout)):
        folder.write_rows(dataset / name, (folder.clip_row(clip, words_of(clip)) for clip in clips))
    by_id = {clip.id: clip for clip in found.clips}
    rows = (folder.left_out_row(each, by_id.get(each.id)) for each in assembled.left_out)
    folder.write_rows(dataset / folder.EXCLUDED, rows)
    folder.write_problems(dataset, assembled.problems)
    folder.write_audio_report(dataset, assembled.kept, assembled.left_out)


def words_in(clip: PreparedClip, row: Row) -> list[HeardWord]:
    """The clip's words with their times; none where they are not those of its text."""
    words = [HeardWord(**word) for word in row["words"]]
    same = _letters(" ".join(word.word for word in words)) == _letters(clip.text)
    return words if same else []


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _speak(clip: PreparedClip, corrected: str | None) -> tuple[str, ...]:
    """Sets the clip's text as it is spoken; returns the remarks that were in it."""
    if corrected is not None:
        clip.text, clip.text_from, clip.confidence = corrected, "corrected", None
    spoken = spoken_form(clip.text, clip.language)
    clip.text = spoken.text
    if not num_letters(clip.text):
        clip.faults = (*clip.faults, ("no_words", f"the text '{clip.original_text[:60]}' holds no word that is spoken"))
    return spoken.remarks


def _evidence(found: Gathered, edits: Edits) -> Evidence:
    foreign, doubted = _foreign(found)
    voices = by_voice(clip for clip in found.clips if clip.id in found.embeddings)
    speakers = {clip.id: name for name, own in voices.items() for clip in own}
    num_clips = Counter(speakers.values())
    enough = {id: vector for id, vector in found.embeddings.items() if num_clips[speakers[id]] >= MIN_CLIPS_TO_COMPARE}
    return Evidence(
        same_sound=duplicate_groups(found.fingerprints),
        other_voices=voice_outliers(enough, speakers),
        one_voice=_one_voice(found.clips, found.embeddings),
        other_language=foreign,
        doubted_languages=doubted,
        remarks=found.remarks,
        kept=frozenset(id for id, use in edits.use.items() if use),
        rejected=frozenset(id for id, use in edits.use.items() if not use),
    )


def _foreign(found: Gathered) -> tuple[dict[str, str], list[str]]:
    """The clips whose text is in another language than theirs, with the reason; and where most texts of one are.

    The texts of each language are counted by themselves.
    """
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for clip in found.clips:
        if clip.id in found.languages:
            texts[found.languages[clip.id]][clip.id] = clip.text
    foreign: dict[str, str] = {}
    doubted: list[str] = []
    for language, own in texts.items():
        ids, is_only = foreign_texts(own, language), len(texts) == 1
        if len(ids) > len(own) / 2:
            doubted.append("half of the texts or more" + ("" if is_only else f" of those in {language}"))
            continue
        what = "most" if is_only else f"its own, {language}"
        foreign |= dict.fromkeys(ids, f"the text is in another language than {what}")
    return {clip.id: foreign[clip.id] for clip in found.clips if clip.id in foreign}, doubted


def _doubtful(findings: Sequence[Finding], num_kept: int) -> frozenset[str]:
    """Clips that should not judge; what is found in a great part of a set is how the set is, and doubts none."""
    by_kind: dict[str, set[str]] = {}
    for each in findings:
        if each.clip is not None and kind_of(each.kind).severity != "note":
            by_kind.setdefault(each.kind, set()).add(each.clip)
    return frozenset().union(*(ids for ids in by_kind.values() if len(ids) <= MAX_DOUBTFUL_SHARE * num_kept))


def _reasons(findings: Iterable[Finding]) -> dict[str, tuple[str, str]]:
    """Of each clip that is left out the kind and the reason, of the first finding that says so."""
    reasons: dict[str, tuple[str, str]] = {}
    for each in findings:
        if each.clip is not None and leaves_out(each):
            reasons.setdefault(each.clip, (each.kind, each.detail))
    return reasons


def _one_voice(clips: Sequence[PreparedClip], embeddings: Mapping[str, NDArray[Any]]) -> list[tuple[str, str]]:
    """Pairs of speakers whose mean embeddings point in one direction."""
    means = {}
    known = (clip for clip in clips if clip.id in embeddings and embeddings[clip.id].any())
    for name, own in by_speaker(known).items():
        if len(own) >= MIN_CLIPS_OF_VOICE:
            mean = np.median([embeddings[clip.id] for clip in own], axis=0)
            means[name] = mean / max(float(np.linalg.norm(mean)), 1e-9)
    names = sorted(means)
    pairs = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    return [(a, b) for a, b in pairs if float(means[a] @ means[b]) > SAME_VOICE_COSINE]
