"""What each run was: its settings, data, cost and size, and whether runs can be compared at all."""

from collections.abc import Callable, Sequence
from typing import Any

from calm_ft.report.page.figures import TUNED, Run
from calm_ft.report.page.wording import NOT_AVAILABLE, Scrubber, number, quantity

_FINGERPRINTS = {"data_fingerprint": "data", "validation_fingerprint": "split"}
_MEMORY = ("memory/peak_gpu_mb", "memory/peak_rss_mb")


def fact_rows(runs: Sequence[Run], scrub: Scrubber) -> list[tuple[str, list[str]]]:
    """(title, one text a run); what a run did not record is n/a."""
    rows: dict[str, Callable[[Run], object]] = {
        "status": lambda run: run.record.get("status"),
        "experiment": lambda run: run.config.get("experiment_name"),
        "strategy": _strategy,
        "model": lambda run: run.record.get("model"),
        "seed": lambda run: run.record.get("seed"),
        "steps": _steps,
        "training clips": lambda run: _clips(run, "train"),
        "validation clips": lambda run: _clips(run, "validation"),
        "data fingerprint": lambda run: run.record.get("data_fingerprint"),
        "split fingerprint": lambda run: run.record.get("validation_fingerprint"),
        "trained parameters": _parameters,
        "training time": lambda run: _with_unit(training_sec(run), "s"),
        "step time": lambda run: _with_unit(_last(run, "train/step_sec"), "s"),
        "peak memory": _peak_memory,
        "export": lambda run: quantity(export_bytes(run), "B"),
        "code": lambda run: run.record.get("code"),
    }
    return [(title, [_text(fact(run), scrub) for run in runs]) for title, fact in rows.items()]


def trained_parameters(run: Run) -> float | None:
    return _plain_number(run.record.get("num_trained_parameters"))


def training_sec(run: Run) -> float | None:
    return _plain_number(run.record.get("training_sec"))


def export_bytes(run: Run) -> float | None:
    """The bytes of all files of the export; None where there is none."""
    sizes = [path.stat().st_size for path in (run.folder / "export").rglob("*") if path.is_file()]
    return float(sum(sizes)) if sizes else None


def why_not_comparable(runs: Sequence[Run]) -> list[str]:
    """One sentence for each fingerprint that the runs do not share; empty where all trained on the same."""
    sentences = []
    for key, what in _FINGERPRINTS.items():
        groups: dict[str, list[str]] = {}
        for run in runs:
            groups.setdefault(str(run.record.get(key) or "unknown"), []).append(run.name)
        if len(groups) > 1 or (len(runs) > 1 and "unknown" in groups):
            named = "; ".join(f"{', '.join(names)}: {fingerprint}" for fingerprint, names in groups.items())
            sentences.append(f"The runs are not known to have the same {what} ({key}): {named}.")
    return sentences


def said_the_same(runs: Sequence[Run]) -> bool:
    """Whether all were evaluated and their tuned models said the same sentences, whatever they trained on."""
    said = [
        {(each.index, each.text) for each in run.evaluation.utterances if each.system == TUNED}
        for run in runs
        if run.evaluation.was_evaluated
    ]
    return len(said) == len(runs) and all(each and each == said[0] for each in said)


def protocols_differ(runs: Sequence[Run], scrub: Callable[[object], str]) -> str | None:
    """A sentence where runs were evaluated in different ways; the model is what is compared, so it may differ."""
    evaluated = [run for run in runs if run.evaluation.was_evaluated]
    differing = []
    for key in dict.fromkeys(key for run in evaluated for key in run.evaluation.protocol if key != "model"):
        groups: dict[str, list[str]] = {}
        for run in evaluated:
            groups.setdefault(scrub(run.evaluation.protocol.get(key, NOT_AVAILABLE)), []).append(run.name)
        if len(groups) > 1:
            differing.append(f"{key}: " + "; ".join(f"{', '.join(names)}: {value}" for value, names in groups.items()))
    return f"The runs were not all evaluated in the same way ({' / '.join(differing)})." if differing else None


def _strategy(run: Run) -> str | None:
    settings = run.config.get("strategy")
    if not isinstance(settings, dict):
        return None
    name = str(settings.get("_target_", "")).rpartition(".")[2]
    plain = {key: value for key, value in settings.items() if isinstance(value, int | float) and key != "_target_"}
    shown = ", ".join(f"{key}={value:g}" for key, value in plain.items())
    return f"{name} ({shown})" if shown else name


def _steps(run: Run) -> str | None:
    steps, best = run.record.get("num_steps"), run.record.get("checkpoint_step")
    return None if steps is None else f"{steps} (exported: {best})"


def _clips(run: Run, which: str) -> str | None:
    num, seconds = run.record.get(f"num_{which}_clips"), _plain_number(run.record.get(f"{which}_sec"))
    return None if num is None or seconds is None else f"{num} ({seconds / 60:.1f} min)"


def _parameters(run: Run) -> str:
    trained, num_all = trained_parameters(run), _plain_number(run.record.get("num_parameters"))
    share = f" of {quantity(num_all)} ({trained / num_all:.1%})" if trained is not None and num_all else ""
    return f"{quantity(trained)}{share}"


def _peak_memory(run: Run) -> str:
    name = next((name for name in _MEMORY if name in run.curves), None)
    peak = None if name is None else _last(run, name)
    where = "GPU" if name == _MEMORY[0] else "process"
    return NOT_AVAILABLE if peak is None else f"{quantity(peak * 2**20, 'B')} ({where})"


def _last(run: Run, name: str) -> float | None:
    curve = run.curves.get(name)
    return curve[-1][1] if curve else None


def _with_unit(value: float | None, unit: str) -> str:
    return NOT_AVAILABLE if value is None else f"{number(value)} {unit}"


def _plain_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return float(value) if is_number else None


def _text(fact: object, scrub: Scrubber) -> str:
    return NOT_AVAILABLE if fact is None else scrub(fact)
