"""Speech from texts: latents, and the audio of them, whole or piece by piece.

Source: pocket_tts/models/tts_model.py (`generate_audio_stream`, `_decode_audio_worker`).
"""

import math
from collections.abc import Iterator, Sequence

import torch
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState, increment_steps, init_states
from torch import Tensor

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.pocket_tts.generation import Chunk, GenerationSettings, RunningRows, generate_latents

FADE_IN_SEC = 0.005
# More rows take more memory and save little: 48 at once drew the latents of 48 sentences of the embedded model in 0.8 s
# instead of 1.1 s by 16, beside some 2.3 s in the codec (one CPU thread).
MAX_ROWS = 16

TextChunks = Sequence[tuple[list[int], int]]


def speak(
    tts: TTSModel,
    voice: ModelState,
    texts: Sequence[TextChunks],
    rngs: Sequence[torch.Generator],
    settings: GenerationSettings,
) -> list[Synthesis]:
    """Texts as chunks of (token ids, frames after the EOS), spoken together, each with noise from its own generator.

    A text's chunks follow one another, since its generator goes on from chunk to chunk.
    """
    pieces: list[list[Tensor]] = [[] for _ in texts]
    ended = [True] * len(texts)
    for number in range(max(map(len, texts), default=0)):
        waiting = [index for index, chunks in enumerate(texts) if number < len(chunks)]
        waiting.sort(key=lambda index: len(texts[index][number][0]))  # texts of like length end together
        for group in _groups(waiting):
            chunks = [_chunk(tts, *texts[index][number], rngs[index]) for index in group]
            for index, generated in zip(group, generate_latents(tts, voice, chunks, settings), strict=True):
                pieces[index].append(decode_audio(tts, generated.latents))
                ended[index] = ended[index] and generated.ended
    return [Synthesis(torch.cat(each), tts.sample_rate, end) for each, end in zip(pieces, ended, strict=True)]


def _groups(indices: list[int]) -> list[list[int]]:
    """As few as hold at most MAX_ROWS each, of nearly equal size."""
    size = math.ceil(len(indices) / math.ceil(len(indices) / MAX_ROWS))
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _chunk(tts: TTSModel, tokens: list[int], frames_after_eos: int, rng: torch.Generator) -> Chunk:
    return Chunk(tokens, frames_after_eos, lambda: torch.randn(1, tts.flow_lm.ldim, generator=rng))


@torch.no_grad()
def stream(
    tts: TTSModel, voice: ModelState, chunks: TextChunks, rng: torch.Generator, settings: GenerationSettings
) -> Iterator[Tensor]:
    """What `speak` says of one text, in pieces [samples] of one latent each, as soon as it is drawn."""
    for tokens, frames_after_eos in chunks:
        chunk = _chunk(tts, tokens, frames_after_eos, rng)
        rows = RunningRows(tts, voice, [chunk], settings)
        decoder = _Decoder(tts, chunk.max_frames(tts.mimi.frame_rate))
        while step := rows.step():
            yield decoder.decode(step[0][None])


@torch.no_grad()
def decode_audio(tts: TTSModel, latents: Tensor) -> Tensor:
    """Audio [samples] of normalised latents [T, C]."""
    return _Decoder(tts, len(latents)).decode(latents)


class _Decoder:
    """Mimi's decoder over the latents of one chunk, faded in over 5 ms as in stock, against a start click."""

    def __init__(self, tts: TTSModel, max_frames: int) -> None:
        self._tts = tts
        self._steps_per_latent = int(tts.mimi.encoder_frame_rate / tts.mimi.frame_rate)
        self._state = init_states(tts.mimi, batch_size=1, sequence_length=max_frames * self._steps_per_latent)
        self._fade: Tensor | None = torch.linspace(0, 1, int(FADE_IN_SEC * tts.sample_rate))

    def decode(self, latents: Tensor) -> Tensor:
        """The next audio [samples] of normalised latents [T, C]."""
        mimi, flow_lm = self._tts.mimi, self._tts.flow_lm
        raw = latents[None] * flow_lm.emb_std + flow_lm.emb_mean
        audio = mimi.decode_from_latent(raw, self._state)[0, 0].float()
        increment_steps(mimi, self._state, increment=len(latents) * self._steps_per_latent)
        if self._fade is not None:
            audio[: len(self._fade)] *= self._fade.to(audio)
            self._fade = None
        return audio.cpu()


@torch.no_grad()
def round_trip(tts: TTSModel, audio: Tensor) -> Tensor:
    """A recording [T] encoded and decoded again, [T]: the best that any FlowLM over this codec could say."""
    latents = tts.mimi.encode_to_latent(audio[None, None].to(tts.flow_lm.bos_emb.device))[0]
    return decode_audio(tts, (latents - tts.flow_lm.emb_mean) / tts.flow_lm.emb_std)[: len(audio)]
