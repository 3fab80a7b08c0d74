"""The one number that a sweep asks of a run: its residual, or a figure of its evaluation or final judgement.

Names are `residual`, those of an evaluation (`cer`, `mcd_db`, ...: run.json's figures.evaluation.tuned), and those of
the judgement (run.json's figures.scores, tuned voice). Where both know a name, the evaluation's is taken.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from calm_ft.errors import UserError

RESIDUAL, BASE_VOICES = "residual", "base_voices_residual"
JUDGED = {"mcd_db": "lower", "sentence_id": "higher", "voice_id": "higher", "num_not_ended": "lower"}
EVALUATED = {
    **dict.fromkeys(("wer", "cer", "log_f0_rmse", "voicing_error", "clipped_share"), "lower"),
    **dict.fromkeys(("runaway", "silent", "truncated"), "lower"),
    **dict.fromkeys(("speaker_similarity_wavlm", "speaker_similarity_resemblyzer", "utmos"), "higher"),
    **dict.fromkeys(("dnsmos_overall", "dnsmos_signal", "dnsmos_background", "sentence_identified"), "higher"),
}
DIRECTIONS = {RESIDUAL: "lower", BASE_VOICES: "lower", **JUDGED, **EVALUATED}
_TUNED = "tuned, tuned voice"


def check_value_name(name: str) -> None:
    """Raises UserError for a name that no run has."""
    if name not in DIRECTIONS:
        raise UserError(f"sweep_value={name} is no figure of a run: choose one of {', '.join(sorted(DIRECTIONS))}.")


def optuna_direction(name: str) -> Literal["minimize", "maximize"]:
    return "maximize" if DIRECTIONS[name] == "higher" else "minimize"


def value_of(run_dir: Path, name: str) -> float:
    """The figure of a finished run.

    Raises UserError where the run did not measure it.
    """
    record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    value = _find(record, name)
    if value is None:
        raise UserError(
            f"{run_dir} has no figure {name}, which sweep_value asks for: the run did not measure it; choose another, "
            "or let its evaluation measure it."
        )
    return value


def _find(record: Mapping[str, Any], name: str) -> float | None:
    if name == RESIDUAL:
        return _number(record.get("value"))
    figures = _part(record, "figures")
    if name == BASE_VOICES:
        return _number(_part(_part(figures, "base_voices"), "residual").get("tuned"))
    evaluated = _number(_part(_part(figures, "evaluation"), "tuned").get(name))
    return _number(_part(_part(figures, "scores"), _TUNED).get(name)) if evaluated is None else evaluated


def _number(figure: Any) -> float | None:
    """A plain figure, or one with its uncertainty ({"mean": ...})."""
    value = figure.get("mean") if isinstance(figure, dict) else figure
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _part(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = content.get(key)
    return part if isinstance(part, dict) else {}
