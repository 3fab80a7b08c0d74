"""Fine-tune a voice: python -m calm_ft.train experiment=head_only data.path=my_recordings"""

import os
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import hydra
from omegaconf import DictConfig, open_dict

from calm_ft.commands import quick_imports, words_of
from calm_ft.config import (
    CONF,
    CONFIG_ERRORS,
    config_error_sentence,
    experiment_from,
    is_sweep,
    job_config,
    job_number,
    job_overrides,
    plain,
    register_resolvers,
    sweep_of,
)
from calm_ft.config.overrides import as_typed, override_of, sweep_arguments, tidy_arguments
from calm_ft.errors import UserError, accept_any_console, exit_with, run_script
from calm_ft.sweeps.folder import FAILED, FINISHED, Sweep, settings_fingerprint
from calm_ft.sweeps.stopping import signals_stop
from calm_ft.sweeps.value import RESIDUAL, check_value_is_measured, check_value_name
from calm_ft.sweeps.work import SweepStopped, line_that_continues, say_how_it_ended, work

register_resolvers()


_SHARED_WITH_TEACHER = re.compile(
    r"\+*(data(=|\.)|adapter(=|\.(model|local_dir|language|prompt)\b)|logger|evaluation|seed="
    r"|trainer\.(accelerator|devices|precision|strategy)=)"
)

faults: list[UserError] = []
"""What the only job raised; Hydra would write a line of its own before it is said."""


@hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")
def train(config: DictConfig) -> float | None:
    register_resolvers()  # a job of a sweep may be in a process that did not run `main`
    accept_any_console()
    if is_sweep():
        return train_job(config)
    try:
        return train_one(config)
    except UserError as error:
        faults.append(error)
        return None


def train_one(config: DictConfig) -> float | None:
    """Train by a run's own configuration; returns the validation residual of the tuned model."""
    with quick_imports():
        from calm_ft.training.run import run_training  # late: --help answers at once

    if config.get("teacher") is not None:
        config = taught_by(train_teacher(config), config)
    return run_training(experiment_from(config), words_of("train"), job_overrides())


def train_teacher(config: DictConfig) -> Path:
    """Tune `adapter.model` by `teacher.experiment` in OUTPUT_DIR-teacher; the folder of its export.

    With resume=true an interrupted teacher goes on, and one that ended is not tuned again; other settings than its own
    are refused, as in every run. What is wrong with the student is said before.
    """
    folder = Path(f"{Path(str(config.output_dir)).expanduser()}-teacher")
    export = folder / "export"
    own = [each.lstrip("+").removeprefix("teacher.") for each in job_overrides() if re.match(r"\+*teacher\.", each)]
    own = [each for each in own if not each.startswith("experiment=")]
    check_student(config, becomes_teacher=any("conditioning_dropout" in each for each in own))
    shared = [each for each in job_overrides() if _SHARED_WITH_TEACHER.match(each)]
    words = [f"experiment={config.teacher.experiment}", *shared, *own, f"output_dir={folder}"]
    words.append(f"resume={str(config.resume).lower()}")
    code = wait_and_pass_on_signals(subprocess.Popen([sys.executable, "-m", "calm_ft.train", *words]))
    if code:
        raise SystemExit(code)  # it has said why
    if not (export / "config.yaml").is_file():
        raise KeyboardInterrupt("the student was not begun: the whole goes on by the same command with resume=true")
    return export


def wait_and_pass_on_signals(child: subprocess.Popen[bytes]) -> int:
    """Wait for a run in a process of its own; its exit code. What tells this process to end tells it too: it saves."""

    def pass_on(number: int, frame: object) -> None:
        child.send_signal(number)

    alone = [each for name in ("SIGTERM", "SIGUSR1") if (each := getattr(signal, name, None))]  # Ctrl-C reaches both
    before = {each: signal.signal(each, pass_on) for each in alone}
    try:
        return child.wait()
    except KeyboardInterrupt:
        return child.wait()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def check_student(config: DictConfig, becomes_teacher: bool) -> None:
    """Raises UserError where the student would not fit, though its teacher is not tuned yet.

    becomes_teacher: the model learns its null branch only in being tuned.
    """
    untaught = config.copy()
    if becomes_teacher:
        untaught.adapter.cfg_coef = 1
    experiment_from(untaught).adapter_factory()


def taught_by(export: Path, config: DictConfig) -> DictConfig:
    """The student's configuration, with the tuned teacher as its model."""
    own = config.copy()
    with open_dict(own):
        own.adapter.model, own.adapter.local_dir, own.teacher = str((export / "config.yaml").absolute()), None, None
    return own


def train_job(config: DictConfig) -> float | None:
    """One job of a sweep; None where it failed, which its record says."""
    sweep, overrides, value = sweep_of(config), job_overrides(), str(config.sweep_value)
    try:
        settings = settings_fingerprint(plain(config))
    except UserError:  # a value is missing: the job will say so
        settings = settings_fingerprint({"overrides": overrides})

    def train_in(run_dir: Path, resume: bool) -> None:
        check_value_is_measured(value, config.evaluation.num_sentences, config.evaluation.opinion_scores)
        train_one(job_config(config, run_dir, resume))

    return work(sweep, settings, overrides, job_number(), value, train_in)


def main() -> None:
    """Run Hydra on the command line: one run, or with -m a sweep."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach the handlers below, which say them in one sentence
    arguments, folder = sweep_arguments(tidy_arguments(sys.argv[1:]))
    check_value_name(override_of(arguments, "sweep_value") or RESIDUAL)
    sys.argv[1:] = arguments
    faults.clear()
    try:
        if folder is None:
            train()
        else:
            train_all(Sweep(folder))
    except CONFIG_ERRORS as error:
        exit_with(config_error_sentence(error, arguments))
    except KeyboardInterrupt as interruption:
        if not interruption.args:
            print("interrupted before anything was trained", file=sys.stderr)
            raise SystemExit(130) from None
        print(interruption)
    for fault in faults:
        raise fault


def train_all(sweep: Sweep) -> None:
    """All jobs of a sweep, wherever its launcher runs them."""
    sweep.check()
    is_new = not sweep.exists
    try:
        with signals_stop(sweep):
            train()
    except CONFIG_ERRORS:
        if is_new and sweep.exists:
            sweep.withdraw()
        raise
    except (KeyboardInterrupt, SweepStopped):
        if not sweep.exists:
            raise
        raise KeyboardInterrupt(line_that_continues([*words_of("train"), *map(as_typed, sys.argv[1:])])) from None
    except Exception:
        # A job's process that was killed, or a study of which all trials failed: what is known of the jobs says more.
        if not sweep.exists or all(job.status == FINISHED for job in sweep.jobs_of_this_call()):
            raise
        if all(job.status != FAILED for job in sweep.jobs_of_this_call()):
            traceback.print_exc()
    say_how_it_ended(sweep)


if __name__ == "__main__":
    run_script(main)
