"""Voices, and speech from texts: latents, and the audio of them, whole or piece by piece.

A voice is the backbone's key/value state after a voice prompt, made with the weights as they now are. A saved state
(voice.safetensors) is the output of the weights that made it: a state of the base model does not fit a tuned backbone,
hence the export makes its own.

Sources: pocket_tts/models/tts_model.py (`get_state_for_audio_prompt`, `generate_audio_stream`,
`_decode_audio_worker`), pocket_tts/models/model_state.py.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from pocket_tts.models.model_state import export_model_state
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState, increment_steps, init_states
from pocket_tts.utils.utils import _ORIGINS_OF_PREDEFINED_VOICES as PREDEFINED_VOICES
from safetensors import SafetensorError
from torch import Tensor

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.hub import is_remote
from calm_ft.adapters.pocket_tts.generation import Chunk, GenerationSettings, RunningRows, generate_latents
from calm_ft.adapters.pocket_tts.loading import fetch
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line

MAX_PROMPT_SEC = 30.0
FADE_IN_SEC = 0.005
# More rows take more memory and save little: 48 at once drew the latents of 48 sentences of the embedded model in 0.8 s
# instead of 1.1 s by 16, beside some 2.3 s in the codec (one CPU thread).
MAX_ROWS = 16
TextChunks = Sequence[tuple[list[int], int]]


def load_voice(tts: TTSModel, source: str | Path) -> ModelState:
    """Voice state from an audio file, a saved state, an hf:// path of either, or an upstream voice's name.

    Raises UserError where the source is missing, unreadable or made for another architecture.
    """
    if str(source) in PREDEFINED_VOICES:
        try:
            return tts.get_state_for_audio_prompt(str(source))
        except (ValueError, OSError) as error:
            raise UserError(
                f"The upstream voice {source!r} is a state of released weights and cannot be used here "
                "(other weights, or the hub is out of reach): pass a recording of the voice as an audio file."
            ) from error
    path = fetch(str(source)) if is_remote(str(source)) else Path(source)
    if not path.is_file():
        raise UserError(
            f"There is no voice {source}: pass an audio file, a voice.safetensors, or an upstream voice's name."
        )
    if path.suffix == ".safetensors":
        return _load_state(tts, path)
    try:
        clip = load_clip(Utterance("voice", path, ""), tts.sample_rate, tail_sec=0.2)
    except UnusableClip as error:
        raise UserError(f"The voice recording {path} cannot be used: {error}.") from error
    return voice_from_audio(tts, clip.samples)


def voice_from_audio(tts: TTSModel, samples: Tensor) -> ModelState:
    """Voice state of a recording [T] at the model's rate; only its first 30 seconds are used, as in stock."""
    samples = samples[: int(MAX_PROMPT_SEC * tts.sample_rate)]
    return tts.get_state_for_audio_prompt(samples[None])


def save_voice(state: ModelState, path: Path) -> None:
    """Write a voice state that stock `--voice FILE.safetensors` reads."""
    export_model_state({name: {k: t.cpu().contiguous() for k, t in part.items()} for name, part in state.items()}, path)


def _load_state(tts: TTSModel, path: Path) -> ModelState:
    try:
        state = tts.get_state_for_audio_prompt(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is not a saved voice state ({one_line(error)}): export the voice again, or pass a recording."
        ) from error
    expected = init_states(tts.flow_lm, batch_size=1, sequence_length=1)
    fits = expected.keys() == state.keys() and all(
        {"cache", "offset"} <= state[name].keys() and state[name]["cache"].shape[3:] == part["cache"].shape[3:]
        for name, part in expected.items()
    )
    if not fits:
        raise UserError(
            f"The voice state {path} was made with another architecture: pass a recording of the voice instead."
        )
    return state


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
