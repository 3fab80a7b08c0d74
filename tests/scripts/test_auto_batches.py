"""Runs whose batches are found by trial are those to which the number found is given, also when they are resumed."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from calm_ft.training import run as training_run
from tests.scripts.test_data_parallel import last, train
from tests.training.tiny_run import assert_same, run_train

AUTO = "data.max_frames_per_batch=auto"
LENGTHENED = ["optimizer/schedule=constant", "evaluation.num_sentences=0", "trainer.val_check_interval=2"]


def found(run_dir: Path) -> int:
    return int(json.loads((run_dir / "run.json").read_text())["max_frames_per_batch"])


def losses(run_dir: Path) -> list[str]:
    with (run_dir / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["head_only", "full"])
def test_a_run_has_the_bits_of_one_to_which_the_number_is_given_and_keeps_it_when_resumed(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    experiment: str,
) -> None:
    def run(name: str, *overrides: str) -> Path:
        place = [f"data.path={recordings_dir}", f"output_dir={tmp_path / name}"]
        assert run_train(monkeypatch, *tiny, *LENGTHENED, *place, f"experiment={experiment}", *overrides) == 0
        return tmp_path / name

    by_trial = run("auto", AUTO, "trainer.max_steps=4")
    said = re.search(r"data.max_frames_per_batch=auto: (\d+) frames, which took", capsys.readouterr().out)
    assert said is not None
    assert int(said[1]) == found(by_trial)
    given = run("given", f"data.max_frames_per_batch={found(by_trial)}", "trainer.max_steps=4")
    assert_same(last(by_trial)["state_dict"], last(given)["state_dict"])
    assert last(by_trial)["identity"] == last(given)["identity"]
    assert losses(by_trial) == losses(given)
    kept = yaml.safe_load((by_trial / "config.yaml").read_text(encoding="utf-8"))
    assert kept["data"]["max_frames_per_batch"] == "auto"  # by which a sweep knows the run as its job's
    assert len(losses(given)) == 4
    run("resumed", AUTO, "trainer.max_steps=2")

    def not_asked(*_: Any) -> None:
        raise AssertionError("a resumed run has its number")

    monkeypatch.setattr(training_run, "find_max_frames", not_asked)
    resumed = run("resumed", AUTO, "trainer.max_steps=4", "resume=true")
    assert f"auto: {found(by_trial)} frames, as when the run began" in capsys.readouterr().out
    assert_same(last(by_trial)["state_dict"], last(resumed)["state_dict"])


@pytest.mark.slow
def test_two_processes_take_the_number_that_the_first_found(recordings_dir: Path, tmp_path: Path) -> None:
    common = [
        f"data.path={recordings_dir}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "data.max_batch_size=2",
        "evaluation.num_sentences=0",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "trainer.max_steps=2",
        "logger=csv",
    ]
    train(*common, AUTO, f"output_dir={tmp_path / 'auto'}")
    train(*common, f"data.max_frames_per_batch={found(tmp_path / 'auto')}", f"output_dir={tmp_path / 'given'}")
    by_trial, given = last(tmp_path / "auto"), last(tmp_path / "given")
    assert by_trial["global_step"] == 2
    assert all(torch.equal(tensor, given["state_dict"][name]) for name, tensor in by_trial["state_dict"].items())
