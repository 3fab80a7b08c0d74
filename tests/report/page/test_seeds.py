"""Runs that differ in their seeds alone, and what runs are called."""

from pathlib import Path
from typing import Any

from calm_ft.report.page.compare import MAX_RUNS_HEARD, runs_heard
from calm_ft.report.page.figures import TUNED, Evaluation, Metric, Run, System
from calm_ft.report.page.labels import labelled
from calm_ft.report.page.seeds import seed_table


def _run(name: str, seed: int, lr: float, mcd: float | None, overrides: tuple[str, ...] = ()) -> Run:
    config: dict[str, Any] = {"seed": seed, "output_dir": name, "optimizer": {"lr": lr}}
    tuned = System({"mcd": Metric(mcd, unit="dB", direction="lower")})
    record = {"overrides": [*overrides, f"output_dir={name}"]}
    return Run(name, Path(name), record, config, {}, Evaluation({TUNED: tuned}, ()))


def test_means_and_ranges_over_seeds_are_those_of_the_runs() -> None:
    runs = [_run("a", 0, 0.1, 7.0), _run("b", 0, 0.2, 6.0), _run("c", 1, 0.1, 8.0), _run("d", 2, 0.1, 7.5)]
    table = seed_table(runs)
    assert table is not None
    assert [(row.runs, row.seeds) for row in table.rows] == [("a, c, d", "0, 1, 2"), ("b", "0")]
    assert [row.cells for row in table.rows] == [(("7.50", "7.00 to 8.00, 3 seeds"),), (("6.00", "1 seed"),)]


def test_a_seed_without_the_figure_is_not_counted() -> None:
    table = seed_table([_run("a", 0, 0.1, 7.0), _run("b", 1, 0.1, None), _run("c", 2, 0.1, 8.0)])
    assert table is not None
    assert table.rows[0].cells == (("7.50", "7.00 to 8.00, 2 seeds"),)


def test_runs_of_one_seed_have_no_such_table() -> None:
    assert seed_table([_run("a", 0, 0.1, 7.0), _run("b", 0, 0.2, 6.0)]) is None


def test_many_runs_are_heard_one_of_each_setting_first() -> None:
    runs = [_run(f"{lr}-{seed}", seed, lr, 7.0) for lr in range(5) for seed in range(3)]
    heard = [run.name for run in runs_heard(runs)]
    assert len(heard) == MAX_RUNS_HEARD
    assert {f"{lr}-0" for lr in range(5)} <= set(heard)


def test_runs_are_called_by_the_overrides_in_which_they_differ() -> None:
    one = _run("x-0", 0, 0.1, 7.0, ("++trainer.max_steps=2", "strategy=full", "seed=0"))
    other = _run("x-1", 1, 0.1, 7.0, ("++trainer.max_steps=2", "strategy=full", "seed=1"))
    assert [run.name for run in labelled([one, other])] == ["x-0 (seed=0)", "x-1 (seed=1)"]
    assert [run.name for run in labelled([one])] == ["x-0"]


def test_long_numbers_of_a_search_are_shortened_and_typed_ones_are_not() -> None:
    drawn = _run("x-0", 0, 0.1, 7.0, ("optimizer.lr=0.0008609071385778796", "strategy=full"))
    typed = _run("x-1", 0, 0.1, 7.0, ("optimizer.lr=1.25e-4", "strategy=full"))
    assert [run.name for run in labelled([drawn, typed])] == [
        "x-0 (optimizer.lr=0.0008609)",
        "x-1 (optimizer.lr=1.25e-4)",
    ]
