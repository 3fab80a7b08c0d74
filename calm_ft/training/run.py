"""One run from recordings to an export, in the order in which a mistake costs least.

Input is read and checked first, then encoded (cached), and only then is the run's folder made. The base is judged
before the first step and the tuned model after the last, with the same sentences, voice prompt, noise and times.
"""

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from rich.console import Console

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.data.split import split_validation
from calm_ft.data.utterance import Exclusion
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Strategy
from calm_ft.training import callbacks, loggers, notices
from calm_ft.training.checkpoints import checkpoint_path, read_checkpoint
from calm_ft.training.judging import TUNED_VOICE, JudgedRun, Judgement, column, voice_references
from calm_ft.training.lit_datamodule import Recordings
from calm_ft.training.lit_module import FineTuning
from calm_ft.training.optimizers import OptimizerFactory
from calm_ft.training.run_record import RunRecord

console = Console(width=120)


@dataclass(frozen=True)
class DataSettings:
    """Where the recordings lie and how they become batches; see conf/data/recordings.yaml."""

    path: str
    cache_dir: str
    tail_sec: float
    max_duration_sec: float
    validation_fraction: float
    max_frames_per_batch: int
    max_batch_size: int
    num_workers: int


def run_training(
    *,
    output_dir: Path,
    seed: int,
    ema_decay: float,
    checkpoint_every_n_steps: int,
    adapter_factory: Callable[[], TTSAdapter],
    data: DataSettings,
    strategy: Strategy,
    optimizer: OptimizerFactory,
    trainer_settings: dict[str, Any],
    logger_settings: Any,
    judgement: Judgement,
    config: dict[str, Any],
) -> float:
    """Train, export and judge; returns the tuned model's validation residual (the value to optimise).

    Raises UserError for every input that is the user's to mend.
    """
    _quiet_libraries()
    notice = notices.miniature_notice(config)
    notices.say(console, notice)
    record = RunRecord(output_dir)
    recordings = read_recordings(Path(data.path))
    torch.manual_seed(seed)
    adapter = adapter_factory()
    plans = strategy.apply(adapter, optimizer.lr)
    module = FineTuning(adapter, strategy, optimizer, ema_decay, seed)
    batches, exclusions = _prepare_data(adapter, recordings, data, seed)
    console.print(f"[bold]{adapter.describe()}[/] on {data.path} ({recordings.format_name})", highlight=False)
    notices.say_data(console, batches, exclusions)
    callbacks.print_component_table(plans, console)
    adapter.fit_statistics(clip.features() for clip in batches.train_clips)
    trainer = _build_trainer(trainer_settings, record, checkpoint_every_n_steps, adapter)
    record.start(config, exclusions, **_facts(adapter, batches, exclusions))
    trackers = logger_settings.build(record.output_dir, config)
    trainer.loggers = trackers
    try:
        judged = _begin_judging(judgement, adapter, batches, data, record.output_dir / "samples", seed)
        residual = _train_and_judge(trainer, module, batches, judged, record)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        record.update(status="interrupted" if interrupted else "failed", error=str(error))
        raise
    finally:
        loggers.finish(trackers)
    notices.say(console, notice)
    return residual


def _train_and_judge(
    trainer: Trainer, module: FineTuning, batches: Recordings, judged: JudgedRun, record: RunRecord
) -> float:
    adapter = module.adapter
    judged.judge("base")
    base = judged.residuals[column("base", TUNED_VOICE)]
    for tracker in trainer.loggers:
        tracker.log_metrics({f"val/{name}": value for name, value in base.items()}, step=0)
    started = time.perf_counter()
    trainer.fit(module, datamodule=batches)
    if trainer.interrupted:
        raise KeyboardInterrupt
    training_sec = time.perf_counter() - started
    chosen = checkpoint_path(record.output_dir, "best")
    module.load_weights(read_checkpoint(chosen))
    adapter.to("cpu").eval()
    adapter.export(record.output_dir / "export", judged.voice_prompt)
    judged.judge("tuned")
    figures = judged.report(console)
    loggers.log_media(trainer.loggers, judged.audio_files, {"spectrograms": judged.picture})
    record.update(status="finished", training_sec=round(training_sec, 1), checkpoint=chosen.name, figures=figures)
    notices.say_result(console, record.output_dir, training_sec)
    tuned = judged.residuals[column("tuned", TUNED_VOICE)]
    return tuned.get("residual", next(iter(tuned.values())))


def _begin_judging(
    judgement: Judgement, adapter: TTSAdapter, batches: Recordings, data: DataSettings, directory: Path, seed: int
) -> JudgedRun:
    rate = adapter.sample_rate_hz
    train = [clip.utterance for clip in batches.train_clips]
    validation = [clip.utterance for clip in batches.validation_clips]
    sets = [judgement.tuned_voice_set(train, validation, batches.val_dataloader(), rate)]
    if base_utterances := judgement.base_voice_utterances():
        encoded = encode_recordings(
            base_utterances, adapter, Path(data.cache_dir), data.tail_sec, data.max_duration_sec, progress=False
        ).encoded
        others = Recordings(adapter, encoded, encoded, data.max_frames_per_batch, data.max_batch_size, 0, seed)
        sets.append(judgement.base_voice_set(others.val_dataloader(), rate))
    voices = voice_references(judgement, batches.train_clips, rate)
    return JudgedRun(adapter, judgement, sets, voices, directory, seed)


def _prepare_data(
    adapter: TTSAdapter, recordings: Any, data: DataSettings, seed: int
) -> tuple[Recordings, list[Exclusion]]:
    usable, textless = [], []
    for utterance in recordings.utterances:
        try:
            adapter.check_text(utterance.text)
            usable.append(utterance)
        except UserError as error:
            textless.append(Exclusion(str(utterance.audio_path), str(error)))
    encoded = encode_recordings(usable, adapter, Path(data.cache_dir), data.tail_sec, data.max_duration_sec)
    split = split_validation(encoded.encoded, data.validation_fraction, seed)
    batches = Recordings(
        adapter, split.train, split.validation, data.max_frames_per_batch, data.max_batch_size, data.num_workers, seed
    )
    return batches, [*recordings.exclusions, *textless, *encoded.exclusions]


def _build_trainer(
    settings: dict[str, Any], record: RunRecord, checkpoint_every_n_steps: int, adapter: TTSAdapter
) -> Trainer:
    directory = record.output_dir / "checkpoints"
    bars = [
        *callbacks.checkpoint_callbacks(str(directory), checkpoint_every_n_steps),
        callbacks.SaveAtEnd(str(directory / f"{callbacks.LAST}.ckpt")),
        callbacks.Throughput(adapter.frame_rate_hz),
        callbacks.ProgressBar(),
    ]
    interval = min(settings.get("val_check_interval", 1.0), settings.get("max_steps", 1))
    try:
        return Trainer(
            **{**settings, "val_check_interval": interval},
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            use_distributed_sampler=False,
            logger=False,
            callbacks=bars,
            default_root_dir=str(record.output_dir),
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"Lightning's Trainer refuses trainer.*: {' '.join(str(error).split())[:200]}") from error


def _facts(adapter: TTSAdapter, batches: Recordings, exclusions: list[Exclusion]) -> dict[str, Any]:
    def total_sec(clips: list[EncodedUtterance]) -> float:
        return round(sum(clip.duration_sec for clip in clips), 2)

    return {
        "model": adapter.describe(),
        "feature_fingerprint": adapter.feature_fingerprint(),
        "num_train_clips": len(batches.train_clips),
        "num_validation_clips": len(batches.validation_clips),
        "train_sec": total_sec(batches.train_clips),
        "validation_sec": total_sec(batches.validation_clips),
        "num_excluded": len(exclusions),
        "num_without_prompt": batches.pool.num_without_prompt,
        "padding_share": round(batches.plan.padding_share(), 4),
    }


def _quiet_libraries() -> None:
    """Lightning's tips and Torch's notes say nothing that a user of this program can act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "pocket_tts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
