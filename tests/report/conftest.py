"""Pages of several runs, made once."""

from pathlib import Path

import pytest

from calm_ft.report.page.compare import compare_runs
from tests.report.page.made_runs import add_evaluation, make_run

NUM_RUNS, NUM_SENTENCES = 4, 8


@pytest.fixture(scope="session")
def evaluated_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four evaluated runs of eight sentences; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [make_run(folder / f'run "{number}" <i>&', NUM_SENTENCES, number) for number in range(NUM_RUNS)]
    return [add_evaluation(run, number=number) for number, run in enumerate(runs)]


@pytest.fixture(scope="session")
def page(evaluated_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of these runs."""
    return compare_runs(evaluated_runs, tmp_path_factory.mktemp("page") / "page.html").path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An evaluated run of two sentences, to be changed."""
    return add_evaluation(make_run(tmp_path / "run"))
