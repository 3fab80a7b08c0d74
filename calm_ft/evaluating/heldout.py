"""Which sentences a run is evaluated on: recordings that it did not train on, a fixed choice of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.config import build
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Exclusion, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.evaluating.subject import Subject
from calm_ft.evaluation.protocol import choose_sentences
from calm_ft.training.judgement import TAIL_SEC
from calm_ft.training.prepare import encode_source, read_sources
from calm_ft.training.record import data_fingerprint
from calm_ft.training.settings import DataSettings

_DATA_SETTINGS = f"{DataSettings.__module__}.{DataSettings.__qualname__}"


@dataclass(frozen=True)
class HeldOut:
    """The chosen sentences with their recordings [T] at the model's rate, their source, and what was left out of it."""

    texts: list[str]
    recordings: list[Tensor]
    source: str
    excluded: list[Exclusion]


def heldout_folder(subject: Subject, given: Path | None) -> Path | None:
    """The folder to evaluate on: the one given, or the run's own; None stands for the run's validation clips.

    Raises UserError without a run and a folder, and where the folder is missing.
    """
    config = subject.config()
    own = None if config is None else config.get("evaluation", {}).get("heldout_path")
    folder = given if given is not None else (None if own is None else Path(own))
    if folder is None and config is None:
        raise UserError(
            f"{subject.name} is an export without its run, so no sentences are known to be held out: pass "
            "--heldout-path with recordings and texts, or --of RUN."
        )
    if folder is not None and not folder.is_dir():
        raise UserError(f"There is no folder {folder} to evaluate on: pass --heldout-path with recordings and texts.")
    return folder


def read_heldout(subject: Subject, folder: Path | None, adapter: TTSAdapter, num_sentences: int, seed: int) -> HeldOut:
    """Choose and decode the sentences; broken ones are left out, others take their places.

    Raises UserError where none can be used, and where a run's recordings are no longer those that it trained on, for
    then some of its validation clips may be clips that it trained on.
    """
    if folder is None:
        found, source, excluded = _validation_clips(subject, adapter), "the run's validation clips", []
    else:
        read = read_recordings(folder)
        found, source, excluded = read.utterances, str(folder), read.exclusions
    usable = choose_usable(found, adapter, num_sentences, seed)
    excluded = [*excluded, *usable.excluded]
    if not usable.utterances:
        reason = f" ({commonest_reason(excluded)})" if excluded else ""
        raise UserError(f"{source} holds no recording with a text that can be evaluated on{reason}.")
    return HeldOut([each.text for each in usable.utterances], usable.recordings, source, excluded)


@dataclass(frozen=True)
class Usable:
    """Chosen utterances with their recordings [T], and those that were passed over."""

    utterances: list[Utterance]
    recordings: list[Tensor]
    excluded: list[Exclusion]


def choose_usable(found: Sequence[Utterance], adapter: TTSAdapter, num_sentences: int, seed: int) -> Usable:
    """At most `num_sentences`, of which only the chosen are decoded: those that cannot be used are chosen no more."""
    recordings: dict[str, Tensor] = {}
    excluded: dict[str, Exclusion] = {}
    while True:
        chosen = choose_sentences([each for each in found if each.id not in excluded], num_sentences, seed)
        new = [each for each in chosen if each.id not in recordings]
        for utterance in new:
            try:
                adapter.check_text(utterance.text)
                recordings[utterance.id] = load_clip(utterance, adapter.sample_rate_hz, TAIL_SEC).samples
            except (UserError, UnusableClip) as error:
                excluded[utterance.id] = Exclusion(str(utterance.audio_path), str(error))
        if all(each.id in recordings for each in chosen):
            return Usable(chosen, [recordings[each.id] for each in chosen], list(excluded.values()))


def load_recording(utterance: Utterance, sample_rate_hz: int) -> Tensor:
    """A recording [T] as it is judged by. Raises UserError where it cannot be used."""
    try:
        return load_clip(utterance, sample_rate_hz, TAIL_SEC).samples
    except UnusableClip as error:
        raise UserError(f"{utterance.audio_path} cannot be used for the evaluation: {error}.") from error


def _validation_clips(subject: Subject, adapter: TTSAdapter) -> Sequence[Utterance]:
    config = subject.config()
    assert config is not None
    data: DataSettings = build({"_target_": _DATA_SETTINGS, **config["data"]})
    unused: list[Exclusion] = []
    voice = encode_source(adapter, read_sources(data)[0], data, config.get("seed", 0), unused)
    known: Any = subject.record().get("validation_fingerprint")
    if known is not None and known != data_fingerprint(voice.split.validation):
        raise UserError(
            f"The recordings in {data.path} have changed since {subject.run_dir} was trained on them, so it is not "
            "known which are held out: pass --heldout-path with recordings that it did not train on."
        )
    return [clip.utterance for clip in voice.split.validation]
