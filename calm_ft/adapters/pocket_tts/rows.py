"""A training batch: its rows, laid out as stock generation consumes them, and what the heads make of them.

    [bos_before_voice?] [voice latents @ speaker_proj] [text embedding] [bos_emb] [latent 0] ... [latent n-1]

The output at `bos_emb` conditions the heads for frame 0, the output at latent n-1 those for frame n, the first one
past the end, whose EOS target is 1. A batch therefore has one frame past its longest end; without it the longest row
has no EOS target, and a batch of equal lengths has none at all. Voice latents enter raw, target latents normalised.
Rows are right-padded: attention is causal, so padding after the audio reaches no valid position.

Source: pocket_tts/models/tts_model.py (`get_state_for_audio_prompt` feeds the voice, `_generate` the text,
`_autoregressive_generation` the latents).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.modules.mlp import SimpleMLPAdaLN
from pocket_tts.modules.transformer import StreamingTransformerLayer
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.base import RowResiduals
from calm_ft.adapters.frozen_layers import only_layers
from calm_ft.adapters.packing import outputs_of_segment, pack_segments
from calm_ft.adapters.pocket_tts.attention_guide import NO_WORD
from calm_ft.adapters.pocket_tts.components import is_compiled, through_layer
from calm_ft.adapters.pocket_tts.head import frame_head
from calm_ft.flow.objective import Draws, Objective
from calm_ft.flow.precision import at_least_float32, without_autocast
from calm_ft.flow.validation import one_step_scores, validation_residuals
from calm_ft.randomness import derive_seed, make_rng

Span = tuple[int, int]
"""Where the frames of a row begin, and at how many positions from there something is predicted."""

FLOW_SHARE = 0.75  # of the joint residual; the rest is LSD's


@dataclass
class Kept:
    """What frozen layers make of a batch's rows (see `trunk.kept_outputs`).

    outputs: [B, L, D]; prefix_lengths: [B]; depth: how many layers have run.
    """

    outputs: Tensor
    prefix_lengths: Tensor
    depth: int


@dataclass
class PocketTTSBatch:
    """One batch; masks are True where valid.

    latents [B, T, C] raw codec latents, T = longest + 1; num_frames [B]; text_tokens [B, S]; text_mask [B,
    S]; prompt_latents [B, P, C] raw; prompt_mask [B, P]; places: each row's index in the whole batch, of which
    this may be one process's share; prompt_ids: the other utterances that prompt some of the rows; said [B, T, 2]: the
    tokens of the word that each frame says (`attention_guide.tokens_said`); replayed [B]: True where the clip is of
    another source than the tuned voice's; kept: what the frozen layers make of the rows, None where they are to run.

    What is needed of them on the CPU at every step, so that a GPU need not be waited for: lengths, `num_frames` as
    numbers; prefix_lengths, of each row's voice and text; frame_places [N], the valid frames among the B * T; drawn:
    what the loss draws, where it was drawn beforehand.
    """

    latents: Tensor
    num_frames: Tensor
    text_tokens: Tensor
    text_mask: Tensor
    prompt_latents: Tensor
    prompt_mask: Tensor
    utterance_ids: list[str]
    places: list[int]
    prompt_ids: list[str]
    said: Tensor
    replayed: Tensor
    lengths: list[int]
    prefix_lengths: list[tuple[int, int]]
    frame_places: Tensor
    kept: Kept | None = None
    drawn: "Drawn | None" = None

    @property
    def row_length(self) -> int:
        """Of the longest row: bos_before_voice, voice, text, bos_emb, and all frames but the one past every end."""
        return 1 + max(map(sum, self.prefix_lengths)) + self.latents.shape[1]

    def spans(self, bos_before_voice: bool) -> list[Span]:
        """Of each row, known on the CPU."""
        return [
            (bos_before_voice + voice + text, length + 1)
            for (voice, text), length in zip(self.prefix_lengths, self.lengths, strict=True)
        ]

    @property
    def frame_mask(self) -> Tensor:
        """[B, T], True on the frames of each utterance."""
        return self._frame_index < self.num_frames[:, None]

    @property
    def eos_mask(self) -> Tensor:
        """[B, T], True where the EOS head is trained: all frames and the first one past the end."""
        return self._frame_index <= self.num_frames[:, None]

    @property
    def eos_target(self) -> Tensor:
        """[B, T], True on the first frame past the end: exactly one a row."""
        return self._frame_index == self.num_frames[:, None]

    def to(self, device: torch.device) -> "PocketTTSBatch":
        """The same on a device."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin_memory(self) -> "PocketTTSBatch":
        """The same in memory that a GPU reads while the processor goes on; a loader with `pin_memory` calls it."""
        return self._changed(lambda tensor: tensor.pin_memory())

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "PocketTTSBatch":
        def of(tensors: Any) -> Any:
            return {name: change(value) for name, value in vars(tensors).items() if isinstance(value, Tensor)}

        kept = None if self.kept is None else replace(self.kept, **of(self.kept))
        drawn = (
            None if self.drawn is None else replace(self.drawn, draws=replace(self.drawn.draws, **of(self.drawn.draws)))
        )
        return replace(self, **of(self), kept=kept, drawn=drawn)

    @property
    def padding_share(self) -> Tensor:
        """Share of padding among the frames of the targets, each row padded to the longest; a scalar on the device."""
        return 1 - self.num_frames.sum() / (len(self.latents) * (self.latents.shape[1] - 1))

    @property
    def _frame_index(self) -> Tensor:
        return torch.arange(self.latents.shape[1], device=self.latents.device)[None]


@dataclass(frozen=True)
class Drawn:
    """What `draws_of` gives for a batch and a seed."""

    seed: int
    draws: Draws


@dataclass(frozen=True)
class Row:
    """One row before padding: latents [T, C], tokens, prompt latents [P, C] (P = 0 without a prompt).

    prompt_id: the utterance that the prompt is from, where it is another one; said [T, 2]: see `PocketTTSBatch`, None
    where it is not known.
    """

    utterance_id: str
    latents: Tensor
    tokens: list[int]
    prompt_latents: Tensor
    place: int
    prompt_id: str | None = None
    said: Tensor | None = None
    is_replayed: bool = False


def collate_rows(rows: list[Row], padding_token: int) -> PocketTTSBatch:
    """Right-pad rows to a batch; latents get one frame past the longest end."""
    num_frames = torch.tensor([len(row.latents) for row in rows])
    latents = rows[0].latents.new_zeros(len(rows), int(num_frames.max()) + 1, rows[0].latents.shape[-1])
    prompts = latents.new_zeros(len(rows), max(len(row.prompt_latents) for row in rows), latents.shape[-1])
    tokens = torch.full((len(rows), max(len(row.tokens) for row in rows)), padding_token)
    prompt_mask = torch.zeros(prompts.shape[:2], dtype=torch.bool)
    text_mask = torch.zeros(tokens.shape, dtype=torch.bool)
    said = torch.full((*latents.shape[:2], 2), NO_WORD)
    for index, row in enumerate(rows):
        if row.said is not None:
            said[index, : len(row.said)] = row.said
        latents[index, : len(row.latents)] = row.latents
        prompts[index, : len(row.prompt_latents)] = row.prompt_latents
        prompt_mask[index, : len(row.prompt_latents)] = True
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        text_mask[index, : len(row.tokens)] = True
    ids, places = [row.utterance_id for row in rows], [row.place for row in rows]
    prompt_ids = [row.prompt_id for row in rows if row.prompt_id is not None]
    replayed = torch.tensor([row.is_replayed for row in rows])
    lengths = num_frames.tolist()
    return PocketTTSBatch(
        *(
            latents,
            num_frames,
            tokens,
            text_mask,
            prompts,
            prompt_mask,
            ids,
            places,
            prompt_ids,
            said,
            replayed,
            lengths,
        ),
        prefix_lengths=[(len(row.prompt_latents), len(row.tokens)) for row in rows],
        frame_places=torch.cat(
            [index * latents.shape[1] + torch.arange(length) for index, length in enumerate(lengths)]
        ),
    )


def drop_conditioning(batch: PocketTTSBatch, probability: float, seed: int) -> PocketTTSBatch:
    """Remove whole text and voice segments, each by itself with `probability` (classifier-free guidance).

    What a row draws is a function of (seed, its place).
    """
    draws = [torch.rand(2, generator=make_rng(seed, "conditioning_dropout", place)) for place in batch.places]
    kept = torch.stack(draws, dim=1) >= probability
    lengths = [
        (voice * has_voice, text * has_text)
        for (voice, text), (has_text, has_voice) in zip(batch.prefix_lengths, kept.T.tolist(), strict=True)
    ]
    keep = kept[..., None].to(batch.text_mask.device)
    return replace(
        batch,
        text_mask=batch.text_mask & keep[0],
        prompt_mask=batch.prompt_mask & keep[1],
        said=batch.said.masked_fill(~keep[0][..., None], NO_WORD),
        prefix_lengths=lengths,
    )


def noise_on_inputs(batch: PocketTTSBatch, max_std: float, seed: int) -> Tensor:
    """Gaussian noise [B, T, C] for the latents that are fed back, in units of the normalised latents.

    In training the model hears the recording, in synthesis its own frames with their errors; noise makes it rely less
    on details that will not be there (CALM, arXiv 2509.06926, section 3.2, adds it for the same reason). The standard
    deviation is uniform in [0, max_std], one for each row, a function of (seed, its place).
    """
    noise = torch.zeros(batch.latents.shape)
    for row, place, length in zip(noise, batch.places, batch.num_frames.tolist(), strict=True):
        rng = make_rng(seed, "noise_on_inputs", place)
        std = max_std * torch.rand((), generator=rng)
        row[:length] = std * torch.randn(length, noise.shape[-1], generator=rng)
    return noise.to(batch.latents)


def assemble_rows(
    flow_lm: FlowLMModel,
    normalized_latents: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor,
    prompt_latents: Tensor,
    prompt_mask: Tensor,
    longest: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Concatenate each row's own segments without gaps.

    Args:
        normalized_latents: [B, T, C], the last frame of which is never an input (it lies past every end).
        text_tokens, text_mask: [B, S] int64 and bool; prompt_latents, prompt_mask: [B, P, C] and [B, P].
        longest: see `pack_segments`.

    Returns:
        rows [B, L, D] and prefix_lengths [B]: the index of `bos_emb` in each row.
    """
    num_rows, num_frames, _ = normalized_latents.shape
    bos = flow_lm.bos_emb.expand(num_rows, 1, -1)
    audio = flow_lm.input_linear(torch.cat([bos, normalized_latents[:, :-1]], dim=1))
    voice = F.linear(prompt_latents, flow_lm.speaker_proj_weight)
    segments = [voice, flow_lm.conditioner(text_tokens), audio]
    masks = [prompt_mask, text_mask, text_mask.new_ones(num_rows, num_frames)]
    if flow_lm.insert_bos_before_voice:
        segments.insert(0, flow_lm.bos_before_voice.expand(num_rows, 1, -1))
        masks.insert(0, text_mask.new_ones(num_rows, 1))
    packed = pack_segments(segments, masks, longest)
    return packed.embeddings, packed.starts[-1]


def backbone_outputs(
    flow_lm: FlowLMModel,
    rows: Tensor,
    prefix_lengths: Tensor,
    num_frames: int,
    spans: Sequence[Span] | None = None,
    first_layer: int = 0,
) -> Tensor:
    """Teacher-forced backbone output z [B, T, D]: z[:, t] conditions the flow and EOS heads for frame t.

    Args:
        rows: [B, L, D], what enters `first_layer`.
        prefix_lengths: [B], see `assemble_rows`.
        spans: of each row, so that what need not run on padding does not; z is zero there.
    """
    transformer = flow_lm.transformer
    layers = transformer.layers[first_layer:]
    if spans is None or not layers or is_compiled(layers[-1]):
        with only_layers(transformer, first_layer, None):
            frames = outputs_of_segment(transformer(rows, None), prefix_lengths, num_frames)
        return _out(flow_lm, frames)
    valid = _places(rows.shape[1], [(0, prefix + count) for prefix, count in spans], rows.device)
    for layer in layers[:-1]:
        rows = through_layer(layer, partial(_with_padding, layer, valid), rows)
    # Nothing hears what the last layer makes of voice and text.
    heard = _places(rows.shape[1], [(prefix, prefix + count) for prefix, count in spans], rows.device)
    output = _out(flow_lm, through_layer(layers[-1], partial(_without_padding, layers[-1], heard), rows))
    z = output.new_zeros(len(spans) * num_frames, output.shape[-1])
    places = _places(num_frames, [(0, count) for _, count in spans], rows.device)
    return z.index_copy(0, places, output).view(len(spans), num_frames, -1)


def _with_padding(layer: StreamingTransformerLayer, places: Tensor, rows: Tensor) -> Tensor:
    """What a layer makes of rows [B, L, D]; its feed-forward runs at `places` [N] of them alone."""
    attended = layer._sa_block(rows, None).flatten(0, 1)
    return attended.index_copy(0, places, layer._ff_block(attended.index_select(0, places))).view_as(rows)


def _without_padding(layer: StreamingTransformerLayer, places: Tensor, rows: Tensor) -> Tensor:
    """The same at `places` alone, [N, D]."""
    return layer._ff_block(layer._sa_block(rows, None).flatten(0, 1).index_select(0, places))


def _out(flow_lm: FlowLMModel, hidden: Tensor) -> Tensor:
    """What the heads are given of what leaves the last layer, [..., D]."""
    output = flow_lm.out_norm(hidden)
    return output if flow_lm.z_proj is None else flow_lm.z_proj(output)


def _places(row_length: int, ranges: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """The places [N] of each row's range among all positions of rows of one length, row by row."""
    places = torch.cat([row * row_length + torch.arange(*each) for row, each in enumerate(ranges)])
    return places.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else places.to(device)


def normalized(flow_lm: FlowLMModel, batch: PocketTTSBatch) -> Tensor:
    """The batch's latents as the heads predict them, [B, T, C]."""
    return (batch.latents - flow_lm.emb_mean) / flow_lm.emb_std


def teacher_forced(flow_lm: FlowLMModel, batch: PocketTTSBatch, fed_back: Tensor) -> tuple[Tensor, Tensor]:
    """Backbone outputs z [B, T, D] for the batch's rows, and prefix_lengths [B], with the latents `fed_back` heard."""
    rows, prefix_lengths = assembled(flow_lm, batch, fed_back)
    spans = batch.spans(flow_lm.insert_bos_before_voice)
    return backbone_outputs(flow_lm, rows, prefix_lengths, fed_back.shape[1], spans), prefix_lengths


def assembled(flow_lm: FlowLMModel, batch: PocketTTSBatch, fed_back: Tensor) -> tuple[Tensor, Tensor]:
    """The batch's rows [B, L, D] as the backbone takes them, and prefix_lengths [B], with the latents `fed_back`."""
    segments = (batch.text_tokens, batch.text_mask, batch.prompt_latents, batch.prompt_mask)
    return assemble_rows(flow_lm, fed_back, *segments, longest=batch.row_length - (not flow_lm.insert_bos_before_voice))


@dataclass
class Hidden:
    """What the heads consume: z [B, T, D], targets x1 [B, T, C] (normalised), and the batch's masks.

    log_attention [B, T, S]: of the guided head over the text (`attention_guide.text_attention`), where it is guided.
    """

    z: Tensor
    x1: Tensor
    batch: PocketTTSBatch
    log_attention: Tensor | None = None


def eos_losses(flow_lm: FlowLMModel, hidden: Hidden) -> Tensor:
    """Binary cross-entropy of the EOS head at every position [B, T], zero outside `eos_mask`."""
    logits = flow_lm.out_eos(hidden.z).squeeze(-1).float()
    batch = hidden.batch
    losses = F.binary_cross_entropy_with_logits(logits, batch.eos_target.to(logits), reduction="none")
    return losses.masked_fill(~batch.eos_mask, 0.0)


def head_rows(
    objective: Objective, head: SimpleMLPAdaLN, hidden: Hidden, num_times: int, seed: int
) -> tuple[Tensor, Tensor, Draws]:
    """Embedded conditions [N, channels], targets [N, C] and draws: every valid frame is `num_times` of the N rows.

    Utterance by utterance, and what an utterance draws is a function of (seed, its place): batch mates cannot change
    it.
    """
    places, lengths = hidden.batch.frame_places, hidden.batch.lengths
    with without_autocast(hidden.z.device):
        embedded = head.cond_embed(at_least_float32(hidden.z.flatten(0, 1)[places]))
    cond, x1 = (
        torch.cat([row.repeat(num_times, 1) for row in values.split(lengths)])
        for values in (embedded, at_least_float32(hidden.x1.flatten(0, 1)[places]))
    )
    drawn = hidden.batch.drawn
    if drawn is not None and drawn.seed == seed:
        return cond, x1, drawn.draws
    return cond, x1, draws_of(objective, hidden.batch, num_times, seed)


def draws_of(objective: Objective, batch: PocketTTSBatch, num_times: int, seed: int) -> Draws:
    """`num_times` times for every valid frame and their noise, utterance by utterance."""
    draws = [
        objective.draw(num_times * length, batch.latents.shape[-1], make_rng(seed, "objective", place))
        for length, place in zip(batch.lengths, batch.places, strict=True)
    ]
    return Draws.joined(draws)


@torch.no_grad()
def row_residuals(flow_lm: FlowLMModel, hidden: Hidden, temperature: float, seed: int) -> RowResiduals:
    """Unweighted residuals and sampling scores of each row, with noise and times from (seed, its utterance's id).

    The joint one is 0.75 flow + 0.25 LSD whatever the objective trained, flow alone for a head with one time condition.
    """
    batch, eos = hidden.batch, eos_losses(flow_lm, hidden)
    head = frame_head(flow_lm.flow_net)
    collected: dict[str, list[Tensor]] = {}
    for index, utterance_id in enumerate(batch.utterance_ids):
        rng = make_rng(derive_seed(seed, utterance_id), "validation")
        valid = batch.frame_mask[index]
        with without_autocast(hidden.z.device):
            cond = flow_lm.flow_net.cond_embed(at_least_float32(hidden.z[index, valid]))
        x1 = at_least_float32(hidden.x1[index, valid])
        residuals = validation_residuals(head, cond, x1, rng)
        scores = one_step_scores(head, cond, x1, temperature, rng)
        for name, values in (residuals | scores).items():
            collected.setdefault(name, []).append(values.mean())
        collected.setdefault("eos", []).append(eos[index, batch.eos_mask[index]].mean())
    means = {name: torch.stack(values) for name, values in collected.items()}
    lsd = means.get("lsd", means["flow"])
    residual = FLOW_SHARE * means["flow"] + (1 - FLOW_SHARE) * lsd
    return RowResiduals({"residual": residual, **means}, batch.num_frames)
