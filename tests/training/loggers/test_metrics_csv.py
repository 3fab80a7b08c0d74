"""metrics.csv is whole at any moment, and a resumed run's is the uninterrupted one's."""

import csv
from pathlib import Path

import pytest
import torch

from calm_ft.errors import UserError
from calm_ft.training.loggers import CsvOnly, MetricsCsv, ResumedLogs


def log(metrics: MetricsCsv, steps: range) -> None:
    """A row of training each step, and one of validation every second."""
    for step in steps:
        metrics.log_metrics({"train/loss": 1 / step, "train/lr": torch.tensor(0.5) / step}, step)
        if step % 2 == 0:
            metrics.log_metrics({"val/residual": 1 / (step + 1)}, step)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


def test_two_stretches_give_the_rows_of_one(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    log(MetricsCsv(whole), range(1, 9))
    log(MetricsCsv(resumed), range(1, 7))  # its last checkpoint was made at step 4
    log(MetricsCsv(resumed, resumed_step=4), range(5, 9))
    assert len(rows(whole)) == 12
    assert resumed.read_text() == whole.read_text()


@pytest.mark.parametrize("num_bytes", [1, 5, 12])
def test_a_row_torn_by_a_kill_is_dropped(tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "metrics.csv"
    log(MetricsCsv(path), range(1, 4))
    content = path.read_bytes()
    path.write_bytes(content[:-num_bytes])
    MetricsCsv(path, resumed_step=3)
    assert path.read_bytes() == content[: content.rstrip(b"\n").rindex(b"\n") + 1]


def test_each_row_is_on_the_disk_when_it_was_logged(tmp_path: Path) -> None:
    metrics = MetricsCsv(tmp_path / "metrics.csv")
    for step in range(1, 4):
        metrics.log_metrics({"train/loss": step}, step)
        assert [row["step"] for row in rows(metrics.path)] == [str(n) for n in range(1, step + 1)]


def test_a_later_column_leaves_earlier_rows_as_they_were(tmp_path: Path) -> None:
    metrics = MetricsCsv(tmp_path / "metrics.csv")
    metrics.log_metrics({"train/loss": 0.1 + 0.2}, 1)
    metrics.log_metrics({"train/loss": 0.5, "val/flow": 2.0}, 2)
    assert metrics.path.read_text() == "step,train/loss,val/flow\n1,0.30000000000000004,\n2,0.5,2.0\n"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_run_that_lost_its_file_begins_another(tmp_path: Path) -> None:
    log(MetricsCsv(tmp_path / "metrics.csv", resumed_step=4), range(5, 6))
    assert [row["step"] for row in rows(tmp_path / "metrics.csv")] == ["5"]


def test_a_strange_file_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("name,price\napple,1\n")
    with pytest.raises(UserError, match=r"metrics\.csv"):
        MetricsCsv(path, resumed_step=1)
    assert path.read_text() == "name,price\napple,1\n"


def test_an_empty_file_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    with pytest.raises(UserError, match=r"metrics\.csv"):
        MetricsCsv(tmp_path / "metrics.csv", resumed_step=1)


def test_the_choice_without_trackers_writes_straight_into_the_runs_folder(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,0.5\n2,0.25\n")
    (metrics,) = CsvOnly().build(tmp_path, {}, {}, ResumedLogs(1))
    metrics.log_metrics({"train/loss": 0.125}, 2)
    assert (tmp_path / "metrics.csv").read_text() == "step,train/loss\n1,0.5\n2,0.125\n"
