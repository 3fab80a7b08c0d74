"""What each run was: the settings by which runs differ, and its data, cost and size."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calm_ft.report.figures import NOT_AVAILABLE, number, quantity
from calm_ft.report.page.scrub import Scrubber
from calm_ft.report.runs import Run

NUM_SETTINGS_SHOWN = 5
_SAYS_NOTHING = ("output_dir", "resume", "hydra", "logger", "sweep_value", "data.cache_dir")
_NONE = "–"
_MEMORY = ("memory/peak_gpu_mb", "memory/peak_rss_mb")


@dataclass(frozen=True)
class Legend:
    """Settings by which runs differ, and for each run's letter their values; those in `folded` matter less."""

    shown: tuple[str, ...]
    folded: tuple[str, ...]
    values: Mapping[str, Mapping[str, str]]


def legend(runs: Sequence[Run], scrub: Scrubber) -> Legend:
    """The settings that are not the same in all runs: first what was typed when they were started, then all others."""
    flat = {run.letter: _flat(run.config) for run in runs}
    keys = dict.fromkeys(key for settings in flat.values() for key in settings)
    columns = {key: tuple(settings.get(key, _NONE) for settings in flat.values()) for key in keys}
    differing = [key for key, column in columns.items() if len(set(column)) > 1 and not key.startswith(_SAYS_NOTHING)]
    differing = [key for key in differing if not _is_repeated(key, columns)]
    typed = dict.fromkeys(key for run in runs for key in _typed(run))
    first: list[str] = [key for key in ("experiment_name", "strategy") if key in differing]
    first += [key for key in typed if key in differing and key not in first]
    shown = (first or differing)[:NUM_SETTINGS_SHOWN]
    folded = [key for key in differing if key not in shown]
    values = {letter: {key: scrub(row.get(key, _NONE)) for key in differing} for letter, row in flat.items()}
    return Legend(tuple(shown), tuple(folded), values)


def setting_title(key: str) -> str:
    """A setting's name as a heading."""
    return "experiment" if key == "experiment_name" else key


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names to short texts; a class that is chosen stands under the name of its group."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if key == "_target_":
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = _short(value)
    return found


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _is_repeated(key: str, columns: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a shorter name says the same: adapter.objective.lsd_weight is objective.lsd_weight."""
    parts = key.split(".")
    return any(columns.get(".".join(parts[start:])) == columns[key] for start in range(1, len(parts)))


def _typed(run: Run) -> list[str]:
    told = run.record.get("overrides")
    typed = [each for each in told if isinstance(each, str)] if isinstance(told, list) else []
    return [each.lstrip("+~").partition("=")[0].partition("@")[0] for each in typed]


def fact_rows(runs: Sequence[Run], scrub: Scrubber) -> list[tuple[str, list[str]]]:
    """(title, one text a run); what a run did not record is n/a."""
    rows: dict[str, Callable[[Run], object]] = {
        "folder": lambda run: run.name,
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
        "size of the export": lambda run: quantity(export_bytes(run), "B"),
        **_speeds(runs),
        **_residuals(runs),
        "version of the code": lambda run: run.record.get("code"),
    }
    return [(title, [_text(fact(run), scrub) for run in runs]) for title, fact in rows.items()]


def _speeds(runs: Sequence[Run]) -> dict[str, Callable[[Run], object]]:
    def speed(system: str) -> Callable[[Run], object]:
        return lambda run: _with_unit(run.result.systems[system].rtf if system in run.result.systems else None, "s")

    systems = dict.fromkeys(name for run in runs for name, each in run.result.systems.items() if each.rtf is not None)
    return {f"time to speak one second, {system}": speed(system) for system in systems}


def _residuals(runs: Sequence[Run]) -> dict[str, Callable[[Run], object]]:
    def change(title: str) -> Callable[[Run], object]:
        def told(run: Run) -> str | None:
            values = run.residuals.get(title, {})
            return " to ".join(number(values[each]) for each in ("base", "tuned") if each in values) or None

        return told

    titles = dict.fromkeys(title for run in runs for title in run.residuals)
    return {f"{title}, base to tuned": change(title) for title in titles}


def trained_parameters(run: Run) -> float | None:
    """How many numbers training moved."""
    return _plain_number(run.record.get("num_trained_parameters"))


def training_sec(run: Run) -> float | None:
    """Seconds of training."""
    return _plain_number(run.record.get("training_sec"))


def export_bytes(run: Run) -> float | None:
    """The bytes of all files of the export; None where there is none."""
    sizes = [path.stat().st_size for path in (run.folder / "export").rglob("*") if path.is_file()]
    return float(sum(sizes)) if sizes else None


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
