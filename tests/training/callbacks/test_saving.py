"""What is saved when: the best by any logged value, the last step validated too, files whole or not at all."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.training.callbacks.checkpoints import AtomicCheckpointIO, checkpoint_callbacks, name_again
from calm_ft.training.callbacks.nonfinite import StopAtNonFinite
from calm_ft.training.resume import check_bytes, read_checkpoint
from calm_ft.training.settings import CheckpointSettings
from tests.training.tiny_run import fit

Clips = list[EncodedUtterance]


class Validated(Callback):
    """The steps after which validation ran, and what was logged by then."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.logged: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.append(trainer.global_step)
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_checkpoint_is_that_of_the_logged_value_that_was_asked_for(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, mode: Literal["min", "max"]
) -> None:
    settings = CheckpointSettings(every_n_steps=9, keep=1, monitor="train/gradient_norm", mode=mode)
    validated = Validated()
    callbacks = [StopAtNonFinite(tmp_path), *checkpoint_callbacks(tmp_path, settings), validated]
    fit(nano_adapter, clips, tmp_path, max_steps=5, val_check_interval=1, callbacks=callbacks)
    norms = [each["train/gradient_norm"] for each in validated.logged]
    wanted = (min if mode == "min" else max)(norms)
    assert read_checkpoint(tmp_path / "best.ckpt")["global_step"] == 1 + norms.index(wanted)


def test_a_value_that_is_never_logged_cannot_be_monitored(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    settings = CheckpointSettings(every_n_steps=9, keep=1, monitor="val/mos", mode="max")
    with pytest.raises(MisconfigurationException, match="val/mos"):
        fit(nano_adapter, clips, tmp_path, max_steps=2, callbacks=checkpoint_callbacks(tmp_path, settings))


@pytest.mark.parametrize(("num_steps", "interval", "expected"), [(5, 2, [2, 4, 5]), (4, 2, [2, 4]), (2, 9, [2])])
def test_the_last_step_is_validated_once_whatever_the_interval(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, num_steps: int, interval: int, expected: list[int]
) -> None:
    validated = Validated()
    settings = CheckpointSettings(every_n_steps=9, keep=1, monitor="val/residual", mode="min")
    callbacks = [*checkpoint_callbacks(tmp_path, settings), validated]
    fit(nano_adapter, clips, tmp_path, max_steps=num_steps, val_check_interval=interval, callbacks=callbacks)
    assert validated.steps == expected


def test_a_save_that_fails_is_one_sentence_and_leaves_the_file_before_it(tmp_path: Path) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"weights": torch.ones(3)}, path)
    before = path.read_bytes()

    class Unwritable:
        def __reduce__(self) -> Any:
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"last.ckpt cannot be written \(No space left on device\)"):
        io.save_checkpoint({"weights": Unwritable()}, path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_another_name_costs_no_bytes_and_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"old")
    (tmp_path / "step.ckpt").write_bytes(b"new")
    name_again(tmp_path / "step.ckpt", tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").samefile(tmp_path / "step.ckpt")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["last.ckpt", "step.ckpt"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_changed_byte_is_found_which_torch_itself_reads_over(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"weights": torch.randn(500, 100)}, path)
    check_bytes(path)
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(ValueError, match="checksum"):
        check_bytes(path)
