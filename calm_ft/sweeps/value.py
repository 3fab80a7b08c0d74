"""The one number that a sweep asks of each run, and the Optuna study that searches by it.

The number is `residual` (the tuned model's validation residual), `base_voices_residual`, or any figure of the final
evaluation, by the names of `calm_ft.metrics.registry.FIGURES`. In a run.json:

    value                                           residual
    residuals.base_voices.tuned                     base_voices_residual
    evaluation.systems.tuned.metrics.NAME.mean      figures of the final evaluation
    evaluation.systems.tuned.counts                 runaway, silent, truncated: counts of all `utterances`

Runs of earlier versions kept them under `figures`; they can still be read.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from calm_ft.errors import UserError

RESIDUAL, BASE_VOICES = "residual", "base_voices_residual"
_EARLIER_NAMES = {"sentence_identified": "sentence_id", "voice_identified": "voice_id"}
_EARLIER_SYSTEM = "tuned, tuned voice"


def directions() -> dict[str, Literal["lower", "higher"]]:
    """Figure -> which way is better, of all figures that have such a way."""
    from calm_ft.metrics.registry import FIGURES  # late: it takes torch, and --help answers at once

    return {name: figure.direction for name, figure in FIGURES.items() if figure.direction != "none"}


def check_value_name(name: str) -> None:
    """Raises UserError for a name that no run has."""
    known = [RESIDUAL] if name == RESIDUAL else sorted(directions())
    if name not in known:
        raise UserError(f"sweep_value={name} is no figure of a run: choose one of {', '.join(known)}.")


def check_value_is_measured(name: str, num_sentences: int, opinion_scores: bool) -> None:
    """Raises UserError where runs of these evaluation settings will not measure the figure."""
    from calm_ft.metrics.registry import OPINIONS

    if name in (RESIDUAL, BASE_VOICES):
        return
    if num_sentences == 0:
        raise UserError(
            f"sweep_value={name} is measured on spoken sentences, of which evaluation.num_sentences=0 leaves none: "
            "raise it, or choose sweep_value=residual."
        )
    if name in OPINIONS and not opinion_scores:
        raise UserError(f"sweep_value={name} needs evaluation.opinion_scores=true.")


def optuna_direction(name: str) -> Literal["minimize", "maximize"]:
    return "maximize" if name != RESIDUAL and directions()[name] == "higher" else "minimize"


def value_of(run_dir: Path, name: str) -> float:
    """The figure of a finished run.

    Raises UserError where the run did not measure it.
    """
    record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    value = _find(record, name)
    if value is None:
        raise UserError(
            f"{run_dir} has no figure {name}, which sweep_value asks for: choose another, or settings of evaluation by "
            "which it is measured."
        )
    return value


def _find(record: Mapping[str, Any], name: str) -> float | None:
    if name == RESIDUAL:
        return _number(record.get("value"))
    if name == BASE_VOICES:
        found = _number(_at(record, "residuals", "base_voices", "tuned"))
        return _number(_at(record, "figures", "base_voices", "residual", "tuned")) if found is None else found
    if "evaluation" not in record:
        return _find_earlier(record, name)
    tuned = _at(record, "evaluation", "systems", "tuned")
    count, num_clips = _at(tuned, "counts", name), _at(tuned, "counts", "utterances")
    if isinstance(count, int) and isinstance(num_clips, int) and num_clips > 0:
        return count / num_clips
    return _number(_at(tuned, "metrics", name))


def _find_earlier(record: Mapping[str, Any], name: str) -> float | None:
    """Of a run that was made before run.json had the result of its final evaluation."""
    evaluated = _number(_at(record, "figures", "evaluation", "tuned", name))
    judged = _at(record, "figures", "scores", _EARLIER_SYSTEM, _EARLIER_NAMES.get(name, name))
    return _number(judged) if evaluated is None else evaluated


def _number(figure: Any) -> float | None:
    """A plain figure, one with its uncertainty ({"mean": ...}), or a residual among its parts."""
    value = figure.get("mean", figure.get("residual")) if isinstance(figure, dict) else figure
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _at(content: Any, *keys: str) -> Any:
    """What nested mappings hold under keys; None where they do not."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def reopen(name: str, storage: str) -> int:
    """Prepare an Optuna study that was left for its next start; returns how many of its trials gave a value.

    Trials that no process runs any more are ended, and the settings of all that gave no value are asked for again
    before any new ones: by them the sweep finds their jobs and continues them.
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
