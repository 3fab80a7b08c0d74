"""A run that is cut and resumed ends in the bits of the run that was not."""

import random
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.split import Split
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import Full, HeadOnly, LastNLayers, Strategy
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.datamodule import EncodedSource
from calm_ft.training.optimizers import CosineSchedule, MuonFactory
from calm_ft.training.resume import ResumePoint, check_identity, find_resume_point, read_checkpoint, run_identity
from calm_ft.training.run_lock import remove_abandoned
from calm_ft.training.settings import CheckpointSettings
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import adamw, assert_same, fit, trained_state

Clips = list[EncodedUtterance]
EVERY_TWO = CheckpointSettings(every_n_steps=2, keep=3, monitor="val/residual", mode="min")


def nano() -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective(), conditioning_dropout=0.3)


class Noise(Callback):
    """Draws from every global generator between the steps, as a library might."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        torch.rand(trainer.global_step + 1)
        np.random.rand(3)
        random.random()


def assert_same_state(first: Any, second: Any) -> None:
    """Equality through nested containers, tensors bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_same_state(first[name], second[name])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same_state(one, other)
    else:
        assert first == second


def point_at(directory: Path, step: int) -> ResumePoint:
    path = directory / f"step-{step:08d}.ckpt"
    return ResumePoint(path, step, read_checkpoint(path))


def muon() -> MuonFactory:
    schedule = CosineSchedule(num_warmup_steps=2, final_lr_fraction=0.0)
    return MuonFactory(adamw_lr=1e-3, lr=1e-3, weight_decay=0.01, beta1=0.9, beta2=0.99, schedule=schedule)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "optimizer", "settings"),
    [
        (HeadOnly(), None, {"accumulate_grad_batches": 2}),
        (LastNLayers(2, {"backbone": 0.3}), None, {"val_check_interval": 3}),
        (Full(), muon(), {"val_check_interval": 2}),
    ],
)
def test_a_resumed_run_ends_in_the_same_bits(
    clips: Clips, tmp_path: Path, strategy: Strategy, optimizer: Any, settings: dict[str, Any]
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    common: dict[str, Any] = {"strategy": strategy, "optimizer": optimizer, "max_steps": 6, **settings}
    module, _ = fit(nano(), clips, whole, callbacks=checkpoint_callbacks(whole, EVERY_TWO), **common)
    callbacks = [*checkpoint_callbacks(resumed, EVERY_TWO), Noise()]
    again, trainer = fit(nano(), clips, resumed, callbacks=callbacks, point=point_at(whole, 2), **common)
    assert trainer.global_step == 6
    assert_same(trained_state(module), trained_state(again))
    best_step = read_checkpoint(whole / "best.ckpt")["global_step"]
    names = ["last.ckpt", "step-00000004.ckpt"]
    if best_step > 2:  # else nothing after the resume was better, and nothing is written
        names.append("best.ckpt")
    for name in names:
        first, second = read_checkpoint(whole / name), read_checkpoint(resumed / name)
        for part in ("state_dict", "ema", "optimizer_states", "lr_schedulers", "global_step"):
            assert_same_state(first[part], second[part])


@pytest.mark.slow
def test_what_an_interrupted_run_says_is_best_stays_best_if_nothing_better_comes(clips: Clips, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    kept = CheckpointSettings(every_n_steps=2, keep=9, monitor="val/residual", mode="min")
    spoiling: dict[str, Any] = {"optimizer": adamw(lr=0.3), "max_steps": 6, "val_check_interval": 1}
    fit(nano(), clips, whole, callbacks=checkpoint_callbacks(whole, kept), **spoiling)
    fit(
        nano(),
        clips,
        resumed,
        callbacks=checkpoint_callbacks(resumed, kept),
        point=point_at(whole, 4),
        **spoiling,
    )
    best = read_checkpoint(whole / "best.ckpt")["global_step"]
    assert best < 4
    assert not (resumed / "best.ckpt").exists()  # nothing after step 4 beat what the checkpoint remembers


@pytest.mark.slow
def test_early_stopping_counts_on_after_a_resume(clips: Clips, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"

    def stopping() -> EarlyStopping:  # no value is better by 100: it stops after three validations
        return EarlyStopping("val/residual", min_delta=100, patience=3, check_finite=False)

    _, trainer = fit(
        nano(),
        clips,
        whole,
        max_steps=20,
        val_check_interval=1,
        callbacks=[*checkpoint_callbacks(whole, EVERY_TWO), stopping()],
    )
    _, again = fit(
        nano(),
        clips,
        resumed,
        max_steps=20,
        val_check_interval=1,
        callbacks=[*checkpoint_callbacks(resumed, EVERY_TWO), stopping()],
        point=point_at(whole, 2),
    )
    assert trainer.global_step == again.global_step == 4


def test_a_run_that_has_all_its_steps_trains_none_when_resumed(clips: Clips, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    module, _ = fit(nano(), clips, whole, max_steps=2, callbacks=checkpoint_callbacks(whole, EVERY_TWO))
    again, trainer = fit(nano(), clips, tmp_path / "again", max_steps=2, point=point_at(whole, 2))
    assert trainer.global_step == 2
    assert_same(trained_state(module), trained_state(again))


@pytest.mark.slow
def test_so_many_checkpoints_are_kept_and_last_is_the_newest_without_a_copy(clips: Clips, tmp_path: Path) -> None:
    settings = EVERY_TWO.model_copy(update={"keep": 2})
    fit(nano(), clips, tmp_path, max_steps=9, callbacks=checkpoint_callbacks(tmp_path, settings))
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        "best.ckpt",
        "last.ckpt",
        "step-00000008.ckpt",
        "step-00000009.ckpt",
    ]
    assert (tmp_path / "last.ckpt").samefile(tmp_path / "step-00000009.ckpt")


@pytest.fixture
def run_dir(clips: Clips, tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoints"
    fit(nano(), clips, tmp_path, max_steps=4, callbacks=checkpoint_callbacks(directory, EVERY_TWO))
    return tmp_path


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()  # last.ckpt and the newest step are one file
    path.write_bytes(content)


def truncate(path: Path) -> None:
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_byte, truncate])
def test_a_damaged_last_checkpoint_is_said_and_the_one_before_is_taken(run_dir: Path, damage: Any) -> None:
    damage(run_dir / "checkpoints" / "last.ckpt")
    damage(run_dir / "checkpoints" / "step-00000004.ckpt")
    said: list[str] = []
    point = find_resume_point(run_dir, said.append)
    assert point is not None
    assert (point.step, point.path.name) == (2, "step-00000002.ckpt")
    assert [line.split()[0] for line in said] == ["last.ckpt", "step-00000004.ckpt"]
    assert all("damaged" in line for line in said)


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(run_dir: Path) -> None:
    for path in (run_dir / "checkpoints").glob("*.ckpt"):
        truncate(path)
    with pytest.raises(UserError, match="Every checkpoint in"):
        find_resume_point(run_dir, lambda line: None)


def test_a_run_without_checkpoints_has_nothing_to_resume(tmp_path: Path) -> None:
    assert find_resume_point(tmp_path, lambda line: None) is None


def test_a_checkpoint_of_another_run_is_refused_by_what_differs() -> None:
    point = ResumePoint(Path("last.ckpt"), 1, {"identity": {"model": "a", "data": "b", "strategy": "c"}})
    check_identity(point, {"model": "a", "data": "b", "strategy": "c"})
    with pytest.raises(UserError, match="its data differs"):
        check_identity(point, {"model": "a", "data": "x", "strategy": "c"})
    with pytest.raises(UserError, match="its model and strategy differ"):
        check_identity(point, {"model": "x", "data": "b", "strategy": "x"})


CONFIG: dict[str, Any] = {
    "seed": 0,
    "ema_decay": 0.9,
    "output_dir": "runs/one",
    "adapter": {
        "_target_": "calm_ft.adapters.a.Adapter",
        "model": "english",
        "local_dir": None,
        "gradient_checkpointing": False,
        "eos_loss_weight": 0.1,
        "objective": {"_target_": "calm_ft.flow.lsd.LSD", "flow_share": 0.75},
    },
    "data": {"path": "voice", "cache_dir": "cache", "num_workers": 0, "max_frames_per_batch": 9, "max_batch_size": 2},
    "strategy": {"_target_": "calm_ft.finetuning.lora.Lora", "rank": 4, "weights": None},
    "optimizer": {"_target_": "calm_ft.training.muon.MuonFactory", "lr": 1e-3, "schedule": {"num_warmup_steps": 2}},
    "trainer": {"max_steps": 10, "precision": "32-true", "gradient_clip_val": 1.0, "accumulate_grad_batches": 1},
    "logger": {"_target_": "calm_ft.training.loggers.CsvOnly"},
    "evaluation": {"num_sentences": 8, "asr": "auto", "every_n_steps": 200},
    "checkpoint": {"monitor": "val/residual", "every_n_steps": 200},
}


def identity_with(changes: dict[str, Any], **arguments: Any) -> dict[str, str]:
    """`changes`: dotted key -> value."""
    config = deepcopy(CONFIG)
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        node = config
        for part in section.split(".") if section else ():
            node = node[part]
        node[name] = value
    given: dict[str, Any] = {"base_fingerprint": "b", "data_rows": [[1.0]], "num_ranks": 1, "feature_fingerprint": "f"}
    return run_identity(config, **{**given, **arguments})


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter.gradient_checkpointing": True},
        {"adapter.model": "/moved/model.yaml", "adapter.local_dir": "/moved"},
        {"adapter.language": "de"},
        {"data.num_workers": 4},
        {"data.cache_dir": "/elsewhere", "data.path": "/moved/voice", "output_dir": "/moved/run"},
        {"logger": {"_target_": "calm_ft.training.loggers.WandbSettings", "project": "x"}},
        {"trainer.max_steps": 20, "trainer.enable_progress_bar": False, "trainer.log_every_n_steps": 1},
        {"evaluation": {"num_sentences": 0, "asr": "none", "every_n_steps": None}},
        {"checkpoint.every_n_steps": 7},
        {"optimizer._target_": "calm_ft.training.optimizers.MuonFactory"},  # a class that moved to another module
        {"strategy.weights": "/moved/lora.safetensors"},
    ],
)
def test_what_leaves_the_weights_alone_does_not_block_a_resume(changes: dict[str, Any]) -> None:
    assert identity_with(changes) == identity_with({})


ARITHMETIC = "precision, clipping, accumulation or number of processes"


@pytest.mark.parametrize(
    ("changes", "arguments", "part"),
    [
        ({}, {"base_fingerprint": "other"}, "model"),
        ({}, {"data_rows": [[0.5]]}, "data"),
        ({}, {"feature_fingerprint": "other"}, "features"),
        ({}, {"num_ranks": 2}, ARITHMETIC),
        ({}, {"num_prompt_draws": 4}, "number of prompt draws"),
        ({"trainer.precision": "bf16-mixed"}, {}, ARITHMETIC),
        ({"trainer.gradient_clip_val": None}, {}, ARITHMETIC),
        ({"trainer.gradient_clip_algorithm": "value"}, {}, ARITHMETIC),
        ({"trainer.accumulate_grad_batches": 2}, {}, ARITHMETIC),
        ({"data.max_batch_size": 3}, {}, "batch limits"),
        ({"data.max_frames_per_batch": 8}, {}, "batch limits"),
        ({"strategy.rank": 8}, {}, "strategy"),
        ({"strategy._target_": "calm_ft.finetuning.strategy.Full"}, {}, "strategy"),
        ({"adapter.eos_loss_weight": 0.2}, {}, "objective or adapter settings"),
        ({"adapter.objective.flow_share": 1.0}, {}, "objective or adapter settings"),
        ({"adapter.objective._target_": "calm_ft.flow.lsd.Other"}, {}, "objective or adapter settings"),
        ({"optimizer.lr": 1e-4}, {}, "optimizer"),
        ({"optimizer.schedule.num_warmup_steps": 3}, {}, "optimizer"),
        ({"ema_decay": 0.99}, {}, "optimizer"),
        ({"seed": 1}, {}, "seed"),
    ],
)
def test_what_changes_the_weights_is_named_by_its_part(
    changes: dict[str, Any], arguments: dict[str, Any], part: str
) -> None:
    before, after = identity_with({}), identity_with(changes, **arguments)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [part]


def test_evaluation_settings_count_where_the_best_checkpoint_is_chosen_by_them() -> None:
    monitored = {"checkpoint.monitor": "eval/cer"}
    before = identity_with(monitored)
    assert identity_with({**monitored, "evaluation.every_n_steps": 100}) == before
    for name, value in (("num_sentences", 4), ("asr", "openai/whisper-base"), ("language", "de")):
        after = identity_with({**monitored, f"evaluation.{name}": value})
        assert [part for part in before if before[part] != after[part]] == ["evaluation"]


def test_recordings_are_the_same_wherever_they_lie_and_not_in_another_order_or_split(clips: Clips) -> None:
    def rows(train: Clips, validation: Clips, weight: float = 1.0) -> list[Any]:
        return EncodedSource("voice", Split(train, validation), weight).identity()

    moved = [replace(each, utterance=replace(each.utterance, audio_path=Path("/moved/clip.wav"))) for each in clips]
    before = rows(clips[2:], clips[:2])
    assert rows(moved[2:], moved[:2]) == before
    other_text = replace(clips[2], utterance=replace(clips[2].utterance, text="Something else."))
    others = [
        rows(clips[:1:-1], clips[:2]),
        rows(clips[1:], clips[:1]),
        rows(clips[2:], clips[:2], 0.5),
        rows([other_text, *clips[3:]], clips[:2]),
    ]
    assert all(each != before for each in others)


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for folder in (".export.abc", "checkpoints", "samples", "export"):
        (tmp_path / folder).mkdir()
    for name in (".run.json.x.json", "checkpoints/.last.1.ckpt", "checkpoints/last.ckpt", ".export.abc/f", "run.json"):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"checkpoints", "checkpoints/last.ckpt", "samples", "export", "run.json"}


class _Touch:
    """Unpickled, it makes a file: what code in a checkpoint could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_holds_code_is_refused_and_runs_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {}, "ema": {}, "global_step": 1, "code": _Touch(tmp_path / "touched")}, path)
    with pytest.raises(UserError, match=r"best\.ckpt is damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "touched").exists()
