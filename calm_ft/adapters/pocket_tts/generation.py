"""Latents as stock generates them, of several texts together, with the noise as an argument.

Stock draws its noise inside the model (and draws, and discards, some while prompting), so that nothing outside can
repeat it. Here the loop takes a noise source; given stock's draws it gives stock's latents. Rows share nothing but the
weights: what a row says is what it says alone, up to the last bits of a matrix product.

Upstream's streaming attention keeps one position for all rows, and room for padding before each of them (`pad`, which
its mask leaves out). So rows of unequal length are aligned at their ends. Positions enter by rotation alone (RoPE),
hence as differences: keys that move by n positions are rotated by n more and mean what they meant.

Sources: pocket_tts/models/tts_model.py (`_autoregressive_generation`), pocket_tts/modules/attention.py
(`_LinearKVCacheBackend`), pocket_tts/modules/rope.py.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.rope import RotaryEmbedding
from pocket_tts.modules.stateful_module import ModelState, increment_steps, init_states
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from calm_ft.flow.sampling import guide, sample_euler, sample_flow_map

MIN_FRAMES_BEFORE_EOS = 6
TOKENS_PER_SEC = 3.0
EXTRA_SEC = 2.0
NoiseSource = Callable[[], Tensor]


def num_positions(state: ModelState) -> int:
    """How many entries a state's caches hold, padding included."""
    return int(next(iter(state.values()))["offset"].view(-1)[0])


def copies(state: ModelState, num_rows: int, num_positions: int) -> ModelState:
    """A state of one row as that of `num_rows`, with room for `num_positions` entries; unused ones are NaN."""
    rows: ModelState = {}
    for name, part in state.items():
        cache = part["cache"]
        capacity = max(num_positions, cache.shape[2])
        longer = cache.new_full((2, num_rows, capacity, *cache.shape[3:]), torch.nan)
        longer[:, :, : cache.shape[2]] = cache
        offset = part["offset"].view(-1).repeat(num_rows)
        rows[name] = {"cache": longer, "offset": offset, "pad": torch.zeros_like(offset)}
    return rows


def align_at_end(state: ModelState, rope: RotaryEmbedding, unused: list[int]) -> None:
    """Move each row's entries back by its number of `unused` ones at the end, which become padding before it."""
    end = num_positions(state)
    for part in state.values():
        part["pad"] = part["offset"].new_tensor(unused)
        for row, by in enumerate(unused):
            if by:
                keys, values = part["cache"][:, row, : end - by].clone()
                keys = rope(keys[:, None], keys[:, None], by)[1][:, 0]  # each entry a row of one position: `by`
                part["cache"][0, row, by:end], part["cache"][1, row, by:end] = keys, values
                part["cache"][:, row, :by] = 0  # a weight of zero does not hide a NaN


def keep_rows(state: ModelState, rows: list[int]) -> None:
    """The other rows leave; layer by layer, so that little is held twice."""
    for part in state.values():
        part.update({key: part[key][:, rows] if key == "cache" else part[key][rows] for key in part})


@dataclass(frozen=True)
class GenerationSettings:
    """temperature: variance of the noise; num_steps: flow steps a frame; cfg_coef 1 means no guidance."""

    temperature: float
    num_steps: int
    eos_threshold: float
    cfg_coef: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """A chunk of text: token ids, how many frames follow the EOS, and `noise()`, a standard normal [1, C] a frame."""

    tokens: list[int]
    frames_after_eos: int
    noise: NoiseSource

    def max_frames(self, frame_rate_hz: float) -> int:
        """Where generation stops that does not end by itself."""
        return math.ceil((len(self.tokens) / TOKENS_PER_SEC + EXTRA_SEC) * frame_rate_hz)


@dataclass
class GeneratedLatents:
    """latents: normalised [T, C]; ended: whether the EOS head ended it."""

    latents: Tensor
    ended: bool


@torch.no_grad()
def generate_latents(
    tts: TTSModel, voice: ModelState, chunks: Sequence[Chunk], settings: GenerationSettings
) -> list[GeneratedLatents]:
    """Chunks of text spoken together, each by itself."""
    rows = RunningRows(tts, voice, chunks, settings)
    frames: list[list[Tensor]] = [[] for _ in chunks]
    while step := rows.step():
        for place, latent in step.items():
            frames[place].append(latent)
    return [GeneratedLatents(torch.stack(each), ended) for each, ended in zip(frames, rows.ended, strict=True)]


class RunningRows:
    """Chunks of text that are being spoken, frame by frame, one row each. A row leaves when it is done."""

    def __init__(self, tts: TTSModel, voice: ModelState, chunks: Sequence[Chunk], settings: GenerationSettings) -> None:
        self._flow_lm, self._settings = tts.flow_lm, settings
        self._rows = [_Row(place, each, each.max_frames(tts.mimi.frame_rate)) for place, each in enumerate(chunks)]
        max_frames = max(row.max_frames for row in self._rows)
        self._branches = [_Branch.of_texts(self._flow_lm, voice, [each.tokens for each in chunks], max_frames)]
        if settings.cfg_coef != 1.0:
            self._branches.append(_Branch(self._flow_lm, _null_voice(self._flow_lm), len(chunks), max_frames))
        self._latents = self._flow_lm.bos_emb.expand(len(chunks), -1)
        self._num_frames = 0
        self.ended = [False] * len(chunks)

    def step(self) -> dict[int, Tensor]:
        """The next frame [C] of each row that goes on, by the chunk's place; empty once all are done."""
        self._keep([row for row in self._rows if self._num_frames < row.max_frames])
        if not self._rows:
            return {}
        inputs = self._flow_lm.input_linear(self._latents[:, None])
        outputs = [branch.advance(inputs) for branch in self._branches]
        z = outputs[0] if len(outputs) == 1 else guide(outputs[0], outputs[1], self._settings.cfg_coef)
        going_on = self._listen_for_eos(z)
        if not going_on:
            return {}
        noise = torch.cat([row.chunk.noise() for row in self._rows])
        x0 = noise.to(z) * self._settings.temperature**0.5
        self._latents = _sample_frames(self._flow_lm, z[going_on], x0, self._settings.num_steps)
        self._num_frames += 1
        return {row.place: latent for row, latent in zip(self._rows, self._latents, strict=True)}

    def _listen_for_eos(self, z: Tensor) -> list[int]:
        """Rows that were to end by now leave; returns where in z [B, Z] those are that go on."""
        if self._num_frames >= MIN_FRAMES_BEFORE_EOS:
            heard = (self._flow_lm.out_eos(z) > self._settings.eos_threshold).view(-1).tolist()
            for row, eos in zip(self._rows, heard, strict=True):
                if eos and row.last_frame is None:
                    row.last_frame = self._num_frames + row.chunk.frames_after_eos
                    self.ended[row.place] = True
        before = self._rows
        self._keep([row for row in before if row.last_frame is None or self._num_frames < row.last_frame])
        return [index for index, row in enumerate(before) if row in self._rows]

    def _keep(self, rows: list["_Row"]) -> None:
        """The other rows cost nothing from now on."""
        if len(rows) < len(self._rows):
            kept = [index for index, row in enumerate(self._rows) if row in rows]
            for branch in self._branches:
                branch.keep(kept)
            self._rows, self._latents = rows, self._latents[kept]


@dataclass(eq=False)
class _Row:
    """last_frame: how many frames it has once it has ended, known from its EOS on."""

    place: int
    chunk: Chunk
    max_frames: int
    last_frame: int | None = None


def _sample_frames(flow_lm: FlowLMModel, z: Tensor, x0: Tensor, num_steps: int) -> Tensor:
    head = partial(flow_lm.flow_net, z)
    sampler = sample_euler if flow_lm.flow_type == "flow_matching" else sample_flow_map
    return sampler(head, x0, num_steps)


class _Branch:
    """Running sequences of one kind: the conditioned ones, or the null ones of guidance."""

    def __init__(self, flow_lm: FlowLMModel, voice: ModelState, num_rows: int, num_more: int) -> None:
        """Rows that go on from a voice's state, with room for `num_more` positions."""
        self._flow_lm = flow_lm
        self._state = copies(voice, num_rows, num_positions(voice) + num_more)

    @classmethod
    def of_texts(
        cls, flow_lm: FlowLMModel, voice: ModelState, texts: Sequence[list[int]], max_frames: int
    ) -> "_Branch":
        """Rows after a voice and their own token ids."""
        longest = max(len(tokens) for tokens in texts)
        branch = cls(flow_lm, voice, len(texts), longest + max_frames)
        # Tokens past a row's end are any: attention is causal, and `align_at_end` drops what they leave.
        tokens = pad_sequence([torch.tensor(tokens) for tokens in texts], batch_first=True)
        branch.advance(flow_lm.conditioner(tokens.to(flow_lm.bos_emb.device)))
        align_at_end(branch._state, flow_lm.transformer.rope, [longest - len(tokens) for tokens in texts])
        return branch

    def advance(self, embeddings: Tensor) -> Tensor:
        """Feed [B, L, D]; returns the outputs at the last position [B, Z]."""
        flow_lm = self._flow_lm
        output = flow_lm.out_norm(flow_lm.transformer(embeddings, self._state)[:, -1])
        increment_steps(flow_lm, self._state, increment=embeddings.shape[1])
        return (output if flow_lm.z_proj is None else flow_lm.z_proj(output)).float()

    def keep(self, rows: list[int]) -> None:
        keep_rows(self._state, rows)


@torch.no_grad()
def _null_voice(flow_lm: FlowLMModel) -> ModelState:
    """The state of a row with neither voice nor text."""
    state = init_states(flow_lm, batch_size=1, sequence_length=1)
    if flow_lm.insert_bos_before_voice:
        flow_lm.transformer(flow_lm.bos_before_voice, state)
        increment_steps(flow_lm, state, increment=1)
    return state
