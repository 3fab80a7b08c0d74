"""An Optuna study that was left: its unfinished and failed trials are asked for again, before any new one.

They come with the same settings, by which the sweep finds their jobs and continues them.
"""


def reopen(name: str, storage: str) -> int:
    """End the trials that no process runs any more, and enqueue the settings of all that gave no value.

    Returns how many trials gave one; 0 where the study was never begun.
    """
    import optuna  # late: only sweeps that search need it
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return 0
    trials = study.get_trials(deepcopy=False)
    done = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    settled = [*done, *(t.system_attrs.get("fixed_params") for t in trials if t.state == TrialState.WAITING)]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params not in settled:
            study.enqueue_trial(trial.params)
            settled.append(trial.params)
    return len(done)
