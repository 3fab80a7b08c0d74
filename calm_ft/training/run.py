"""One run from recordings to an export, ordered so that a mistake is found before expensive work starts.

Settings and input are read and checked first, then the model is loaded and the clips are encoded (cached), and only
then is the run's folder made. The base is judged before the first step and the tuned model after the last, with the
same sentences, voice prompt, noise and flow times. All processes train; the first alone does the rest.
"""

import logging
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from rich.console import Console

from calm_ft.adapters.base import TTSAdapter
from calm_ft.atomic_file import is_disk_fault
from calm_ft.errors import UserError
from calm_ft.report.result import EvaluationResult
from calm_ft.report.terminal import print_result
from calm_ft.training import loggers, notices, prepare
from calm_ft.training.batch_budget import find_max_frames
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.callbacks.metric_monitor import (
    BestByEvaluation,
    MetricMonitor,
    Monitor,
    StopByEvaluation,
    monitor_of,
)
from calm_ft.training.callbacks.nonfinite import StopAtNonFinite
from calm_ft.training.callbacks.periodic_evaluation import PeriodicEvaluation
from calm_ft.training.callbacks.progress import progress_for_stderr
from calm_ft.training.callbacks.record_times import RecordTimes
from calm_ft.training.callbacks.restore import Restore
from calm_ft.training.callbacks.stopping import StopAtSignal, signals_interrupt
from calm_ft.training.callbacks.throughput import Throughput
from calm_ft.training.compiling import compile_training
from calm_ft.training.datamodule import RecordingsDataModule
from calm_ft.training.device_memory import is_out_of_memory
from calm_ft.training.evaluation import (
    RunEvaluation,
    exported_voice,
    read_evaluation_sources,
    require_sentences,
    write_voices,
)
from calm_ft.training.experiment import Experiment
from calm_ft.training.memory import estimate_memory, largest_batch, ways_to_less_memory
from calm_ft.training.module import FineTuning
from calm_ft.training.prepare import Prepared
from calm_ft.training.record import RunRecord
from calm_ft.training.residuals import RunResiduals
from calm_ft.training.resume import ResumePoint, check_identity, checkpoint_path, find_resume_point, read_checkpoint
from calm_ft.training.run_lock import remove_abandoned
from calm_ft.training.settings import AUTO
from calm_ft.training.trainer import build_trainer, precision_of
from calm_ft.training.trunk import attach_trunk_cache, keep_trunk_outputs


class RunInterrupted(KeyboardInterrupt):
    """A signal ended the run after its folder was made; the message says how to continue."""


def run_training(experiment: Experiment, program: list[str], overrides: list[str]) -> float | None:
    """Train, export and judge; returns the tuned model's validation residual (the value to optimise).

    Args:
        program: the words that start this program, for the line that continues the run.
        overrides: what the user set, by which runs are told apart when they are compared.

    Raises UserError for invalid user input, and RunInterrupted. Returns None in other processes
    than the first.
    """
    _quiet_libraries()
    with signals_interrupt():
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            run = _Run(experiment, program, overrides)
            with run.record:
                return run.run()
        _run_other_process(experiment)
    return None


@dataclass(frozen=True)
class _Callbacks:
    """The callbacks of a run in the order in which they are to act; `stop` tells whether a signal ended training."""

    all: list[Callback]
    stop: StopAtSignal
    monitor: Monitor

    @property
    def metric_monitor(self) -> MetricMonitor | None:
        """Passes the monitored figure to checkpointing and early stopping; None if no evaluation has it."""
        judges = [each for each in self.all if isinstance(each, BestByEvaluation | StopByEvaluation)]
        return None if self.monitor.figure is None else MetricMonitor(self.monitor.figure, judges)


def _callbacks(experiment: Experiment) -> _Callbacks:
    """All but the periodic evaluation, which needs a voice prompt in the run's folder.

    Raises UserError where this run never produces the monitored value.
    """
    output_dir, settings = experiment.run.output_dir.absolute(), experiment.early_stopping
    stop, monitor = StopAtSignal(), monitor_of(experiment.checkpoint, experiment.evaluation)
    stopping: list[Callback] = []
    if settings.patience is not None:
        kind = EarlyStopping if monitor.figure is None else StopByEvaluation
        stopping = [kind(monitor.name, settings.min_delta, settings.patience, mode=monitor.mode, check_finite=False)]
    saving = checkpoint_callbacks(
        output_dir / "checkpoints", experiment.checkpoint.model_copy(update={"mode": monitor.mode})
    )
    callbacks = [
        StopAtNonFinite(output_dir),
        *saving,
        *stopping,
        Throughput(),
        loggers.StepsDone(),
        progress_for_stderr(),
        stop,
    ]
    return _Callbacks(callbacks, stop, monitor)


def _run_other_process(experiment: Experiment) -> None:
    """What the other processes of a data-parallel run do: their share of each step."""
    experiment = experiment.with_precision(precision_of(experiment.trainer_settings))
    output_dir = experiment.run.output_dir.absolute()
    point = find_resume_point(output_dir, lambda line: None) if experiment.run.resume else None
    callbacks = _callbacks(experiment)
    trainer = build_trainer(experiment.trainer_settings, output_dir, callbacks.all)
    sources = prepare.read_sources(experiment.data)
    judged = read_evaluation_sources(experiment.evaluation)
    prepared = prepare.prepare(experiment, sources, judged, trainer.world_size)
    attach_trunk_cache(prepared.module.adapter, experiment.data.cache_folder)
    device = trainer.strategy.root_device
    compile_training(experiment.run.compile, prepared.module.adapter, device, lambda line: None)
    _evaluate_periodically(trainer, experiment, prepared, callbacks, None)
    _fit(trainer, prepared, point)


class _Run:
    """The first process's run: its console, folder and trackers."""

    def __init__(self, experiment: Experiment, program: list[str], overrides: list[str]) -> None:
        self.given_config = experiment.config
        """With auto where it was given: by it a sweep knows its jobs again. What was taken is among the facts."""
        self.experiment = experiment.with_precision(precision_of(experiment.trainer_settings))
        self.program = program
        self.overrides = overrides
        self.console = Console(width=120)
        self.notice = notices.miniature_notice(experiment.config, [*program, *overrides])
        notices.say(self.console, self.notice)
        self.record = RunRecord(experiment.run.output_dir, experiment.run.resume)
        self.trackers: list[Logger] = []

    def run(self) -> float:
        console = self.console
        callbacks = _callbacks(self.experiment)
        trainer = build_trainer(self.experiment.trainer_settings, self.record.output_dir, callbacks.all)
        point = self._resume_point()
        done = self.record.finished_value(trainer.max_steps)
        if done is not None:
            notices.say_plain(console, f"{self.record.output_dir} is finished: nothing left to do.")
            return done
        self._take_known_max_frames()
        sources = prepare.read_sources(
            self.experiment.data, lambda line: notices.say_plain(console, line), self.experiment.model_language
        )
        judged = read_evaluation_sources(self.experiment.evaluation)
        finder = partial(self._find_max_frames, trainer)
        prepared = prepare.prepare(self.experiment, sources, judged, trainer.world_size, finder)
        self.experiment = prepared.experiment
        experiment = self.experiment
        if point is not None:
            check_identity(point, prepared.module.identity)
        evaluation = self._evaluation(prepared, callbacks.monitor)
        notices.say_before_training(console, experiment, sources, prepared)
        notices.say_device(console, trainer)
        facts = {**prepare.facts(experiment, prepared), "precision": trainer.precision}
        resumed_at = None if point is None else point.step
        self.record.start(self.given_config, prepared.exclusions, resumed_at, overrides=self.overrides, **facts)
        try:
            return self._train_and_judge(trainer, prepared, evaluation, callbacks, point, facts)
        except (KeyboardInterrupt, SystemExit):
            self._end("interrupted")
            raise RunInterrupted(self._line_that_continues()) from None
        except BaseException as error:
            self._end("failed", error=str(error))
            if is_disk_fault(error):
                raise UserError(self._disk_sentence(error)) from error
            raise
        finally:
            loggers.finish(self.trackers)
            notices.say(console, self.notice)

    def _resume_point(self) -> ResumePoint | None:
        if not self.experiment.run.resume:
            return None
        point = None
        if self.record.previous:
            remove_abandoned(self.record.output_dir)
            point = find_resume_point(self.record.output_dir, lambda line: notices.say_plain(self.console, line))
        if point is None:
            notices.say_plain(
                self.console, f"nothing to resume in {self.record.output_dir}: starting from the beginning"
            )
        return point

    def _take_known_max_frames(self) -> None:
        """A run that is continued goes on with the batches that it began with, whatever memory is free now."""
        known = self.record.previous.get("max_frames_per_batch")
        if self.experiment.data.max_frames_per_batch == AUTO and isinstance(known, int):
            self.experiment = self.experiment.with_max_frames(known)
            notices.say_plain(self.console, f"data.max_frames_per_batch=auto: {known} frames, as when the run began")

    def _find_max_frames(self, trainer: Trainer, adapter: TTSAdapter, batches: RecordingsDataModule) -> int:
        found = find_max_frames(adapter, batches, self.experiment.strategy, self.experiment.optimizer, trainer)
        notices.say_plain(self.console, str(found))
        return found.max_frames

    def _evaluation(self, prepared: Prepared, monitor: Monitor) -> RunEvaluation | None:
        """None if no sentence is synthesised. Raises UserError where the monitored figure cannot be measured here."""
        if prepared.evaluation.protocol is None:
            if monitor.figure is not None:
                require_sentences(prepared.evaluation, monitor.name)
            return None
        evaluation = RunEvaluation(
            prepared.evaluation.protocol,
            self.record.output_dir,
            self.experiment.evaluation,
            self.experiment.data.cache_folder,
        )
        if monitor.figure is not None:
            monitor.check_measured(evaluation.evaluator.available.missing)
        return evaluation

    def _train_and_judge(
        self,
        trainer: Trainer,
        prepared: Prepared,
        evaluation: RunEvaluation | None,
        callbacks: _Callbacks,
        point: ResumePoint | None,
        facts: dict[str, Any],
    ) -> float:
        resumed = None if point is None else loggers.ResumedLogs(point.step, self.record.tracker_ids)
        self.trackers += self.experiment.logger_settings.build(
            self.record.output_dir, self.experiment.config, facts, resumed
        )
        self.record.update(trackers=loggers.tracker_ids(self.trackers))
        trainer.loggers = self.trackers
        adapter = prepared.module.adapter
        write_voices(prepared.evaluation, self.record.output_dir, adapter.sample_rate_hz)
        adapter.to(trainer.strategy.root_device).eval()
        num_batches = trainer.max_steps * trainer.accumulate_grad_batches
        keep_trunk_outputs(
            prepared.batches,
            num_batches,
            self.experiment.data.cache_folder,
            lambda line: notices.say_plain(self.console, line),
        )
        with memory_faults_named(trainer, prepared), trainer.precision_plugin.forward_context():
            estimate = estimate_memory(adapter, prepared.batches, prepared.module.seed)
        notices.say_memory(self.console, estimate, adapter, trainer.precision)
        compile_training(
            self.experiment.run.compile,
            adapter,
            trainer.strategy.root_device,
            lambda line: notices.say_plain(self.console, line),
        )
        residuals = RunResiduals(
            prepared.batches.val_dataloader(), prepared.evaluation.base_voices, prepared.module.seed
        )
        base = residuals.measure(adapter, "base")
        callbacks.monitor.check_logged(base)
        if point is None:
            self._log(0, {"val": base, "val_base": residuals.base_voices.get("base", {})})
        if evaluation is not None:
            scores = evaluation.begin(prepared.module, self.trackers, None if point is None else point.step)
            callbacks.monitor.check_measured(scores.missing)
        _evaluate_periodically(trainer, self.experiment, prepared, callbacks, evaluation)
        if point is not None:
            notices.say_plain(self.console, f"resumed at step {point.step} of {trainer.max_steps} from {point.path}")
        trainer.callbacks.append(RecordTimes(self.record))  # type: ignore[attr-defined]
        _fit(trainer, prepared, point)
        if callbacks.stop.requested:
            raise KeyboardInterrupt
        return self._finish(trainer, prepared, residuals, evaluation)

    def _finish(
        self, trainer: Trainer, prepared: Prepared, residuals: RunResiduals, evaluation: RunEvaluation | None
    ) -> float:
        """Export the chosen checkpoint and judge it; returns its residual."""
        adapter, settings, output_dir = prepared.module.adapter, self.experiment.export, self.record.output_dir
        step, strategy = trainer.global_step, prepared.module.strategy
        chosen = checkpoint_path(output_dir, settings.which)
        _forget_training(trainer, prepared.module)
        checkpoint = read_checkpoint(chosen, mapped=True)
        checkpoint_step = int(checkpoint["global_step"])
        prepared.module.load_weights(checkpoint, settings.ema)
        del checkpoint
        adapter.to("cpu").eval()
        learned = {name: float(value) for name, value in strategy.figures(adapter).items()}
        strategy.save(adapter, output_dir)
        result: EvaluationResult | None = None
        with strategy.merged(adapter), adapter.as_exported():
            adapter.export(output_dir / "export", exported_voice(output_dir))
            adapter.to(trainer.strategy.root_device)
            tuned = residuals.measure(adapter, "tuned")
            if evaluation is not None:
                result = evaluation.finish(adapter, output_dir.name, step, checkpoint_step, self.trackers)
            adapter.to("cpu")
        self._log(step, {"tuned": tuned, "val_base": residuals.base_voices.get("tuned", {})})
        figures: dict[str, Any] = {"residuals": residuals.described()}
        if evaluation is not None and result is not None:
            loggers.log_media(self.trackers, step, *evaluation.media())
            figures["evaluation"] = result.model_dump(mode="json")
        loggers.log_summary(self.trackers, notices.summary_of(residuals, result))
        loggers.log_export(self.trackers, output_dir / "export", output_dir.name)
        self.record.finish(
            "finished",
            max_steps=self.experiment.trainer_settings["max_steps"],
            checkpoint=chosen.name,
            checkpoint_step=checkpoint_step,
            value=tuned["residual"],
            learned=learned,
            **figures,
        )
        if result is not None:
            print_result(self.console, result, residuals.rows())
        else:
            notices.say_residuals(self.console, residuals.rows())
        notices.say_steps(self.console, step, self.experiment.trainer_settings["max_steps"])
        notices.say_one_step_cost(self.console, residuals.validation)
        notices.say_forgetting(self.console, residuals.base_voices, bool(prepared.batches.replay_clips))
        training_sec = self.record.training_sec
        notices.say_result(self.console, adapter, output_dir, training_sec, chosen.name, checkpoint_step)
        if result is not None:
            notices.say_where_to_listen(self.console, output_dir)
        for warning in strategy.warnings(adapter):
            notices.say(self.console, warning)
        lost = notices.lost_minutes(prepared.batches, prepared.exclusions)
        notices.say_loudly(self.console, [*lost, *([] if result is None else result.warnings)])
        return tuned["residual"]

    def _end(self, status: str, **facts: Any) -> None:
        with suppress(OSError):  # a full disk must not hide why the run ends
            self.record.finish(status, **facts)

    def _disk_sentence(self, error: BaseException) -> str:
        reason = getattr(error, "strerror", error)
        return (
            f"The run in {self.record.output_dir} cannot write its files ({reason}): free some space there and "
            "continue with resume=true; its checkpoints are untouched."
        )

    def _log(self, step: int, groups: Mapping[str, Mapping[str, float]]) -> None:
        figures = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        for tracker in self.trackers:
            tracker.log_metrics(figures, step=step)

    def _line_that_continues(self) -> str:
        kept = [each for each in self.overrides if not each.lstrip("+").startswith(("output_dir=", "resume="))]
        line = shlex.join([*self.program, *kept, f"output_dir={self.record.output_dir}", "resume=true"])
        return f"interrupted; what was done is saved, and this continues: {line}"


def _evaluate_periodically(
    trainer: Trainer,
    experiment: Experiment,
    prepared: Prepared,
    callbacks: _Callbacks,
    evaluation: RunEvaluation | None,
) -> None:
    """Add the callback that evaluates; other processes than the first receive the monitored value from it."""
    settings = experiment.evaluation
    every_n_steps = None if prepared.evaluation.protocol is None else settings.every_n_steps
    expected_sec = 0.0 if evaluation is None else evaluation.expected_sec
    callback = PeriodicEvaluation(
        evaluation, every_n_steps, settings.max_time_share, callbacks.metric_monitor, expected_sec
    )
    trainer.callbacks.append(callback)  # type: ignore[attr-defined]


def _forget_training(trainer: Trainer, module: FineTuning) -> None:
    """Give back the gradients and the optimizer's moments, three times the memory of what trained."""
    module.zero_grad(set_to_none=True)
    trainer.strategy.optimizers = []
    trainer.strategy.lr_scheduler_configs = []


def _fit(trainer: Trainer, prepared: Prepared, point: ResumePoint | None) -> None:
    """The training steps, from a resume point where there is one.

    Raises UserError where a callback asks for a value that is not logged.
    """
    if point is not None:
        trainer.callbacks.insert(0, Restore(point))  # type: ignore[attr-defined]
    try:
        with memory_faults_named(trainer, prepared):
            trainer.fit(prepared.module, datamodule=prepared.batches)
    except MisconfigurationException as error:
        raise UserError(f"Lightning stopped training: {' '.join(str(error).split())[:300]}") from error


@contextmanager
def memory_faults_named(trainer: Trainer, prepared: Prepared) -> Iterator[None]:
    """Raises UserError, which says what makes batches smaller, where memory runs out in the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise UserError(_memory_sentence(trainer, prepared)) from error
        raise


def _memory_sentence(trainer: Trainer, prepared: Prepared) -> str:
    largest = largest_batch(prepared.batches)
    limit = prepared.batches.limits.max_frames_per_batch
    return (
        f"Memory ran out; the largest batch has {len(largest)} clips of up to {largest[0].target.num_frames} frames. "
        f"Begin again with smaller batches (data.max_frames_per_batch={max(1, limit // 2)}, it was {limit}; "
        f"trainer.accumulate_grad_batches={2 * trainer.accumulate_grad_batches} makes up for it), "
        f"{ways_to_less_memory(trainer.precision)}."
    )


def _quiet_libraries() -> None:
    """Lightning's tips and Torch's notes say nothing that a user of this program can act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "pocket_tts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message="Grad strides do not match")
    warnings.filterwarnings("ignore", message=".*sdp_kernel.. is deprecated")  # called by upstream's perceiver
