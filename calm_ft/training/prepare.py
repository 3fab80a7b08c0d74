"""From settings to what training needs: the model, what of it trains, encoded clips, and what the run is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.recordings import Recordings as ReadRecordings
from calm_ft.data.split import Split, split_validation
from calm_ft.data.text_coverage import TextReport, summarize
from calm_ft.data.utterance import Exclusion, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import ComponentPlan
from calm_ft.training.callbacks.metric_monitor import figure_of
from calm_ft.training.datamodule import BatchLimits, EncodedSource, Recordings
from calm_ft.training.evaluation import EvaluationPlan, EvaluationSources, plan_evaluation
from calm_ft.training.experiment import Experiment
from calm_ft.training.module import FineTuning
from calm_ft.training.provenance import code_version, data_fingerprint, package_versions
from calm_ft.training.resume import settings_fingerprint, weights_fingerprint
from calm_ft.training.settings import DataSettings


@dataclass(frozen=True)
class ReadSource:
    """One source's recordings as its reader gave them, ids and speakers made unlike those of the other sources."""

    name: str
    weight: float
    recordings: ReadRecordings


@dataclass(frozen=True)
class Prepared:
    """A loaded model with its encoded clips, and what was left out."""

    module: FineTuning
    batches: Recordings
    exclusions: list[Exclusion]
    text_report: TextReport
    plans: list[ComponentPlan]
    evaluation: EvaluationPlan
    base_fingerprint: str


def read_sources(data: DataSettings) -> list[ReadSource]:
    """List every source's recordings, the voice that is tuned first.

    Raises UserError where a source is missing or holds nothing.
    """
    sources: list[ReadSource] = []
    for name, settings in data.named_sources().items():
        path = Path(settings.path).expanduser()
        recordings = read_recordings(path, settings.format, settings.speakers)
        if sources:  # the first keeps its ids, by which its validation clips are chosen
            recordings.utterances[:] = [
                replace(each, id=f"{name}:{each.id}", speaker=f"{name}:{each.speaker}")
                for each in recordings.utterances
            ]
        sources.append(ReadSource(name, settings.weight, recordings))
    return sources


def prepare(experiment: Experiment, sources: list[ReadSource], judged: EvaluationSources, num_ranks: int) -> Prepared:
    """Load the model, choose what trains, encode and split the clips, decode what the run is judged by."""
    seed, data = experiment.run.seed, experiment.data
    torch.manual_seed(seed)
    adapter = experiment.adapter_factory()
    base_fingerprint = weights_fingerprint(adapter)
    plans = experiment.strategy.apply(adapter, experiment.optimizer.lr)
    experiment.strategy.begin(adapter)
    exclusions = [row for source in sources for row in source.recordings.exclusions]
    encoded = [encode_source(adapter, source, data, seed, exclusions) for source in sources]
    limits = BatchLimits(data.max_frames_per_batch, data.max_batch_size)
    batches = Recordings(adapter, encoded, limits, data.num_workers, seed, num_ranks)
    adapter.fit_statistics(clip.features() for clip in (*batches.train_clips, *batches.replay_clips))
    identity = _identity(experiment, base_fingerprint, batches, num_ranks)
    module = FineTuning(adapter, experiment.strategy, experiment.optimizer, experiment.run.ema_decay, seed, identity)
    output_dir = experiment.run.output_dir.absolute()
    evaluation = plan_evaluation(experiment.evaluation, judged, adapter, batches, data, seed, output_dir)
    report = _text_report(adapter, [*batches.train_clips, *batches.validation_clips, *batches.replay_clips])
    return Prepared(module, batches, exclusions, report, plans, evaluation, base_fingerprint)


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
        "voice_prompt": str(prepared.evaluation.prompt.utterance.audio_path),
        "num_without_prompt": batches.pool.num_without_prompt,
        "padding_share": round(batches.plan.padding_share(), 4),
        "num_trained_parameters": sum(plan.num_trained for plan in prepared.plans),
        "num_parameters": sum(plan.num_parameters for plan in prepared.plans),
        "unspoken_text": prepared.text_report.as_dict(),
    }


def encode_source(
    adapter: TTSAdapter, source: ReadSource, data: DataSettings, seed: int, exclusions: list[Exclusion]
) -> EncodedSource:
    """Encode and split one source; what cannot be used is added to `exclusions`.

    Raises UserError where nothing of it can be used.
    """
    usable: list[Utterance] = []
    for utterance in source.recordings.utterances:
        try:
            adapter.check_text(utterance.text)
            usable.append(utterance)
        except UserError as error:
            exclusions.append(Exclusion(str(utterance.audio_path), str(error)))
    if not usable and exclusions:
        raise UserError(
            f"No clip can be used: {len(exclusions)} left out, most often because: {commonest_reason(exclusions)}"
        )
    encoded = encode_recordings(
        usable,
        adapter,
        Path(data.cache_dir).expanduser(),
        data.tail_sec,
        data.max_duration_sec,
    )
    exclusions += encoded.exclusions
    split = split_validation(encoded.encoded, data.validation_fraction, seed)
    return EncodedSource(source.name, split, source.weight)


def _identity(experiment: Experiment, base_fingerprint: str, batches: Recordings, num_ranks: int) -> dict[str, str]:
    """What makes two runs the same run up to their length; a checkpoint is resumed only by a run that agrees in all."""
    config = experiment.config
    adapter = {name: value for name, value in config["adapter"].items() if name not in ("model", "local_dir")}
    trainer = config["trainer"]
    arithmetic = {
        "precision": trainer.get("precision"),
        "clip": trainer.get("gradient_clip_val"),
        "clip_algorithm": trainer.get("gradient_clip_algorithm"),
        "accumulate": trainer.get("accumulate_grad_batches", 1),
        "ranks": num_ranks,
    }
    limits = {name: config["data"][name] for name in ("max_frames_per_batch", "max_batch_size")}
    judging = {}
    if figure_of(experiment.checkpoint.monitor) is not None:  # values of another evaluation are not to be compared
        names = ("num_sentences", "num_scored_sentences", "heldout_path", "asr")
        judged_by = [config["evaluation"].get(name) for name in names]
        judging = {"evaluation": settings_fingerprint([experiment.checkpoint.monitor, judged_by])}
    return {
        **judging,
        "model": base_fingerprint,
        "data": settings_fingerprint([_rows(source) for source in batches.sources]),
        "features": batches.train_clips[0].cache.folder.name,
        "batch limits": settings_fingerprint(limits),
        "strategy": settings_fingerprint(config["strategy"]),
        "objective or adapter settings": settings_fingerprint(adapter),
        "optimizer": settings_fingerprint([config["optimizer"], config["ema_decay"]]),
        "precision, clipping, accumulation or number of processes": settings_fingerprint(arithmetic),
        "seed": str(config["seed"]),
    }


def _rows(source: EncodedSource) -> list[Any]:
    """The order counts too: batches are made of positions."""

    def rows(clips: list[EncodedUtterance]) -> list[Any]:
        return [[c.key, c.num_frames, c.utterance.id, c.utterance.text, c.utterance.speaker] for c in clips]

    split: Split = source.split
    return [source.weight, rows(split.train), rows(split.validation)]


def _text_report(adapter: TTSAdapter, clips: list[EncodedUtterance]) -> TextReport:
    texts: Mapping[str, str] = {clip.utterance.id: clip.utterance.text for clip in clips}
    return summarize({id: adapter.unspoken(text) for id, text in texts.items()})


def _total_sec(clips: list[EncodedUtterance]) -> float:
    return round(sum(clip.duration_sec for clip in clips), 2)
