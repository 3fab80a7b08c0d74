"""Two processes on a CPU (gloo) are one process with the double batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.scripts.sigkill import ROOT
from tests.training.tiny_run import copy_short_clips

NUM_STEPS, LR = 4, 1e-3


def train(*overrides: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def last(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one_with_the_double_batch_and_resume(tmp_path: Path) -> None:
    recordings = copy_short_clips(tmp_path / "recordings", 11)
    common = [
        "experiment=full",
        "data=replay",
        "optimizer/schedule=constant",
        "optimizer.schedule.num_warmup_steps=2",
        f"optimizer.lr={LR}",
        f"data.path={recordings}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "adapter.conditioning_dropout=0.2",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",  # bfloat16 would hide a fault of the size that this looks for
        "trainer.val_check_interval=2",
        "checkpoint.every_n_steps=2",
        "evaluation.num_sentences=1",
        "evaluation.every_n_steps=null",
        "logger=csv",
    ]
    half = ["data.max_batch_size=3", "data.max_frames_per_batch=300", "trainer.devices=2", "trainer.strategy=ddp"]
    double = ["data.max_batch_size=6", "data.max_frames_per_batch=600"]
    train(*common, *double, f"trainer.max_steps={NUM_STEPS}", f"output_dir={tmp_path / 'one'}")
    train(*common, *half, "trainer.max_steps=2", f"output_dir={tmp_path / 'two'}")
    train(*common, *half, f"trainer.max_steps={NUM_STEPS}", f"output_dir={tmp_path / 'two'}", "resume=true")
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert one["global_step"] == two["global_step"] == NUM_STEPS
    # AdamW moves a weight by up to the rate a step, whatever its gradient: so small a part of that is float error.
    far = {
        name: float((tensor - two["state_dict"][name]).abs().max())
        for name, tensor in one["state_dict"].items()
        if not torch.allclose(tensor, two["state_dict"][name], rtol=0, atol=0.05 * LR * NUM_STEPS)
    }
    assert far == {}
    total = sum(float((t - two["state_dict"][n]).square().sum()) for n, t in one["state_dict"].items()) ** 0.5
    assert total < 1e-3 * sum(float(t.square().sum()) for t in one["state_dict"].values()) ** 0.5
    residuals = [json.loads((tmp_path / run / "run.json").read_text())["residuals"] for run in ("one", "two")]
    for system in ("base", "tuned"):
        assert residuals[0][system] == pytest.approx(residuals[1][system], rel=1e-4)


@pytest.mark.slow
def test_two_processes_keep_and_stop_by_the_evaluation_that_the_first_makes(tmp_path: Path) -> None:
    recordings = copy_short_clips(tmp_path / "recordings", 8)
    run = tmp_path / "run"
    train(
        f"data.path={recordings}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"evaluation.heldout_path={recordings}",
        "evaluation.num_sentences=2",
        "evaluation.every_n_steps=1",
        "checkpoint.monitor=eval/mcd_db",
        "early_stopping.patience=1",
        "early_stopping.min_delta=100",  # the first evaluation is the best, the second ends training
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "trainer.max_steps=9",
        "logger=csv",
        f"output_dir={run}",
    )
    facts = json.loads((run / "run.json").read_text())
    assert facts["num_steps"] == 2
    assert last(run)["global_step"] == 2
    steps = [json.loads(row)["step"] for row in (run / "samples" / "sentences.jsonl").read_text().splitlines()]
    assert steps == [None, None, 0, 0, 1, 1, 2, 2, facts["checkpoint_step"], facts["checkpoint_step"]]
