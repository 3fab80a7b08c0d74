"""Which jobs of a sweep are trained, and in which folders; training itself is a file that says it happened."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from calm_ft.config import compose_config, plain
from calm_ft.errors import UserError
from calm_ft.sweeps.folder import Sweep, settings_fingerprint
from calm_ft.sweeps.work import say_how_it_ended, work


class Bench:
    """A sweep in one process, and what was trained: (folder's name, resumed)."""

    def __init__(self, folder: Path) -> None:
        self.sweep = Sweep(folder)
        self.trained: list[tuple[str, bool]] = []

    def start(self, *jobs: dict[str, Any], fault: Callable[[], None] = lambda: None) -> list[float | None]:
        """Begin the sweep with jobs of these settings; their values."""
        self.sweep.begin(["train.py", "-m"])
        self.trained.clear()
        return [self._do(number, settings, fault) for number, settings in enumerate(jobs)]

    def _do(self, number: int, settings: dict[str, Any], fault: Callable[[], None]) -> float | None:
        def train(run_dir: Path, resume: bool) -> None:
            self.trained.append((run_dir.name, resume))
            run_dir.mkdir(exist_ok=True)
            (run_dir / "config.yaml").write_text(yaml.safe_dump({**settings, "output_dir": str(run_dir)}))
            (run_dir / "run.json").write_text('{"status": "failed"}')
            fault()
            (run_dir / "run.json").write_text(json.dumps({"status": "finished", "value": settings["lr"]}))

        overrides = [f"lr={settings['lr']}"]
        return work(self.sweep, settings_fingerprint(settings), overrides, number, "residual", train)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "sweep")


def _lr(value: float) -> dict[str, Any]:
    return {"lr": value}


def _user_fault() -> None:
    raise UserError("no recordings")


def test_finished_jobs_are_skipped_and_keep_their_values(bench: Bench) -> None:
    assert bench.start(_lr(0.1), _lr(0.2)) == [0.1, 0.2]
    assert bench.trained == [("sweep-0", False), ("sweep-1", False)]
    assert bench.start(_lr(0.1), _lr(0.2)) == [0.1, 0.2]
    assert bench.trained == []
    assert [job.plan for job in bench.sweep.jobs_of_this_call()] == ["skipped", "skipped"]


def test_a_changed_sweep_trains_what_is_new_beside_what_there_is(bench: Bench) -> None:
    bench.start(_lr(0.1), _lr(0.2))
    assert bench.start(_lr(0.3), _lr(0.1), _lr(0.2)) == [0.3, 0.1, 0.2]
    assert bench.trained == [("sweep-2", False)]


def test_a_failed_job_gives_no_value_ends_no_other_and_is_resumed_by_the_next_start(bench: Bench) -> None:
    assert bench.start(_lr(0.1), fault=_user_fault) == [None]
    assert bench.start(_lr(0.1), _lr(0.2)) == [0.1, 0.2]
    assert bench.trained == [("sweep-0", True), ("sweep-1", False)]


def test_a_finished_run_of_other_settings_is_never_taken_for_a_job(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.start(_lr(0.1))
    (bench.sweep.folder.parent / "sweep-0" / "config.yaml").write_text("lr: 0.7")
    assert bench.start(_lr(0.1)) == [None]
    assert bench.trained == []
    assert "holds a run of other settings" in capsys.readouterr().out


def test_a_run_whose_folder_was_removed_is_trained_again(bench: Bench) -> None:
    bench.start(_lr(0.1))
    (bench.sweep.folder.parent / "sweep-0" / "run.json").unlink()
    assert bench.start(_lr(0.1)) == [0.1]
    assert bench.trained == [("sweep-0", False)]


def test_a_run_without_the_value_that_is_asked_for_is_a_failed_job(bench: Bench) -> None:
    assert bench.start({"lr": float("nan")}) == [None]
    assert bench.sweep.jobs()[0].is_users_fault


def test_where_the_run_lies_and_who_watches_it_are_not_its_settings() -> None:
    one = {"lr": 0.1, "output_dir": "a", "resume": False, "logger": {"group": None}, "sweep_value": "residual"}
    other = {"lr": 0.1, "output_dir": "b", "resume": True, "logger": {"group": "x"}, "sweep_value": "mcd_db"}
    assert settings_fingerprint(one) == settings_fingerprint(other) != settings_fingerprint(_lr(0.2))


def test_a_job_is_called_by_what_the_command_does_not_set_for_all(bench: Bench) -> None:
    bench.sweep.begin(["train.py", "-m", "lr=1e-1,2", "trainer.fast=true", "x=tag(log,interval(1,2))"])
    overrides = ["lr=0.1", "++trainer.fast=True", "x=1.5", "from_a_file=3"]
    assert bench.sweep.claim("a", overrides, 0).label == "lr=0.1 x=1.5 from_a_file=3"


def _claimed(folder: Path, setting: int) -> int:
    return Sweep(folder).claim(str(setting % 20), [], 0).number


def test_processes_that_ask_at_once_get_one_folder_for_each_setting(bench: Bench) -> None:
    bench.sweep.begin([])
    with ProcessPoolExecutor(4) as pool:
        numbers = list(pool.map(_claimed, [bench.sweep.folder] * 40, range(40)))
    assert sorted(numbers[:20]) == list(range(20))
    assert numbers[20:] == numbers[:20]


@pytest.mark.parametrize(("is_bug", "code"), [(False, 2), (True, 1)])
def test_the_last_line_names_the_failed_jobs_and_the_code_whose_fault_it_was(
    bench: Bench, is_bug: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault() -> None:
        if bench.trained[-1][0] == "sweep-1":
            raise RuntimeError("a bug") if is_bug else UserError("no recordings")

    bench.start(_lr(0.1), _lr(0.2), fault=fault)
    with pytest.raises(SystemExit if is_bug else UserError) as ended:
        say_how_it_ended(bench.sweep)
    said = capsys.readouterr().err if is_bug else str(ended.value)
    assert "1 of 2 jobs failed" in said
    assert "sweep-1 (lr=0.2)" in said
    assert "sweep-0" not in said
    assert code == (ended.value.code if isinstance(ended.value, SystemExit) else 2)


def test_every_setting_makes_another_job_but_where_it_lies_and_who_watches() -> None:
    config = plain(compose_config([]))
    changed = {key for key in config if settings_fingerprint({**config, key: "other"}) != settings_fingerprint(config)}
    assert config.keys() - changed == {"output_dir", "resume", "logger", "sweep_value"}
