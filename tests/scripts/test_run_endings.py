"""How runs end otherwise: Ctrl-C, a bug, a sweep with a job that cannot run; and what is said first and last."""

import gc
import json
import shlex
import subprocess
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest
import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.commands import words_of
from calm_ft.training.module import FineTuning
from scripts import export
from tests.conftest import DEMO_TRAIN
from tests.scripts.run_script import run
from tests.training.tiny_run import copy_short_clips, run_train


class Fails(Callback):
    """A bug in the middle of training."""

    def on_train_batch_end(self, *_: object) -> None:
        raise RuntimeError("a bug")


class NeverEnds(Callback):
    """Takes from the model what ends its sentences."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        assert isinstance(pl_module, FineTuning)
        adapter = pl_module.adapter
        assert isinstance(adapter, PocketTTSAdapter)
        adapter.flow_lm.out_eos.bias.data.fill_(-100.0)


class RemembersMoments(Callback):
    """What the optimizer holds at the end of training, without keeping it."""

    moments: ClassVar[list[weakref.ref[Tensor]]] = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        self.moments[:] = [weakref.ref(value) for value in states if isinstance(value, Tensor)]


def with_callback(target: str, **settings: object) -> str:
    arguments = "".join(f",{name}:{value}" for name, value in settings.items())
    return f"+trainer.callbacks=[{{_target_:{target}{arguments}}}]"


def status(run_dir: Path) -> str:
    return json.loads((run_dir / "run.json").read_text())["status"]


@pytest.mark.slow
def test_ctrl_c_saves_says_where_and_ends_with_0(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = tmp_path / "run"
    overrides = [f"data.path={recordings_dir}", f"output_dir={stopped}", "trainer.max_steps=50"]
    ctrl_c = with_callback("tests.training.callbacks.test_stopping.SendSignal", at_batch=1)
    assert run_train(monkeypatch, *tiny, *overrides, ctrl_c) == 0
    assert status(stopped) == "interrupted"
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("interrupted; what was done is saved, and this continues: python -m calm_ft.train ")
    assert line.endswith(f"output_dir={stopped} resume=true")
    assert run(monkeypatch, export, stopped, "--which", "last") == 0
    assert (stopped / "export" / "model.safetensors").is_file()


@pytest.mark.slow
def test_moments_and_gradients_are_given_back_before_the_export_is_written(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PocketTTSAdapter.export
    left: list[object] = []

    def export_and_look(adapter: PocketTTSAdapter, *arguments: Any) -> None:
        gc.collect()
        left.extend(moment for moment in RemembersMoments.moments if moment() is not None)
        left.extend(parameter.grad for parameter in adapter.parameters() if parameter.grad is not None)
        write(adapter, *arguments)

    monkeypatch.setattr(PocketTTSAdapter, "export", export_and_look)
    remembers = with_callback("tests.scripts.test_run_endings.RemembersMoments")
    place = [f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}"]
    assert run_train(monkeypatch, *tiny, *place, remembers) == 0
    assert len(RemembersMoments.moments) > 10
    assert not left


@pytest.mark.slow
def test_a_run_among_such_names_is_stopped_and_its_line_continues_it_in_a_shell(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = copy_short_clips(tmp_path / "Jürgen's 声音, [a] {b} & #1=$x")
    run_dir = tmp_path / "läuft, 'so' (1)"
    ctrl_c = with_callback("tests.training.callbacks.test_stopping.SendSignal", at_batch=1)
    overrides = [f"data.path={recordings}", f"output_dir={run_dir}", "trainer.max_steps=3"]
    assert run_train(monkeypatch, *tiny, *overrides, ctrl_c) == 0
    line = capsys.readouterr().out.splitlines()[-1].partition("continues: ")[2]
    echoed = subprocess.run(f"printf '%s\\0' {line}", shell=True, capture_output=True, check=True, text=True).stdout
    words = echoed.split("\0")[:-1]
    assert words == shlex.split(line)
    assert words[:3] == words_of("train")
    assert {f"data.path={recordings}", f"output_dir={run_dir}", "resume=true"} <= set(words)
    assert run_train(monkeypatch, *(word for word in words[3:] if "callbacks" not in word)) == 0
    assert f"resumed at step 2 of 3 from {run_dir}" in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")


@pytest.mark.slow
def test_a_bug_keeps_its_traceback_and_the_run_says_failed(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        run_train(
            monkeypatch,
            *tiny,
            f"data.path={recordings_dir}",
            f"output_dir={tmp_path / 'run'}",
            with_callback("tests.scripts.test_run_endings.Fails"),
        )
    assert status(tmp_path / "run") == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [("never", "there is no text beside the audio"), ("auto", "")],
)
def test_minutes_that_did_not_train_are_said_at_the_beginning_and_again_at_the_end(
    prepare: str,
    reason: str,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recordings = copy_short_clips(tmp_path / "recordings")
    soundfile.write(recordings / "interview.wav", torch.randn(90 * 8000).mul(0.1).numpy(), 8000)
    overrides = [f"data.path={recordings}", f"output_dir={tmp_path / 'run'}", f"data.prepare={prepare}"]
    overrides.append(f"data.cache_dir={tmp_path / 'cache' / 'features'}")
    assert run_train(monkeypatch, *tiny, *overrides) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "left out: 1 (1.5 min), named in excluded.jsonl" in printed
    (excluded,) = (tmp_path / "run" / "excluded.jsonl").read_text().splitlines()
    assert reason in excluded
    place = printed.index("WARNING: 1.5 of 1.")
    assert place > printed.index("pocket-tts generate")
    assert "minutes of the recordings were left out" in printed[place:]
    assert "interview.wav" in printed[place:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "num_losses_before", "precision"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), 0, "32-true"),  # while the largest batch is measured
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "bf16-mixed"),
    ],
)
def test_where_memory_runs_out_the_batch_is_named_and_what_makes_it_smaller(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    num_losses_before: int,
    precision: str,
) -> None:
    whole_loss, calls = PocketTTSAdapter.loss, []

    def out_of_memory(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > num_losses_before:
            raise error
        return whole_loss(*arguments)

    monkeypatch.setattr(PocketTTSAdapter, "loss", out_of_memory)
    overrides = [f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}", "data.max_frames_per_batch=90"]
    assert run_train(monkeypatch, *tiny, *overrides, f"trainer.precision={precision}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "Memory ran out; the largest batch has " in line
    assert "data.max_frames_per_batch=45, it was 90" in line
    assert ("trainer.precision=bf16-mixed" in line) is (precision == "32-true")
    assert status(tmp_path / "run") == "failed"


@pytest.mark.slow
def test_a_job_that_cannot_run_does_not_end_the_sweep(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [f"data.path={recordings_dir}", "output_dir=sweep", "optimizer.lr=1e-3,-1,2e-3"]
    assert run_train(monkeypatch, *tiny, "-m", *overrides) == 2
    assert status(tmp_path / "sweep-0") == status(tmp_path / "sweep-2") == "finished"
    assert not (tmp_path / "sweep-1").exists()
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "1 of 3 jobs" in errors[0]
    assert "optimizer.lr=-1" in errors[0]


@pytest.mark.slow
def test_a_job_with_a_bug_does_not_end_the_sweep_and_the_exit_code_is_1(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    buggy = "+trainer.callbacks=[{_target_:tests.scripts.test_run_endings.Fails}],[]"
    assert run_train(monkeypatch, *tiny, "-m", f"data.path={recordings_dir}", "output_dir=sweep", buggy) == 1
    assert (status(tmp_path / "sweep-0"), status(tmp_path / "sweep-1")) == ("failed", "finished")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: 1 of 2 jobs failed: ")
    assert last.endswith("RuntimeError: a bug")


@pytest.mark.slow
def test_the_users_recordings_on_the_miniature_warn_first_and_last_and_speech_that_does_not_end_before(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    endless = [with_callback("tests.scripts.test_run_endings.NeverEnds"), "ema_decay=0"]
    run_train(monkeypatch, *tiny, *endless, f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[-1]
    endless_speech = "WARNING: 1 of 1 clips of the tuned model: speech did not end where the sentence ends"
    assert any(line.startswith(endless_speech) for line in lines[-5:-1])  # what is cut off may be said beside it
    assert lines[0].startswith("WARNING: this is the embedded miniature")
    assert (
        shlex.join([f"data.path={recordings_dir}", "adapter=pocket_tts", "adapter.model=english_2026-10"]) in lines[0]
    )
    assert "trainer.max_steps=2" in lines[0]  # as are the others
    assert "output_dir=" not in lines[0]
    run_train(monkeypatch, *tiny, f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}")
    printed = capsys.readouterr()
    assert printed.out.startswith("WARNING")
    assert printed.err.startswith("error: ")


def test_the_demo_voice_on_the_miniature_warns_of_nothing(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    run_train(monkeypatch, *tiny, f"data.path={DEMO_TRAIN}", f"output_dir={tmp_path / 'file'}")
    assert capsys.readouterr().out == ""
