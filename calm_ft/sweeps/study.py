"""An Optuna study that was left: its unfinished and failed trials are asked for again, before any new one.

They come with the same settings, by which the sweep finds their jobs and continues them.
"""

from contextlib import suppress
from typing import Any


def reopen(name: str, storage: str) -> None:
    """End the trials that no process runs any more, and enqueue the settings of all that gave no value."""
    study = _load(name, storage)
    if study is None:
        return
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    settled = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    settled += [trial.system_attrs.get("fixed_params", {}) for trial in trials if trial.state == TrialState.WAITING]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params not in settled:
            study.enqueue_trial(trial.params)
            settled.append(trial.params)


def finished_trials(name: str, storage: str) -> int:
    """How many trials gave a value."""
    study = _load(name, storage)
    if study is None:
        return 0
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _load(name: str, storage: str) -> Any:
    """The study; None where it was never begun."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with suppress(KeyError):
        return optuna.load_study(study_name=name, storage=storage)
    return None
