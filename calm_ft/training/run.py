"""One run from recordings to an export, in the order in which a mistake costs least.

Settings and input are read and checked first, then the model is loaded and the clips are encoded (cached), and only
then is the run's folder made. The base is judged before the first step and the tuned model after the last, with the
same sentences, voice prompt, noise and times.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from rich.console import Console

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.data.sources.recordings import Recordings as ReadRecordings
from calm_ft.data.split import split_validation
from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import ComponentPlan, Strategy
from calm_ft.training import callbacks, loggers, notices
from calm_ft.training.checkpoints import checkpoint_path, read_checkpoint
from calm_ft.training.judgement import Judgement, JudgingPlan, Sources
from calm_ft.training.judging import JudgedRun
from calm_ft.training.lit_datamodule import Recordings
from calm_ft.training.lit_module import FineTuning
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.progress import progress_for_stderr
from calm_ft.training.provenance import code_version, data_fingerprint, package_versions
from calm_ft.training.run_record import RunRecord
from calm_ft.training.settings import DataSettings, RunSettings
from calm_ft.training.trainer import build_trainer


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C after something was trained and saved; the message says where."""


@dataclass(frozen=True)
class Experiment:
    """One run's parts; `config` is what config.yaml keeps, `adapter_factory` may load hundreds of megabytes."""

    run: RunSettings
    data: DataSettings
    adapter_factory: Callable[[], TTSAdapter]
    strategy: Strategy
    optimizer: OptimizerFactory
    trainer_settings: dict[str, Any]
    logger_settings: loggers.LoggerSettings
    judgement: Judgement
    config: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A loaded model with its encoded clips, and what was left out."""

    module: FineTuning
    batches: Recordings
    exclusions: list[Exclusion]
    plans: list[ComponentPlan]
    judging: JudgingPlan


def run_training(experiment: Experiment) -> float:
    """Train, export and judge; returns the tuned model's validation residual (the value to optimise).

    Raises UserError for every input that is the user's to mend, and RunInterrupted.
    """
    console = Console(width=120)
    _quiet_libraries()
    notice = notices.miniature_notice(experiment.config)
    notices.say(console, notice)
    record = RunRecord(experiment.run.output_dir)
    stop = callbacks.StopAtInterrupt()
    trainer = _trainer(experiment, record.output_dir, stop)
    recordings = read_recordings(Path(experiment.data.path).expanduser())
    prepared = _prepare(experiment, recordings, experiment.judgement.read_sources())
    adapter, batches = prepared.module.adapter, prepared.batches
    console.print(
        f"{adapter.describe()} on {experiment.data.path} ({recordings.format_name})",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    notices.say_data(console, batches, prepared.exclusions)
    notices.say_components(console, prepared.plans)
    record.start(experiment.config, prepared.exclusions, **_facts(experiment, prepared))
    trackers: list[Logger] = []
    try:
        trackers += experiment.logger_settings.build(record.output_dir, experiment.config)
        trainer.loggers = trackers
        judged = JudgedRun(adapter, prepared.judging, record.output_dir / "samples", experiment.run.seed)
        base = judged.judge("base")
        for tracker in trackers:
            tracker.log_metrics({f"val/{name}": value for name, value in base.items()}, step=0)
        training_sec = _fit(trainer, prepared, stop)
        residual = _finish(console, prepared, judged, record, trackers, training_sec)
    except (KeyboardInterrupt, SystemExit):
        record.finish("interrupted")
        raise _interruption(record.output_dir) from None
    except BaseException as error:
        record.finish("failed", error=str(error))
        raise
    finally:
        loggers.finish(trackers)
        notices.say(console, notice)
    return residual


def _fit(trainer: Trainer, prepared: Prepared, stop: callbacks.StopAtInterrupt) -> float:
    """Train; returns the seconds it took. Raises KeyboardInterrupt after a stop by Ctrl-C, everything saved."""
    started = time.perf_counter()
    trainer.fit(prepared.module, datamodule=prepared.batches)
    if stop.requested:
        raise KeyboardInterrupt
    return time.perf_counter() - started


def _finish(
    console: Console,
    prepared: Prepared,
    judged: JudgedRun,
    record: RunRecord,
    trackers: list[Logger],
    training_sec: float,
) -> float:
    """Export the chosen checkpoint and judge it; returns its residual."""
    adapter = prepared.module.adapter
    chosen = checkpoint_path(record.output_dir, callbacks.BEST)
    prepared.module.load_weights(read_checkpoint(chosen))
    adapter.to("cpu").eval()
    adapter.export(record.output_dir / "export", judged.voice_prompt)
    tuned = judged.judge("tuned")
    figures = judged.report(console)
    loggers.log_media(trackers, judged.audio_files, {"spectrograms": judged.picture})
    record.finish("finished", training_sec=round(training_sec, 1), checkpoint=chosen.name, figures=figures)
    notices.say_result(console, record.output_dir, training_sec)
    return tuned["residual"]


def _trainer(experiment: Experiment, output_dir: Path, stop: callbacks.StopAtInterrupt) -> Trainer:
    saving = callbacks.checkpoint_callbacks(str(output_dir / "checkpoints"), experiment.run.checkpoint_every_n_steps)
    beside = [*saving, callbacks.Throughput(), progress_for_stderr(), stop]
    return build_trainer(experiment.trainer_settings, output_dir, beside)


def _prepare(experiment: Experiment, recordings: ReadRecordings, sources: Sources) -> Prepared:
    """Load the model, choose what trains, encode and split the clips, decode what the run is judged by."""
    seed, data = experiment.run.seed, experiment.data
    torch.manual_seed(seed)
    adapter = experiment.adapter_factory()
    plans = experiment.strategy.apply(adapter, experiment.optimizer.lr)
    batches, exclusions = _encode(adapter, recordings, data, seed)
    adapter.fit_statistics(clip.features() for clip in batches.train_clips)
    module = FineTuning(adapter, experiment.strategy, experiment.optimizer, experiment.run.ema_decay, seed)
    judging = experiment.judgement.prepare(sources, adapter, batches, data, seed)
    return Prepared(module, batches, exclusions, plans, judging)


def _encode(
    adapter: TTSAdapter, recordings: ReadRecordings, data: DataSettings, seed: int
) -> tuple[Recordings, list[Exclusion]]:
    usable, textless = [], []
    for utterance in recordings.utterances:
        try:
            adapter.check_text(utterance.text)
            usable.append(utterance)
        except UserError as error:
            textless.append(Exclusion(str(utterance.audio_path), str(error)))
    encoded = encode_recordings(
        usable,
        adapter,
        Path(data.cache_dir).expanduser(),
        data.tail_sec,
        data.max_duration_sec,
        progress=sys.stderr.isatty(),
    )
    split = split_validation(encoded.encoded, data.validation_fraction, seed)
    batches = Recordings(
        adapter, split.train, split.validation, data.max_frames_per_batch, data.max_batch_size, data.num_workers, seed
    )
    return batches, [*recordings.exclusions, *textless, *encoded.exclusions]


def _interruption(output_dir: Path) -> KeyboardInterrupt:
    try:
        path = checkpoint_path(output_dir, callbacks.LAST)
    except UserError:
        return KeyboardInterrupt()
    return RunInterrupted(
        f"interrupted; what was trained is in {path}: python scripts/export.py {output_dir} --which last"
    )


def _facts(experiment: Experiment, prepared: Prepared) -> dict[str, Any]:
    def total_sec(clips: list[EncodedUtterance]) -> float:
        return round(sum(clip.duration_sec for clip in clips), 2)

    batches, adapter = prepared.batches, prepared.module.adapter
    return {
        "code": code_version(),
        "packages": package_versions(),
        "seed": experiment.run.seed,
        "model": adapter.describe(),
        "feature_fingerprint": adapter.feature_fingerprint(),
        "data_fingerprint": data_fingerprint([*batches.train_clips, *batches.validation_clips]),
        "num_train_clips": len(batches.train_clips),
        "num_validation_clips": len(batches.validation_clips),
        "train_sec": total_sec(batches.train_clips),
        "validation_sec": total_sec(batches.validation_clips),
        "num_excluded": len(prepared.exclusions),
        "num_without_prompt": batches.pool.num_without_prompt,
        "padding_share": round(batches.plan.padding_share(), 4),
    }


def _quiet_libraries() -> None:
    """Lightning's tips and Torch's notes say nothing that a user of this program can act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "pocket_tts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
