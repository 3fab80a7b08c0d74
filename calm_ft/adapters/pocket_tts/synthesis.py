"""Generation as stock does it, with the noise as an argument.

Stock draws its noise inside the model (and draws, and discards, some while prompting), so that nothing
outside can repeat it. Here the loop takes a noise source; given stock's draws it gives stock's latents.
Source: pocket_tts/models/tts_model.py (`_autoregressive_generation`, `_decode_audio_worker`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState, increment_steps, init_states
from torch import Tensor

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.pocket_tts.voice import num_positions, with_capacity
from calm_ft.flow.sampling import guide, sample_euler, sample_flow_map

MIN_FRAMES_BEFORE_EOS = 6
TOKENS_PER_SEC = 3.0
EXTRA_SEC = 2.0
FADE_IN_SEC = 0.005

NoiseSource = Callable[[], Tensor]


@dataclass(frozen=True)
class GenerationSettings:
    """temperature: variance of the noise; num_steps: flow steps a frame; cfg_coef 1 means no guidance."""

    temperature: float
    num_steps: int
    eos_threshold: float
    cfg_coef: float = 1.0


@dataclass
class GeneratedLatents:
    """latents: normalised [T, C]; ended: whether the EOS head ended it."""

    latents: Tensor
    ended: bool


def speak(
    tts: TTSModel,
    voice: ModelState,
    chunks: list[tuple[list[int], int]],
    rng: torch.Generator,
    settings: GenerationSettings,
) -> Synthesis:
    """Chunks of (token ids, frames after the EOS), one after the other, with noise from `rng`."""

    def noise() -> Tensor:
        return torch.randn(1, tts.flow_lm.ldim, generator=rng)

    pieces, ended = [], True
    for tokens, frames_after_eos in chunks:
        generated = generate_latents(tts, voice, tokens, frames_after_eos, noise, settings)
        pieces.append(decode_audio(tts, generated.latents))
        ended = ended and generated.ended
    return Synthesis(torch.cat(pieces), tts.sample_rate, ended)


@torch.no_grad()
def generate_latents(
    tts: TTSModel,
    voice: ModelState,
    tokens: list[int],
    frames_after_eos: int,
    noise: NoiseSource,
    settings: GenerationSettings,
) -> GeneratedLatents:
    """One chunk of text. `noise()` gives the next frame's standard normal [1, C]."""
    flow_lm = tts.flow_lm
    max_frames = math.ceil((len(tokens) / TOKENS_PER_SEC + EXTRA_SEC) * tts.mimi.frame_rate)
    branches = [_Branch(flow_lm, voice, tokens, max_frames)]
    if settings.cfg_coef != 1.0:
        branches.append(_Branch(flow_lm, _null_voice(flow_lm), [], max_frames))
    latent, frames, eos_frame = flow_lm.bos_emb.view(1, 1, -1), [], None
    for index in range(max_frames):
        outputs = [branch.advance(flow_lm.input_linear(latent)) for branch in branches]
        z = outputs[0] if len(outputs) == 1 else guide(outputs[0], outputs[1], settings.cfg_coef)
        if eos_frame is None and index >= MIN_FRAMES_BEFORE_EOS and bool(flow_lm.out_eos(z) > settings.eos_threshold):
            eos_frame = index
        if eos_frame is not None and index >= eos_frame + frames_after_eos:
            break
        x0 = noise().to(z) * settings.temperature**0.5
        frames.append(_sample_frame(flow_lm, z, x0, settings.num_steps))
        latent = frames[-1][:, None]
    return GeneratedLatents(torch.cat(frames), eos_frame is not None)


def _sample_frame(flow_lm: FlowLMModel, z: Tensor, x0: Tensor, num_steps: int) -> Tensor:
    head = partial(flow_lm.flow_net, z)
    sampler = sample_euler if flow_lm.flow_type == "flow_matching" else sample_flow_map
    return sampler(head, x0, num_steps)


class _Branch:
    """One running sequence: the conditioned one, or the null one of guidance."""

    def __init__(self, flow_lm: FlowLMModel, voice: ModelState, tokens: list[int], max_frames: int) -> None:
        self._flow_lm = flow_lm
        used = num_positions(voice)
        self._state = with_capacity(voice, used + len(tokens) + max_frames)
        if tokens:
            self.advance(flow_lm.conditioner(torch.tensor([tokens], device=flow_lm.bos_emb.device)))

    def advance(self, embeddings: Tensor) -> Tensor:
        """Feed [1, L, D]; returns the output at the last position [1, Z]."""
        flow_lm = self._flow_lm
        output = flow_lm.out_norm(flow_lm.transformer(embeddings, self._state))[:, -1:]
        increment_steps(flow_lm, self._state, increment=embeddings.shape[1])
        if flow_lm.z_proj is not None:
            output = flow_lm.z_proj(output)
        return output[:, 0].float()


@torch.no_grad()
def _null_voice(flow_lm: FlowLMModel) -> ModelState:
    """The state of a row with neither voice nor text."""
    state = init_states(flow_lm, batch_size=1, sequence_length=1)
    if flow_lm.insert_bos_before_voice:
        flow_lm.transformer(flow_lm.bos_before_voice, state)
        increment_steps(flow_lm, state, increment=1)
    return state


@torch.no_grad()
def decode_audio(tts: TTSModel, latents: Tensor) -> Tensor:
    """Audio [samples] of normalised latents [T, C], faded in over 5 ms as in stock, against a start click."""
    raw = latents[None] * tts.flow_lm.emb_std + tts.flow_lm.emb_mean
    steps_per_latent = int(tts.mimi.encoder_frame_rate / tts.mimi.frame_rate)
    state = init_states(tts.mimi, batch_size=1, sequence_length=len(latents) * steps_per_latent)
    audio = tts.mimi.decode_from_latent(raw, state)[0, 0].float()
    fade = torch.linspace(0, 1, int(FADE_IN_SEC * tts.sample_rate), device=audio.device)
    audio[: len(fade)] *= fade
    return audio.cpu()


@torch.no_grad()
def round_trip(tts: TTSModel, audio: Tensor) -> Tensor:
    """A recording [T] encoded and decoded again, [T]: the best that any FlowLM over this codec could say."""
    latents = tts.mimi.encode_to_latent(audio[None, None].to(tts.flow_lm.bos_emb.device))[0]
    return decode_audio(tts, (latents - tts.flow_lm.emb_mean) / tts.flow_lm.emb_std)[: len(audio)]
