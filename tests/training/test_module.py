"""Training on the embedded model: a function of the seed, undisturbed by validation, stepping where it should."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from calm_ft.adapters.base import RowResiduals
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.config import compose_config, experiment_from
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.finetuning.strategy import Full
from calm_ft.training import notices
from calm_ft.training.callbacks.checkpoints import checkpoint_callbacks
from calm_ft.training.evaluation import read_evaluation_sources
from calm_ft.training.module import FineTuning
from calm_ft.training.prepare import prepare, read_sources
from calm_ft.training.residuals import ResidualMean, mean_residuals
from calm_ft.training.resume import read_checkpoint, trained_weights
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import SAVING, adamw, assert_same, fit, trained_state

Clips = list[EncodedUtterance]


def nano() -> PocketTTSAdapter:
    return PocketTTSAdapter(str(NANO), default_objective())


class Seen(Callback):
    """The utterances of each batch, in order, and the number of updates of the average after it."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, ...]] = []
        self.num_updates: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        self.batches.append(tuple(batch.utterance_ids))
        assert isinstance(pl_module, FineTuning)
        self.num_updates.append(pl_module.ema.num_updates)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(clips: Clips, tmp_path: Path) -> None:
    first, second, other = (
        trained_state(fit(nano(), clips, tmp_path, seed=seed, max_steps=3)[0]) for seed in (0, 0, 1)
    )
    assert_same(first, second)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_validation_does_not_shift_training(clips: Clips, tmp_path: Path) -> None:
    often, _ = fit(nano(), clips, tmp_path, max_steps=4, val_check_interval=1)
    torch.rand(7)  # neither does what drew from the global generator in between
    never, _ = fit(nano(), clips, tmp_path, max_steps=4, limit_val_batches=0)
    assert_same(trained_state(often), trained_state(never))
    assert_same(often.ema.shadow, never.ema.shadow)


def test_synthesis_before_training_does_not_shift_it(clips: Clips, tmp_path: Path, speech_file: Path) -> None:
    judged = nano()
    judged.synthesize(["Hello there."], judged.load_voice(speech_file), seed=5)
    plain, _ = fit(nano(), clips, tmp_path, max_steps=2)
    after, _ = fit(judged, clips, tmp_path, max_steps=2)
    assert_same(trained_state(plain), trained_state(after))


def test_frozen_tensors_stay_and_trained_ones_move(clips: Clips, tmp_path: Path) -> None:
    before = nano().state_dict()
    module, _ = fit(nano(), clips, tmp_path, max_steps=3)
    trained = trained_state(module)
    for name, tensor in module.adapter.state_dict().items():
        if name not in trained:
            assert torch.equal(tensor, before[name]), name
    moved = [name for name in trained if not torch.equal(trained[name], before[name])]
    assert any("flow_net" in name for name in moved)
    assert any("out_eos" in name for name in moved)


def test_accumulation_takes_two_batches_a_step_and_one_update_of_the_average(clips: Clips, tmp_path: Path) -> None:
    plain, doubled = Seen(), Seen()
    fit(nano(), clips, tmp_path, max_steps=6, callbacks=[plain])
    _, trainer = fit(nano(), clips, tmp_path, max_steps=3, accumulate_grad_batches=2, callbacks=[doubled])
    assert trainer.global_step == 3
    assert doubled.batches == plain.batches
    assert plain.num_updates == [1, 2, 3, 4, 5, 6]
    assert doubled.num_updates == [0, 1, 1, 2, 2, 3]


def test_the_noise_of_a_repeated_batch_is_new(clips: Clips, tmp_path: Path) -> None:
    losses: list[float] = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    still = adamw(1e-12)
    fit(nano(), clips, tmp_path, max_steps=3, limit_train_batches=1, optimizer=still, callbacks=[Losses()])
    assert len({round(loss, 4) for loss in losses}) == 3


def test_bf16_trains_and_stays_finite(clips: Clips, tmp_path: Path) -> None:
    module, _ = fit(nano(), clips, tmp_path, max_steps=2, precision="bf16-mixed")
    state = trained_state(module)
    assert all(tensor.dtype == torch.float32 and bool(tensor.isfinite().all()) for tensor in state.values())


@pytest.mark.parametrize("full", [False, True])
def test_checkpoints_hold_what_is_trained_and_load_safely(clips: Clips, tmp_path: Path, full: bool) -> None:
    directory = tmp_path / "checkpoints"
    strategy = Full() if full else None
    module, _ = fit(
        nano(), clips, tmp_path, strategy=strategy, max_steps=3, callbacks=checkpoint_callbacks(directory, SAVING)
    )
    names = trained_state(module).keys()
    for which in ("best", "last"):
        content = torch.load(directory / f"{which}.ckpt", weights_only=True)
        assert content["state_dict"].keys() == content["ema"]["shadow"].keys() == names
        assert content["global_step"] == 3
        assert {"optimizer_states", "lr_schedulers", "callbacks", "identity"} <= content.keys()
    last = read_checkpoint(directory / "last.ckpt")
    assert_same(last["state_dict"], trained_state(module))
    assert_same(trained_weights(last), module.ema.shadow)
    num_values = sum(tensor.numel() for tensor in last["state_dict"].values())
    num_bytes = (directory / "last.ckpt").stat().st_size
    assert num_bytes < 4 * 4 * num_values * 1.1 + 100_000  # weights, average, two moments


def test_the_checkpoints_weights_are_the_raw_ones_and_exports_take_the_average(clips: Clips, tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    module, _ = fit(nano(), clips, tmp_path, max_steps=3, callbacks=checkpoint_callbacks(directory, SAVING))
    fresh = nano()
    fresh_module = type(module)(fresh, module.strategy, module.optimizer_factory, 0.9, 0)
    fresh_module.load_weights(read_checkpoint(directory / "best.ckpt"))
    own = dict(fresh.named_parameters())
    assert all(torch.equal(own[name], tensor) for name, tensor in module.ema.shadow.items())


def test_the_noise_of_a_step_is_a_function_of_the_seed_and_the_step(clips: Clips, tmp_path: Path) -> None:
    def drawn(seed: int) -> list[int]:
        adapter, found = nano(), []
        loss = adapter.loss

        def noted(batch: Any, rng: torch.Generator) -> Any:
            found.append(rng.initial_seed())
            return loss(batch, rng)

        adapter.loss = noted  # type: ignore[method-assign]
        fit(adapter, clips, tmp_path, seed=seed, max_steps=3, limit_val_batches=0)
        return found

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again
    assert len({*first, *other}) == 6


def test_without_decay_the_average_is_the_weights_after_each_step(clips: Clips, tmp_path: Path) -> None:
    module, _ = fit(nano(), clips, tmp_path, max_steps=3, ema_decay=0.0)
    assert_same(module.ema.shadow, trained_state(module))


def test_validation_measures_the_averaged_weights(clips: Clips, tmp_path: Path) -> None:
    module, trainer = fit(nano(), clips, tmp_path, max_steps=4, val_check_interval=4, optimizer=adamw(3e-3))
    logged = float(trainer.callback_metrics["val/residual"])
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
    raw = mean_residuals(module.adapter.eval(), datamodule.val_dataloader(), 0)["residual"]
    with module.ema.applied():
        averaged = mean_residuals(module.adapter, datamodule.val_dataloader(), 0)["residual"]
    assert logged == pytest.approx(averaged, rel=1e-6)
    assert abs(raw - averaged) > 1e-4


def test_a_mean_of_residuals_weighs_every_frame_alike_however_rows_are_batched() -> None:
    def rows(*pairs: tuple[float, int]) -> RowResiduals:
        values, num_frames = zip(*pairs, strict=True)
        return RowResiduals({"residual": torch.tensor(values)}, torch.tensor(num_frames))

    together, apart = ResidualMean(), ResidualMean()
    together.add(rows((1.0, 10), (2.0, 90)))
    apart.add(rows((1.0, 10)))
    apart.add(rows((2.0, 90)))
    assert together.means() == apart.means() == {"residual": pytest.approx(1.9)}


class GradientOfEachStep(Callback):
    """The gradient that the optimizer gets, and the number of frames of each micro-batch."""

    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []
        self.num_frames: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.num_frames.append(int(batch.num_frames.sum()))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        first = next(p.grad for p in pl_module.parameters() if p.grad is not None)
        self.gradients.append(first.clone())


def test_frames_of_unequal_micro_batches_weigh_alike(clips: Clips, tmp_path: Path) -> None:
    """A mean of the micro-batches' means gave the frames of the smaller one more."""
    rate = adamw(lr=1e-12)
    apart, joined = GradientOfEachStep(), GradientOfEachStep()
    settings: dict[str, Any] = {"num_validation": 1, "optimizer": rate, "gradient_clip_val": None}
    fit(nano(), clips, tmp_path / "apart", max_steps=2, callbacks=[apart], **settings)
    fit(nano(), clips, tmp_path / "joined", max_steps=1, accumulate_grad_batches=2, callbacks=[joined], **settings)
    assert apart.num_frames == joined.num_frames
    first, second = apart.num_frames
    assert first != second
    expected = (first * apart.gradients[0] + second * apart.gradients[1]) / (first + second)
    torch.testing.assert_close(joined.gradients[0], expected, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(joined.gradients[0], (apart.gradients[0] + apart.gradients[1]) / 2, rtol=1e-3, atol=1e-7)


def test_what_one_step_costs_is_the_ratio_of_the_mean_scores() -> None:
    mean = ResidualMean()
    scores = {"one_step_score": torch.tensor([0.4, 0.5]), "many_step_score": torch.tensor([0.4, 0.4])}
    mean.add(RowResiduals({"residual": torch.zeros(2), **scores}, torch.tensor([30, 10])))
    assert mean.means()["one_step_cost"] == pytest.approx((0.4 * 30 + 0.5 * 10) / 40 / 0.4 - 1)


@pytest.mark.parametrize(("base", "tuned", "told"), [(0.01, 0.06, True), (0.01, 0.04, False), (0.07, 0.06, False)])
def test_a_run_tells_what_one_step_costs_where_it_came_to_cost_much(base: float, tuned: float, told: bool) -> None:
    written = io.StringIO()
    console = Console(file=written, width=200)
    notices.say_one_step_cost(console, {"base": {"one_step_cost": base}, "tuned": {"one_step_cost": tuned}})
    text = written.getvalue()
    assert bool(text) == told
    if told:
        assert all(each in text for each in ("6.0%", "base: 1.0%", "--num-steps 2", "objective.lsd_weight"))


def test_what_the_command_line_sets_reaches_the_run(recordings_dir: Path, tmp_path: Path) -> None:
    overrides = ["seed=7", "ema_decay=0.5", "optimizer.lr=0.0123", "data.max_batch_size=2", "trainer.max_steps=3"]
    places = [f"data.path={recordings_dir}", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path / 'run'}"]
    experiment = experiment_from(compose_config([*overrides, *places, "evaluation.num_sentences=0"]))
    judged = read_evaluation_sources(experiment.evaluation)
    prepared = prepare(experiment, read_sources(experiment.data), judged, num_ranks=1)
    assert (prepared.module.seed, prepared.batches.seed, prepared.module.ema.decay) == (7, 7, 0.5)
    components = prepared.module.strategy.trained_components(prepared.module.adapter)
    optimizer, _ = experiment.optimizer.build(components, 10)
    assert {group["initial_lr"] for group in optimizer.param_groups} == {0.0123}
    lengths = [len(prepared.batches.plan.batch(index)) for index in range(3)]
    assert max(lengths) == 2


@pytest.mark.parametrize(
    ("precision", "is_fast", "said"),
    [
        ("32-true", True, "trainer.precision=bf16-mixed is faster here"),
        ("32-true", False, ""),
        ("bf16-mixed", False, "has no instructions for bfloat16: trainer.precision=32-true is faster here"),
        ("bf16-mixed", True, ""),
    ],
)
def test_a_run_says_where_it_computes_and_in_what_it_would_be_faster(precision, is_fast, said, monkeypatch, capsys):
    monkeypatch.setattr(notices, "has_fast_bfloat16", lambda device: is_fast)
    trainer = Trainer(accelerator="cpu", precision=precision, logger=False, enable_progress_bar=False)
    notices.say_device(Console(width=200), trainer)
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first == f"computes on cpu, {torch.get_num_threads()} threads of {os.cpu_count()} cores, {precision}"
    assert said in rest
    assert bool(rest.strip()) is bool(said)
