"""S3Gen's loss: conditional flow matching from speech tokens, speaker and a prefix of the mel to the mel.

    x_t = (1 - (1 - sigma) t) x0 + t x1,   u = x1 - (1 - sigma) x0,   t = 1 - cos(pi/2 tau), tau uniform

x0 noise, x1 the mel, sigma 1e-6. A fifth of the rows lose all conditions (classifier-free guidance), half of the rows
get up to 30 % of their own mel as a prefix, as the prompt's mel stands before the target at inference.

Upstream's look-ahead layer sees three tokens ahead: at the end of a single row zeros, but in a batch what the
embedding makes of padding, which is not zero. Here padding is zeroed before that layer; the rest is causal or masked.

Sources: chatterbox/models/s3gen/flow_matching.py (`ConditionalCFM.compute_loss`), flow.py (`compute_loss`),
transformer/upsample_encoder.py (`UpsampleConformerEncoder.forward`).
"""

import math
from dataclasses import dataclass

import torch
from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
from chatterbox.models.s3gen.flow_matching import ConditionalCFM
from chatterbox.models.s3gen.transformer.upsample_encoder import UpsampleConformerEncoder
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from calm_ft.adapters.base import LossTerm
from calm_ft.adapters.chatterbox.features import FRAMES_PER_TOKEN
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch, ChatterboxObjective, Terms, valid
from calm_ft.errors import UserError
from calm_ft.randomness import derive_seed, make_rng

NUM_VALIDATION_TIMES = 4


def encode_tokens(flow: CausalMaskedDiffWithXvec, tokens: Tensor, num_tokens: Tensor) -> Tensor:
    """Speech tokens [B, T] to what conditions the flow at each mel frame [B, 80, 2T]."""
    mask = valid(num_tokens, tokens.shape[1])
    embedded = flow.input_embedding(tokens) * mask[..., None]
    return flow.encoder_proj(_upsampled(flow.encoder, embedded, num_tokens)).transpose(1, 2)


def voice_condition(flow: CausalMaskedDiffWithXvec, x_vectors: Tensor) -> Tensor:
    """x-vectors [B, 192] to the flow's speaker condition [B, 80]."""
    return flow.spk_embed_affine_layer(F.normalize(x_vectors, dim=1))


def _upsampled(encoder: UpsampleConformerEncoder, inputs: Tensor, num_tokens: Tensor) -> Tensor:
    """[B, T, C] to [B, 2T, C']."""
    mask = valid(num_tokens, inputs.shape[1])[:, None]
    hidden, positions, _ = encoder.embed(inputs, mask)
    hidden = encoder.pre_lookahead_layer(hidden * mask.transpose(1, 2))
    hidden = encoder.forward_layers(hidden, mask, positions, mask)
    hidden, num_frames = encoder.up_layer(hidden.transpose(1, 2).contiguous(), num_tokens)
    hidden = hidden.transpose(1, 2).contiguous()
    mask = valid(num_frames, hidden.shape[1])[:, None]
    hidden, positions, _ = encoder.up_embed(hidden, mask)
    hidden = encoder.forward_up_layers(hidden, mask, positions, mask)
    return encoder.after_norm(hidden) if encoder.normalize_before else hidden


def padding_mask(num_frames: Tensor, size: int) -> Tensor:
    """[B, 1, size] float, 1 on each row's frames: what upstream's estimator takes."""
    return valid(num_frames, size)[:, None].to(torch.get_default_dtype())


@dataclass
class FlowDraws:
    """times [B] in upstream's time, 0 noise to 1 mel; noise [B, 80, M]; keep [B] bool: rows that keep their conditions;

    num_prefix [B]: frames of the own mel that are given.
    """

    times: Tensor
    noise: Tensor
    keep: Tensor
    num_prefix: Tensor


class S3GenFlowMatching(ChatterboxObjective):
    """Mean squared error of the velocity, over frames and channels."""

    def __init__(self, condition_dropout: float, prefix_probability: float, max_prefix_share: float) -> None:
        """Settings; see conf/objective/chatterbox_s3gen.yaml. Raises UserError for a value out of range."""
        if not 0 <= condition_dropout < 1:
            raise UserError(f"objective.condition_dropout is a probability below 1, not {condition_dropout}.")
        for name, share in (("prefix_probability", prefix_probability), ("max_prefix_share", max_prefix_share)):
            if not 0 <= share <= 1:
                raise UserError(f"objective.{name} lies between 0 and 1, but is {share}.")
        self.condition_dropout = condition_dropout
        self.prefix_probability = prefix_probability
        self.max_prefix_share = max_prefix_share

    def reaches(self, component: str) -> bool:
        return component.startswith("s3gen.flow.")

    def terms(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> Terms:
        rows = [
            self._draw(FRAMES_PER_TOKEN * num, make_rng(seed, "s3gen", place))
            for num, place in zip(batch.num_frames.tolist(), batch.places, strict=True)
        ]
        errors, mask = mel_errors(models.s3gen.flow, batch, join_draws(rows, batch.mel))
        total = errors.sum()
        count = int(mask.sum())
        return Terms({"mel_flow": LossTerm(1.0, total, count)}, {"mel_flow": total.detach() / count})

    def _draw(self, num_frames: int, rng: torch.Generator) -> FlowDraws:
        """One row's draws, before padding."""
        tau, drop, prefix, share = torch.rand(4, generator=rng)
        num_prefix = int(share * self.max_prefix_share * num_frames) if prefix < self.prefix_probability else 0
        noise = torch.randn(80, num_frames, generator=rng)
        return FlowDraws(scheduled(tau), noise, drop >= self.condition_dropout, torch.tensor(num_prefix))

    @torch.no_grad()
    def residuals(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        """residual and mel_flow: all conditions, no prefix, the mean over a time in each quarter of the schedule."""
        total = torch.zeros(len(batch.num_frames), device=batch.mel.device)
        for k in range(NUM_VALIDATION_TIMES):
            rows = []
            for num, utterance_id in zip(batch.num_frames.tolist(), batch.utterance_ids, strict=True):
                rng = make_rng(derive_seed(seed, utterance_id), "s3gen_validation", k)
                times = scheduled((k + torch.rand((), generator=rng)) / NUM_VALIDATION_TIMES)
                noise = torch.randn(80, FRAMES_PER_TOKEN * num, generator=rng)
                rows.append(FlowDraws(times, noise, torch.tensor(True), torch.tensor(0)))
            errors, mask = mel_errors(models.s3gen.flow, batch, join_draws(rows, batch.mel))
            total += errors.sum(dim=1) / mask.sum(dim=1) / NUM_VALIDATION_TIMES
        return {"residual": total, "mel_flow": total}


def scheduled(tau: Tensor) -> Tensor:
    """Uniform numbers to times: upstream's cosine schedule, denser near the noise."""
    return 1 - torch.cos(0.5 * math.pi * tau)


def join_draws(rows: list[FlowDraws], like: Tensor) -> FlowDraws:
    """Rows' draws as one batch on the device of `like`; noise is padded with zeros."""
    noise = pad_sequence([row.noise.T for row in rows], batch_first=True).transpose(1, 2)
    return FlowDraws(
        torch.stack([row.times for row in rows]).to(like),
        noise.to(like),
        torch.stack([row.keep for row in rows]).to(like.device),
        torch.stack([row.num_prefix for row in rows]).to(like.device),
    )


def mel_errors(flow: CausalMaskedDiffWithXvec, batch: ChatterboxBatch, draws: FlowDraws) -> tuple[Tensor, Tensor]:
    """Squared errors of the velocity, means over channels [B, M], zero on padding, and the frames' mask [B, M]."""
    mel = batch.mel.transpose(1, 2)
    mask = padding_mask(FRAMES_PER_TOKEN * batch.num_frames, mel.shape[2]).to(mel)
    condition = encode_tokens(flow, batch.speech_tokens, batch.num_frames)
    speakers = voice_condition(flow, batch.x_vector)
    places = torch.arange(mel.shape[2], device=mel.device)
    prefix = mel * (places[None] < draws.num_prefix[:, None])[:, None]
    errors = velocity_errors(flow.decoder, mel, mask, condition, speakers, prefix, draws)
    return errors, mask[:, 0]


def velocity_errors(
    decoder: ConditionalCFM,
    x1: Tensor,
    mask: Tensor,
    condition: Tensor,
    speakers: Tensor,
    prefix: Tensor,
    draws: FlowDraws,
) -> Tensor:
    """Squared errors of the estimated velocity [B, M], means over channels, zero on padding.

    Args:
        decoder: upstream's `ConditionalCFM`; x1, condition, prefix: [B, 80, M]; mask: [B, 1, M]; speakers: [B, 80].
    """
    x0, sigma = draws.noise, decoder.sigma_min
    times, keep = draws.times[:, None, None], draws.keep[:, None]
    x_t = (1 - (1 - sigma) * times) * x0 + times * x1
    velocity = x1 - (1 - sigma) * x0
    kept = (condition * keep[..., None], speakers * keep, prefix * keep[..., None])
    estimate = decoder.estimator(x_t, mask, kept[0], draws.times, kept[1], kept[2])
    return (((estimate - velocity) * mask).float() ** 2).mean(dim=1)
