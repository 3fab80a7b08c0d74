"""The folders of runs, read whole before anything is drawn, so that a damaged one leaves no page."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from calm_ft.errors import UserError
from calm_ft.report.page.figures import Curve, Run
from calm_ft.report.page.labels import labelled
from calm_ft.report.page.plain_json import Source
from calm_ft.report.page.read_evaluation import read_evaluation
from calm_ft.report.page.unevaluated import from_training

_REMEDY = "put the run's own one back, or leave that run out."


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in the order given.

    Raises UserError where none or the same folder is given twice, one is not a run, or a file of one is damaged.
    """
    if not folders:
        raise UserError("there is nothing to compare: pass the folders of one or more runs.")
    resolved = [folder.resolve() for folder in folders]
    for number, folder in enumerate(resolved):
        if folder in resolved[:number]:
            raise UserError(f"{folders[number]} is given twice: pass each run once.")
    return labelled([_read_run(name, folder) for name, folder in zip(names_of(resolved), folders, strict=True)])


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart: of a/run and b/run both parts, of a/x and a/y the last."""
    longest = max(len(folder.parts) for folder in folders)
    for num_parts in range(1, longest + 1):
        names = ["/".join(folder.parts[-num_parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths have different names")


def _read_run(name: str, folder: Path) -> Run:
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is not a run's folder (it has no run.json): pass the output_dir of a run.")
    source = Source(folder / "run.json", _REMEDY)
    record = source.mapping()
    evaluation = read_evaluation(folder) or from_training(folder, source, record)
    return Run(name, folder, record, _config(folder / "config.yaml"), _curves(folder / "metrics.csv"), evaluation)


def _config(path: Path) -> dict[str, Any]:
    """The configuration; a run that was killed at its start may have none."""
    if not path.is_file():
        return {}
    source = Source(path, _REMEDY)
    try:
        content = yaml.safe_load(source.text())
    except yaml.YAMLError as error:
        raise source.damaged("it is not YAML") from error
    if not isinstance(content, dict):
        raise source.damaged("it holds no settings")
    return content


def _curves(path: Path) -> dict[str, Curve]:
    """The columns of metrics.csv that hold finite numbers; empty cells and what is no number are passed over."""
    if not path.is_file():
        return {}
    source = Source(path, _REMEDY)
    reader = csv.DictReader(source.text().splitlines())
    if "step" not in (reader.fieldnames or ()):
        raise source.damaged("it has no column step")
    points: dict[str, dict[float, float]] = {}
    try:
        rows = list(reader)
    except csv.Error as error:
        raise source.damaged("it is not CSV") from error
    for row in rows:
        values = {name: _finite(cell) for name, cell in row.items() if isinstance(name, str)}
        step = values.pop("step", None)
        for name, value in values.items():
            if step is not None and value is not None:
                points.setdefault(name, {})[step] = value
    return {name: tuple(sorted(column.items())) for name, column in points.items()}


def _finite(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
