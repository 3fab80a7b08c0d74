"""From settings to what training needs: the model, what of it trains, encoded clips, and what the run is judged by."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from calm_ft.adapters.base import FitsStatistics, FitsVocabulary, TTSAdapter
from calm_ft.adapters.reduced import DTYPES
from calm_ft.data.audio import known_duration_sec
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.recordings import Recordings as ReadRecordings
from calm_ft.data.split import split_validation
from calm_ft.data.text_coverage import TextReport, summarize
from calm_ft.data.utterance import Exclusion, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import ComponentPlan
from calm_ft.training.datamodule import BatchLimits, EncodedSource, RecordingsDataModule
from calm_ft.training.evaluation import EvaluationPlan, EvaluationSources, find_voices, plan_evaluation
from calm_ft.training.experiment import Experiment
from calm_ft.training.module import FineTuning
from calm_ft.training.record import code_version, data_fingerprint, package_versions
from calm_ft.training.resume import run_identity, weights_fingerprint
from calm_ft.training.settings import AUTO, DataSettings, DataSource
from calm_ft.training.trunk import has_frozen_trunk

MAX_UNUSABLE_SHARE = 0.1


@dataclass(frozen=True)
class ReadSource:
    """One source's recordings as its reader gave them, ids and speakers made unlike those of the other sources."""

    name: str
    weight: float
    recordings: ReadRecordings


@dataclass(frozen=True)
class Prepared:
    """A loaded model with its encoded clips, and what was left out; the experiment has what was found by trial."""

    experiment: Experiment
    module: FineTuning
    batches: RecordingsDataModule
    exclusions: list[Exclusion]
    text_report: TextReport
    plans: list[ComponentPlan]
    evaluation: EvaluationPlan
    base_fingerprint: str


def read_sources(
    data: DataSettings,
    say: Callable[[str], None] | None = None,
    model_language: Callable[[], str | None] = lambda: None,
) -> list[ReadSource]:
    """List every source's recordings, the voice that is tuned first.

    Args:
        say: told what is prepared, and how; None where another process of the run does that, or did it before.
        model_language: ISO 639-1 code of what the model speaks; asked for where no recording of a source has a text,
            by which its language could be found.

    Raises UserError where a source is missing or holds nothing.
    """
    sources: list[ReadSource] = []
    for name, settings in data.named_sources().items():
        path = Path(settings.path).expanduser()
        dataset = _prepared(path, settings, data, say, model_language) if data.prepare == "auto" else None
        recordings = read_recordings(dataset or path, None if dataset else settings.format, settings.speakers)
        if dataset is not None:
            recordings.exclusions += _left_out_of(dataset)
        if sources:  # the first keeps its ids, by which its validation clips are chosen
            recordings.utterances[:] = [
                replace(each, id=f"{name}:{each.id}", speaker=f"{name}:{each.speaker}", is_replayed=True)
                for each in recordings.utterances
            ]
        sources.append(ReadSource(name, settings.weight, recordings))
    return sources


def _prepared(
    path: Path,
    source: DataSource,
    data: DataSettings,
    say: Callable[[str], None] | None,
    model_language: Callable[[], str | None],
) -> Path | None:
    """A dataset made of recordings that cannot train as they are; None where they can, or where none can be made."""
    try:
        found = read_recordings(path, source.format, source.speakers, require_text=False)
    except UserError:  # which reading for training explains
        return None
    lost_sec, all_sec = _unusable_sec(found, data.max_duration_sec)
    if lost_sec <= MAX_UNUSABLE_SHARE * all_sec:
        return None
    dataset = data.prepared_folder(path)
    made_before = dataset if (dataset / "manifest.jsonl").is_file() else None
    if say is None:
        return made_before
    say(
        f"{lost_sec / 60:.1f} of {all_sec / 60:.1f} minutes in {path} have no text, or are too long to be clips: they "
        f"are prepared in {dataset} (data.prepare=never trains on the others alone)"
    )
    from calm_ft.preparation.pipeline import Request  # late: what tidy recordings do not need takes seconds to import
    from calm_ft.preparation.pipeline import prepare as make_dataset

    try:
        language = None if found.utterances else model_language()
        summary = make_dataset(Request(path, dataset, language, speakers=source.speakers, format=source.format), say)
    except UserError as error:
        say(f"they could not be prepared: {error}")
        return made_before  # as the other processes of the run find it
    kept, lost = (summary.totals[name] * 60 for name in ("hours_kept", "hours_in"))
    say(f"prepared: {kept:.1f} of {lost:.1f} minutes are kept; look at and correct them in {dataset / 'report.html'}")
    return dataset


def _left_out_of(dataset: Path) -> list[Exclusion]:
    rows = [json.loads(line) for line in (dataset / "excluded.jsonl").read_text(encoding="utf-8").splitlines()]
    return [Exclusion(row["path"], row["reason"], _recorded_sec(row)) for row in rows if not row["use"]]


def _recorded_sec(row: Mapping[str, Any]) -> float | None:
    """How much of its recording a clip holds, without the silence around it; of a file, its length if known."""
    if "source_end_sec" in row:
        return row["source_end_sec"] - row["source_start_sec"]
    return row["duration_sec"]


def _unusable_sec(found: ReadRecordings, max_duration_sec: float) -> tuple[float, float]:
    """How much of the recordings has no text or is too long for a clip, and how much there is."""
    textless = sum(known_duration_sec(each) or 0.0 for each in found.textless)
    with_text = [known_duration_sec(each) or 0.0 for each in found.utterances]
    too_long = sum(sec for sec in with_text if sec > max_duration_sec)
    return textless + too_long, textless + sum(with_text)


def prepare(
    experiment: Experiment,
    sources: list[ReadSource],
    judged: EvaluationSources,
    num_ranks: int,
    find_max_frames: Callable[[TTSAdapter, RecordingsDataModule], int] | None = None,
) -> Prepared:
    """Load the model, choose what trains, encode and split the clips, decode what the run is judged by.

    Args:
        find_max_frames: asked where `data.max_frames_per_batch` is auto. None: the first process will say it later.
    """
    seed, data = experiment.run.seed, experiment.data
    voices = find_voices(experiment.run.voice, experiment.export.voice)
    torch.manual_seed(seed)
    adapter = experiment.adapter_factory()
    adapter.play_as(experiment.evaluation.playing)
    adapter.export_as(DTYPES[experiment.export.dtype])
    if adapter.needs_replay and len(sources) == 1:
        raise UserError(
            "adapter.anchor_rows=replayed holds a model to its base on replayed clips, and there are none: add "
            "data=replay, or take adapter.anchor_rows=all."
        )
    if isinstance(adapter, FitsVocabulary):
        adapter.fit_vocabulary(each.text for source in sources for each in source.recordings.utterances)
    base_fingerprint = weights_fingerprint(adapter)
    plans = experiment.strategy.apply(adapter, experiment.optimizer.lr)
    _check_vocabulary_trains(adapter)
    experiment.strategy.begin(adapter)
    exclusions = [row for source in sources for row in source.recordings.exclusions]
    encoded = [encode_source(adapter, source, data, seed, exclusions) for source in sources]
    limits = BatchLimits(_known_frames(data), data.max_batch_size)
    draws = data.num_prompt_draws if has_frozen_trunk(adapter) else None
    batches = RecordingsDataModule(adapter, encoded, limits, data.num_workers, seed, num_ranks, draws)
    if isinstance(adapter, FitsStatistics):
        adapter.fit_statistics(clip.features() for clip in (*batches.train_clips, *batches.replay_clips))
    experiment.strategy.begin_with(adapter, (clip.features() for clip in batches.train_clips))
    if data.max_frames_per_batch == AUTO and find_max_frames is not None:
        experiment = experiment.with_max_frames(find_max_frames(adapter, batches))
        batches.set_limits(replace(limits, max_frames_per_batch=_known_frames(experiment.data)))
    rows, features = [source.identity() for source in encoded], batches.train_clips[0].cache.folder.name
    identity = run_identity(experiment.config, base_fingerprint, rows, num_ranks, features, data.num_prompt_draws)
    module = FineTuning(adapter, experiment.strategy, experiment.optimizer, experiment.run.ema_decay, seed, identity)
    output_dir = experiment.run.output_dir.absolute()
    evaluation = plan_evaluation(experiment.evaluation, judged, adapter, batches, data, voices, seed, output_dir)
    report = _text_report(adapter, [*batches.train_clips, *batches.validation_clips, *batches.replay_clips])
    return Prepared(experiment, module, batches, exclusions, report, plans, evaluation, base_fingerprint)


def _known_frames(data: DataSettings) -> int:
    """`data.max_frames_per_batch`; one, which leaves each clip alone, while it is not known."""
    return 1 if data.max_frames_per_batch == AUTO else int(data.max_frames_per_batch)


def facts(experiment: Experiment, prepared: Prepared) -> dict[str, Any]:
    """What run.json and the trackers keep of where a run's figures come from."""
    batches, adapter = prepared.batches, prepared.module.adapter
    return {
        "code": code_version(),
        "packages": package_versions(),
        "seed": experiment.run.seed,
        "model": adapter.describe(),
        "base_fingerprint": prepared.base_fingerprint,
        "feature_fingerprint": adapter.feature_fingerprint(),
        "data_fingerprint": data_fingerprint([*batches.train_clips, *batches.validation_clips]),
        "validation_fingerprint": data_fingerprint(batches.validation_clips),
        "num_train_clips": len(batches.train_clips),
        "num_validation_clips": len(batches.validation_clips),
        "train_sec": _total_sec(batches.train_clips),
        "validation_sec": _total_sec(batches.validation_clips),
        "num_replay_clips": len(batches.replay_clips),
        "replay_sec": _total_sec(batches.replay_clips),
        "num_excluded": len(prepared.exclusions),
        "voice_prompt": ", ".join(prepared.evaluation.prompt.sources),
        "voice_prompt_choice": prepared.evaluation.prompt.described(adapter.sample_rate_hz),
        **_exported_voice(prepared),
        "num_without_prompt": batches.pool.num_without_prompt,
        "max_frames_per_batch": batches.limits.max_frames_per_batch,
        "padding_share": round(batches.plan.padding_share(), 4),
        "num_trained_parameters": sum(plan.num_trained for plan in prepared.plans),
        "num_parameters": sum(plan.num_parameters for plan in prepared.plans),
        "unspoken_text": prepared.text_report.as_dict(),
    }


def _exported_voice(prepared: Prepared) -> dict[str, Any]:
    """What is exported in the place of the prompt, where it is another."""
    voice = prepared.evaluation.export_voice
    return {} if voice is None else {"export_voice": voice.described(prepared.module.adapter.sample_rate_hz)}


def encode_source(
    adapter: TTSAdapter, source: ReadSource, data: DataSettings, seed: int, exclusions: list[Exclusion]
) -> EncodedSource:
    """Encode and split one source; what cannot be used is added to `exclusions`.

    Raises UserError where nothing of it can be used.
    """
    usable: list[Utterance] = []
    for utterance in source.recordings.utterances:
        try:
            adapter.check_utterance(utterance)
            usable.append(utterance)
        except UserError as error:
            exclusions.append(Exclusion(str(utterance.audio_path), str(error), known_duration_sec(utterance)))
    if not usable and exclusions:
        raise UserError(
            f"No clip can be used: {len(exclusions)} left out, most often because: {commonest_reason(exclusions)}"
        )
    encoded = encode_recordings(
        usable,
        adapter,
        data.cache_folder,
        data.tail_sec,
        data.max_duration_sec,
    )
    exclusions += encoded.exclusions
    split = split_validation(encoded.encoded, data.validation_fraction, seed)
    return EncodedSource(source.name, split, source.weight)


def _check_vocabulary_trains(adapter: TTSAdapter) -> None:
    """Raises UserError where what begins anew for the texts stays as it begins."""
    begins = adapter.fitted_state() if isinstance(adapter, FitsVocabulary) else {}
    frozen = [name for name, p in adapter.named_parameters() if name in begins and not p.requires_grad]
    if frozen:
        raise UserError(
            f"The strategy leaves {frozen[0]} as it is, where new characters have to be learned: choose one that "
            "trains it, such as strategy=full."
        )


def _text_report(adapter: TTSAdapter, clips: list[EncodedUtterance]) -> TextReport:
    texts: Mapping[str, str] = {clip.utterance.id: clip.utterance.text for clip in clips}
    return summarize({id: adapter.text_coverage(text) for id, text in texts.items()})


def _total_sec(clips: list[EncodedUtterance]) -> float:
    return round(sum(clip.duration_sec for clip in clips), 2)
