"""T3's loss against a second implementation of cross-entropy on upstream's own logits."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.t3_objective import T3CrossEntropy
from calm_ft.data.dataset import Example
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.chatterbox.test_t3_rows import upstream_forward


def objective(**settings: Any) -> T3CrossEntropy:
    defaults: dict[str, Any] = {
        "text_weight": 0.1,
        "text_dropout": 0.0,
        "condition_dropout": 0.0,
        "double_start": False,
    }
    return T3CrossEntropy(**{**defaults, **settings})


@torch.no_grad()
def test_the_loss_is_shifted_cross_entropy_of_upstreams_logits(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples[:1])
    num = int(batch.num_frames[0])
    text_logits, speech_logits = upstream_forward(adapter.t3, batch)
    wanted = torch.tensor([*batch.speech_tokens[0, :num].tolist(), 6562])
    speech = F.cross_entropy(speech_logits, wanted)
    text = F.cross_entropy(text_logits[:-1], batch.text_tokens[0, 1:])
    adapter.objective = objective()
    output = adapter.loss(batch, make_rng(0, "x"))
    torch.testing.assert_close(output.total, speech + 0.1 * text, rtol=1e-4, atol=1e-5)
    assert output.terms["speech"].count == num + 1
    residuals = adapter.residuals(batch, seed=0).values
    torch.testing.assert_close(residuals["speech"][0], speech, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(residuals["text"][0], text, rtol=1e-4, atol=1e-5)
    hits = (speech_logits.argmax(dim=-1) == wanted).float().mean()
    assert float(residuals["speech_accuracy"][0]) == pytest.approx(float(hits))


def test_rows_whose_text_is_dropped_have_no_text_loss_and_the_others_keep_theirs(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate([Example(e.target, e.prompt, e.seed, place) for place, e in enumerate(examples)])
    all_text = sum((batch.num_text - 1).tolist())
    adapter.objective = objective(text_dropout=0.5)
    counts = {adapter.loss(batch, make_rng(seed, "x")).terms["text"].count for seed in range(20)}
    assert 0 in counts
    assert all_text in counts
    assert len(counts) > 3  # each row by itself


def test_a_batch_whose_texts_are_all_dropped_has_a_finite_loss(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    adapter.objective = objective(text_dropout=0.999)
    output = adapter.loss(adapter.collate(examples), make_rng(0, "x"))
    assert output.terms["text"].count == 0
    assert torch.isfinite(output.total)
    output.total.backward()


def test_what_a_row_drops_depends_on_its_place_and_not_on_its_batch_mates(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    adapter.objective = objective(text_dropout=0.5, condition_dropout=0.5)
    rows = [Example(e.target, e.prompt, e.seed, place) for place, e in enumerate(examples)]

    def speech_sum(chosen: list[Example]) -> torch.Tensor:
        return adapter.loss(adapter.collate(chosen), make_rng(3, "x")).terms["speech"].sum.detach()

    torch.testing.assert_close(speech_sum(rows), sum(speech_sum([row]) for row in rows), rtol=1e-4, atol=1e-3)


def test_gradient_checkpointing_gives_the_same_gradients(examples: list[Example]) -> None:
    gradients = []
    for checkpointing in (False, True):
        adapter = make_adapter(gradient_checkpointing=checkpointing)
        for layer in adapter.t3.tfmr.layers:
            layer.train()
            assert layer.gradient_checkpointing == checkpointing
        adapter.loss(adapter.collate(examples), make_rng(0, "x")).total.backward()
        gradients.append(adapter.t3.tfmr.layers[0].mlp.up_proj.weight.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("setting", [{"text_weight": -1}, {"text_dropout": 1.0}, {"condition_dropout": -0.1}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(setting))):
        objective(**setting)
