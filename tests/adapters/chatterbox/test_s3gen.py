"""S3Gen's loss against upstream's own, and what padding must not do."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.adapters.chatterbox.s3gen_objective import (
    FlowDraws,
    S3GenFlowMatching,
    encode_tokens,
    mel_errors,
    scheduled,
)
from calm_ft.data.dataset import Example
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter


@pytest.fixture
def adapter() -> ChatterboxAdapter:
    return make_adapter("chatterbox_s3gen")


def upstream_loss(adapter: ChatterboxAdapter, batch: ChatterboxBatch, prefix: int) -> tuple[Tensor, FlowDraws]:
    """Upstream's loss of one row and the draws that it made: the prefix by Python's generator, the rest by torch's."""
    feats = batch.mel.transpose(1, 2).contiguous()
    state = torch.get_rng_state()
    loss = adapter.s3gen.flow.compute_loss(
        {
            "speech_token": batch.speech_tokens,
            "speech_token_len": batch.num_frames,
            "speech_feat": feats,
            "speech_feat_len": 2 * batch.num_frames,
            "embedding": batch.x_vector,
        },
        torch.device("cpu"),
    )["loss"]
    torch.set_rng_state(state)
    times = scheduled(torch.rand(1, 1, 1))[0, 0]
    noise = torch.randn_like(feats)
    keep = torch.rand(1) > adapter.s3gen.flow.decoder.training_cfg_rate
    return loss, FlowDraws(times, noise, keep, torch.tensor([prefix]))


@torch.no_grad()
def test_the_loss_of_a_row_is_upstreams_own_under_upstreams_draws(
    adapter: ChatterboxAdapter, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, kept = adapter.collate(examples[:1]), set()
    for seed in range(16):
        prefix = seed * 2
        monkeypatch.setattr(random, "random", lambda: 0.9)
        monkeypatch.setattr(random, "randint", lambda low, high, prefix=prefix: prefix)
        torch.manual_seed(seed)
        expected, draws = upstream_loss(adapter, batch, prefix)
        errors, mask = mel_errors(adapter.s3gen.flow, batch, draws)
        torch.testing.assert_close(errors.sum() / mask.sum(), expected, rtol=1e-4, atol=1e-5)
        kept.add(bool(draws.keep))
    assert kept == {True, False}  # rows with and without their conditions


@torch.no_grad()
def test_padding_reaches_upstreams_last_frames_and_not_ours(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    flow, batch = adapter.s3gen.flow, adapter.collate(examples)
    row = 1
    num = int(batch.num_frames[row])
    alone = encode_tokens(flow, batch.speech_tokens[row : row + 1, :num], batch.num_frames[row : row + 1])
    ours = encode_tokens(flow, batch.speech_tokens, batch.num_frames)[row : row + 1, :, : 2 * num]
    torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-5)
    embedded = flow.input_embedding(batch.speech_tokens) * batch.speech_mask[..., None]
    theirs = flow.encoder_proj(flow.encoder(embedded, batch.num_frames)[0]).transpose(1, 2)[row : row + 1, :, : 2 * num]
    assert (theirs - alone)[..., -6:].abs().max() > 1e-3


@torch.no_grad()
def test_a_single_row_is_encoded_as_upstream_does(adapter: ChatterboxAdapter, examples: list[Example]) -> None:
    flow, batch = adapter.s3gen.flow, adapter.collate(examples[:1])
    embedded = flow.input_embedding(batch.speech_tokens)
    theirs = flow.encoder_proj(flow.encoder(embedded, batch.num_frames)[0]).transpose(1, 2)
    torch.testing.assert_close(encode_tokens(flow, batch.speech_tokens, batch.num_frames), theirs)


@torch.no_grad()
def test_what_lies_in_the_padding_changes_no_error(adapter: ChatterboxAdapter, examples: list[Example]) -> None:
    batch = adapter.collate(examples)
    spoiled = replace(
        batch,
        speech_tokens=torch.where(batch.speech_mask, batch.speech_tokens, 77),
        mel=torch.where(batch.speech_mask.repeat_interleave(2, dim=1)[..., None], batch.mel, 9.0),
    )
    one, other = (adapter.residuals(each, seed=0).values["mel_flow"] for each in (batch, spoiled))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_mel_frames_are_exactly_two_a_token_at_every_length(adapter: ChatterboxAdapter) -> None:
    from calm_ft.adapters.chatterbox.features import Hearing, encode_clip
    from tests.adapters.recordings import speechlike

    for num_samples in (24_000, 24_001, 24_479, 24_480, 24_959):
        features = encode_clip(adapter.models, speechlike(num_samples / 24_000, 24_000)[:num_samples], Hearing(6.0))
        assert len(features["mel"]) == 2 * len(features["speech_tokens"])
        assert len(features["speech_tokens"]) == -(-num_samples // 960)


def test_a_dropped_row_knows_neither_tokens_nor_speaker_nor_prefix(
    adapter: ChatterboxAdapter, examples: list[Example]
) -> None:
    batch = adapter.collate(examples[:1])
    other = replace(batch, speech_tokens=batch.speech_tokens.flip(1), x_vector=-batch.x_vector)
    noise, times = torch.randn(1, 80, batch.mel.shape[1]), torch.tensor([0.4])
    for keep, same in ((False, True), (True, False)):
        draws = [FlowDraws(times, noise, torch.tensor([keep]), torch.tensor([prefix])) for prefix in (0, 9)]
        with torch.no_grad():
            errors = [mel_errors(adapter.s3gen.flow, b, d)[0] for b, d in zip((batch, other), draws, strict=True)]
        assert torch.equal(*errors) == same


@pytest.mark.parametrize("name", ["condition_dropout", "prefix_probability", "max_prefix_share"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    settings = {"condition_dropout": 0.2, "prefix_probability": 0.5, "max_prefix_share": 0.3, name: 1.5}
    with pytest.raises(UserError, match=name):
        S3GenFlowMatching(**settings)


def test_tokenizer_and_speaker_encoder_stay_in_eval_mode_while_the_flow_trains(adapter: ChatterboxAdapter) -> None:
    from calm_ft.finetuning.strategy import Full

    Full().apply(adapter, 1e-4)
    training = {name for name, module in adapter.named_modules() if module.training}
    assert training
    assert all(name.startswith("s3gen.flow") for name in training)
