"""One run from recordings to an export, in the order in which a mistake costs least.

Settings and input are read and checked first, then the model is loaded and the clips are encoded (cached), and only
then is the run's folder made. The base is judged before the first step and the tuned model after the last, with the
same sentences, voice prompt, noise and times. Of several processes the first does everything but the training steps.
"""

import logging
import shlex
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from rich.console import Console

from calm_ft.atomic_file import is_disk_fault
from calm_ft.errors import UserError
from calm_ft.training import loggers, notices
from calm_ft.training import prepare as preparation
from calm_ft.training.beside import Beside, callbacks_beside
from calm_ft.training.callbacks.stopping import signals_interrupt
from calm_ft.training.checkpoints import checkpoint_path, read_checkpoint
from calm_ft.training.course import Course
from calm_ft.training.experiment import Experiment
from calm_ft.training.judging import JudgedRun
from calm_ft.training.prepare import Prepared
from calm_ft.training.record import RunRecord
from calm_ft.training.resume import Restore, ResumePoint, check_identity, find_resume_point, remove_abandoned
from calm_ft.training.scoring import Scoring
from calm_ft.training.trainer import build_trainer


class RunInterrupted(KeyboardInterrupt):
    """A signal ended the run after its folder was made; the message says how to continue."""


def run_training(experiment: Experiment, command: list[str]) -> float | None:
    """Train, export and judge; returns the tuned model's validation residual (the value to optimise).

    Args:
        command: the program and overrides by which the run was started, for the line that continues it.

    Raises UserError for every input that is the user's to mend, and RunInterrupted. Returns None in other processes
    than the first.
    """
    _quiet_libraries()
    with signals_interrupt():
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            return _Run(experiment, command).run()
        _help(experiment)
    return None


def _help(experiment: Experiment) -> None:
    """What the other processes of a data-parallel run do: their share of each step."""
    output_dir = experiment.run.output_dir.absolute()
    point = find_resume_point(output_dir, lambda line: None) if experiment.run.resume else None
    beside = callbacks_beside(experiment, output_dir)
    trainer = build_trainer(experiment.trainer_settings, output_dir, beside.callbacks)
    sources = preparation.read_sources(experiment.data)
    judged = experiment.judgement.read_sources()
    prepared = preparation.prepare(experiment, sources, judged, trainer.world_size)
    beside.follow_course(trainer, prepared)
    _fit(trainer, prepared, beside, point)


class _Run:
    """The first process's run: its console, folder and trackers."""

    def __init__(self, experiment: Experiment, command: list[str]) -> None:
        self.experiment = experiment
        self.command = command
        self.console = Console(width=120)
        self.notice = notices.miniature_notice(experiment.config, command)
        notices.say(self.console, self.notice)
        self.record = RunRecord(experiment.run.output_dir, experiment.run.resume)
        self.trackers: list[Logger] = []

    def run(self) -> float:
        experiment, console = self.experiment, self.console
        beside = callbacks_beside(experiment, self.record.output_dir)
        trainer = build_trainer(experiment.trainer_settings, self.record.output_dir, beside.callbacks)
        point = self._resume_point()
        done = self.record.finished_value(trainer.max_steps)
        if done is not None:
            notices.say_plain(console, f"{self.record.output_dir} is finished: nothing left to do.")
            return done
        sources = preparation.read_sources(experiment.data)
        prepared = preparation.prepare(experiment, sources, experiment.judgement.read_sources(), trainer.world_size)
        if point is not None:
            check_identity(point, prepared.module.identity)
        scoring = preparation.prepare_scoring(experiment, prepared)
        beside.check_measured({} if scoring is None else scoring.missing)
        notices.say_sources(console, prepared.module.adapter.describe(), sources, experiment.data)
        notices.say_data(console, prepared.batches, prepared.exclusions)
        notices.say_text(console, prepared.text_report)
        notices.say_components(console, prepared.plans)
        notices.say_disk(console, prepared.plans, experiment.checkpoint.keep)
        facts = preparation.facts(experiment, prepared)
        resumed_at = None if point is None else point.step
        overrides = self.command[2:]  # by which runs are told apart when they are compared
        self.record.start(experiment.config, prepared.exclusions, resumed_at, overrides=overrides, **facts)
        try:
            return self._train_and_judge(trainer, prepared, scoring, beside, point, facts)
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

    def _train_and_judge(
        self,
        trainer: Trainer,
        prepared: Prepared,
        scoring: Scoring | None,
        beside: Beside,
        point: ResumePoint | None,
        facts: dict[str, Any],
    ) -> float:
        resumed = None if point is None else loggers.ResumedLogs(point.step, self.record.tracker_ids)
        self.trackers += self.experiment.logger_settings.build(
            self.record.output_dir, self.experiment.config, facts, resumed
        )
        self.record.update(trackers=loggers.tracker_ids(self.trackers))
        trainer.loggers = self.trackers
        judged = JudgedRun(
            prepared.module.adapter, prepared.judging, self.record.output_dir / "samples", self.experiment.run.seed
        )
        base = judged.judge("base")
        beside.check_monitored(base)
        if point is None:
            self._log(0, {"val": base, "val_base": judged.base_residuals.get("base", {})})
        resumed_step = None if point is None else point.step
        course = beside.begin_course(trainer, prepared, scoring, judged.voice_prompt, resumed_step)
        if point is not None:
            notices.say_plain(self.console, f"resumed at step {point.step} of {trainer.max_steps} from {point.path}")
        started = time.perf_counter()
        _fit(trainer, prepared, beside, point)
        if beside.stop.requested:
            raise KeyboardInterrupt
        return self._finish(prepared, judged, course, time.perf_counter() - started, trainer.global_step)

    def _finish(self, prepared: Prepared, judged: JudgedRun, course: Course, training_sec: float, step: int) -> float:
        """Export the chosen checkpoint and judge it; returns its residual."""
        adapter, settings, output_dir = prepared.module.adapter, self.experiment.export, self.record.output_dir
        chosen = checkpoint_path(output_dir, settings.which)
        checkpoint = read_checkpoint(chosen)
        prepared.module.load_weights(checkpoint, settings.ema)
        adapter.to("cpu").eval()
        strategy = prepared.module.strategy
        learned = {name: float(value) for name, value in strategy.figures(adapter).items()}
        strategy.save(adapter, output_dir)
        with strategy.merged(adapter):
            adapter.export(output_dir / "export", judged.voice_prompt)
            tuned = judged.judge("tuned")
            course.end(adapter, self.trackers, step, int(checkpoint["global_step"]))
        figures = {**judged.report(self.console), **course.report(self.console)}
        self._log(step, {"tuned": tuned, "val_base": judged.base_residuals.get("tuned", {})})
        loggers.log_media(self.trackers, step, judged.audio_files, judged.pictures)
        loggers.log_summary(self.trackers, figures)
        loggers.log_export(self.trackers, output_dir / "export", output_dir.name)
        self.record.finish(
            "finished",
            training_sec=round(training_sec, 1),
            num_steps=step,
            max_steps=self.experiment.trainer_settings["max_steps"],
            checkpoint=chosen.name,
            checkpoint_step=int(checkpoint["global_step"]),
            value=tuned["residual"],
            learned=learned,
            figures=figures,
        )
        for warning in strategy.warnings(adapter):
            notices.say(self.console, warning)
        notices.say_steps(self.console, step, self.experiment.trainer_settings["max_steps"])
        notices.say_forgetting(self.console, judged.base_residuals, bool(prepared.batches.replay_clips))
        notices.say_result(self.console, adapter, output_dir, training_sec, chosen.name, int(checkpoint["global_step"]))
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
        kept = [each for each in self.command if not each.lstrip("+").startswith(("output_dir=", "resume="))]
        line = shlex.join([*kept, f"output_dir={self.record.output_dir}", "resume=true"])
        return f"interrupted; what was done is saved, and this continues: {line}"


def _fit(trainer: Trainer, prepared: Prepared, beside: Beside, point: ResumePoint | None) -> None:
    """The training steps, from a resume point where there is one.

    Raises UserError where a callback asks for a value that is not logged.
    """
    if point is not None:
        trainer.callbacks.insert(0, Restore(point))  # type: ignore[attr-defined]
    try:
        trainer.fit(prepared.module, datamodule=prepared.batches)
    except MisconfigurationException as error:
        raise UserError(f"Lightning stopped training: {' '.join(str(error).split())[:300]}") from error


def _quiet_libraries() -> None:
    """Lightning's tips and Torch's notes say nothing that a user of this program can act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "pocket_tts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message="Grad strides do not match")
    warnings.filterwarnings("ignore", message=".*sdp_kernel.. is deprecated")  # called by upstream's perceiver
