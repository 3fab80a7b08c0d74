"""Voices, and generation by upstream's own code, strung together as in `ChatterboxTTS.generate`, with a seed.

A voice is what stock generation is conditioned on, from a recording or a conds.pt. T3 gets a speaker embedding and the
tokens of the first seconds, S3Gen tokens, mel and x-vector of the first ten. All of it comes from networks that are
never trained, so a voice fits every tuned model. What is learned of a voice itself is added to it: `learned_voice`.

Sources: chatterbox/tts.py (`Conditionals`, `prepare_conditionals`, `generate`), chatterbox/models/s3gen/s3gen.py
(`embed_ref`).
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import perth
import torch
from chatterbox.models.s3gen import flow_matching
from chatterbox.models.s3tokenizer import SPEECH_VOCAB_SIZE
from chatterbox.models.t3 import t3 as t3_module
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.tts import Conditionals
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.chatterbox.features import (
    MAX_REFERENCE_SEC,
    SAMPLE_RATE_HZ,
    SAMPLES_PER_TOKEN,
    Hearing,
    pad_to_tokens,
    prompt_tokens,
    resampled,
    speaker_embedding,
)
from calm_ft.adapters.chatterbox.files import CONDITIONALS
from calm_ft.adapters.chatterbox.learned_voice import LearnedConditionals, has_learned_prompt
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.adapters.voice_library import torch_content
from calm_ft.atomic_file import atomic_path
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line

MIN_PROMPT_TOKENS = 13  # half a second: less holds no voice
TAIL_SEC = 0.2
T3_FIELDS = {"speaker_emb", "cond_prompt_speech_tokens"}
S3GEN_FIELDS = {"prompt_token", "prompt_token_len", "prompt_feat", "embedding"}
MIN_SPOKEN_SEC = 0.1
LEARNED = "learned"  # a voice file's entry beside upstream's


def load_voice(models: ChatterboxModels, source: str | Path, hearing: Hearing, exaggeration: float) -> Conditionals:
    """A voice from an audio file or a conds.pt, on the networks' device.

    Raises UserError where the source is missing, unreadable, too short or no voice.
    """
    path = Path(source)
    if not path.is_file():
        raise UserError(f"There is no voice {source}: pass an audio file or a {CONDITIONALS}.")
    device = next(models.t3.parameters()).device
    if path.suffix == ".pt":
        return read_voice(path).to(device)
    return voice_from_audio(models, _recorded(path), str(path), hearing, exaggeration).to(device)


def _recorded(path: Path) -> Tensor:
    """A recording [T] at 24 kHz. Raises UserError where it cannot be used."""
    try:
        return load_clip(Utterance("voice", path, ""), SAMPLE_RATE_HZ, TAIL_SEC).samples
    except UnusableClip as error:
        raise UserError(f"The voice recording {path} cannot be used: {error}.") from error


@torch.no_grad()
def load_voices(
    models: ChatterboxModels, sources: Sequence[Path], hearing: Hearing, exaggeration: float
) -> Conditionals:
    """One voice of several recordings, on the networks' device.

    Its speaker embedding is the mean of all of theirs, of norm 1 again; tokens and mel are those of the beginning of
    the recordings one after the other, for T3 and S3Gen hear a few seconds alone.

    Raises UserError where a recording is unreadable, or all together are too short.
    """
    clips = [_recorded(source) for source in sources]
    name = ", ".join(map(str, sources))
    voice = voice_from_audio(models, torch.cat(clips), name, hearing, exaggeration)
    embeddings = torch.stack([speaker_embedding(models, resampled(hearing.heard(clip))) for clip in clips])
    voice.t3.speaker_emb = F.normalize(embeddings.mean(dim=0), dim=0)[None]
    return voice.to(next(models.t3.parameters()).device)


@torch.no_grad()
def voice_from_audio(
    models: ChatterboxModels, samples: Tensor, name: str, hearing: Hearing, exaggeration: float
) -> Conditionals:
    """The voice of a recording [T] at 24 kHz. Raises UserError where it is too short."""
    duration_sec = len(samples) / SAMPLE_RATE_HZ
    if len(samples) < MIN_PROMPT_TOKENS * SAMPLES_PER_TOKEN or duration_sec < hearing.min_voice_sec:
        raise UserError(
            f"The voice recording {name} lasts {duration_sec:.2f} s, too short for a voice prompt: give one of at "
            f"least {hearing.min_voice_sec:g} s, better of six to ten."
        )
    samples = hearing.heard(samples)
    low_rate = resampled(samples)
    condition = T3Cond(
        speaker_emb=speaker_embedding(models, low_rate)[None],
        cond_prompt_speech_tokens=prompt_tokens(models, low_rate, hearing.prompt_sec)[None],
        emotion_adv=exaggeration * torch.ones(1, 1, 1),
    )
    # Whole tokens, else upstream warns that mel and tokens differ in length and cuts the tokens.
    reference = pad_to_tokens(samples[: MAX_REFERENCE_SEC * SAMPLE_RATE_HZ])
    generator = models.s3gen.embed_ref(reference, SAMPLE_RATE_HZ, device=next(models.s3gen.parameters()).device)
    return Conditionals(condition, {name: _copied(value) for name, value in generator.items()})


def save_voice(voice: Conditionals, path: Path) -> None:
    """Write a conds.pt that upstream reads with `weights_only=True`: tensors, None and names alone.

    What was learned of the voice stands beside upstream's two entries, at which alone upstream looks.
    """
    t3 = {name: _copied(value) for name, value in vars(_without_cached_prompt(voice)).items()}
    content = {"t3": t3, "gen": {name: _copied(value) for name, value in voice.gen.items()}}
    if isinstance(voice, LearnedConditionals):
        content[LEARNED] = {"speaker_offset": _copied(voice.speaker_offset), "has_prompt": voice.has_prompt}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def read_voice(path: Path) -> Conditionals:
    """A saved voice, on the CPU. Raises UserError where the file is damaged or holds anything else."""
    try:
        content = torch_content(path)
        if not content["t3"].keys() >= T3_FIELDS or not content["gen"].keys() >= S3GEN_FIELDS:
            raise ValueError("it lacks parts of a voice")
        if LEARNED in content:
            return LearnedConditionals(T3Cond(**content["t3"]), content["gen"], **content[LEARNED])
        return Conditionals(T3Cond(**content["t3"]), content["gen"])
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a saved Chatterbox voice ({one_line(error, 120)}): export the voice again, or pass a "
            "recording."
        ) from error


def _copied(value: object) -> object:
    """On the CPU; clones of inference tensors are plain tensors."""
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class SpokenTokens:
    """tokens [N] for S3Gen, none of them a start or stop token; ended: whether the stop token came."""

    tokens: Tensor
    ended: bool


@torch.no_grad()
def speak(
    models: ChatterboxModels, voice: Conditionals, draw: Callable[[], SpokenTokens], seed: int, num_steps: int
) -> Synthesis:
    """Speak what T3 draws; global random states are left as they were.

    Args:
        draw: has T3 draw speech tokens from global random state, which is a function of the seed then.
        num_steps: of S3Gen's flow.

    The audio carries upstream's inaudible watermark.
    """
    device = next(models.t3.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        with _without_progress_bars():
            drawn = draw()
            if len(drawn.tokens) == 0:  # the vocoder needs something to speak
                silence = torch.zeros(round(MIN_SPOKEN_SEC * SAMPLE_RATE_HZ))
                return Synthesis(silence, SAMPLE_RATE_HZ, drawn.ended)
            audio, _ = models.s3gen.inference(
                speech_tokens=drawn.tokens, ref_dict=dict(voice.gen), n_cfm_timesteps=num_steps
            )
    samples = audio[0].float().cpu().numpy()
    marked = watermarker().apply_watermark(samples, sample_rate=SAMPLE_RATE_HZ)
    return Synthesis(torch.from_numpy(marked).float().clamp(-1, 1), SAMPLE_RATE_HZ, drawn.ended)


@dataclass(frozen=True)
class SamplingSettings:
    """temperature of the softmax; the rest as upstream's `generate` has it."""

    temperature: float
    cfg_weight: float
    max_speech_tokens: int
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0


def draw_with_guidance(
    models: ChatterboxModels, voice: Conditionals, text_tokens: Tensor, settings: SamplingSettings
) -> SpokenTokens:
    """What the Llama kind of T3 says of text tokens [S], start and stop included."""
    tokens = generate_tokens(models, voice, text_tokens, settings)
    return SpokenTokens(speakable(tokens), int(tokens[-1]) == models.t3.hp.stop_speech_token)


def speakable(tokens: Tensor) -> Tensor:
    """Those of tokens [N] that are speech."""
    return tokens[tokens < SPEECH_VOCAB_SIZE]


def condition_of(voice: Conditionals) -> T3Cond:
    """What T3 is conditioned on; a copy, for upstream keeps embeddings in it that are made with T3's weights."""
    return _without_cached_prompt(voice)


def _without_cached_prompt(voice: Conditionals) -> T3Cond:
    """A copy without what upstream has made of the prompt's tokens with T3's weights; a learned prompt stays."""
    fields = dict(vars(voice.t3))
    if not has_learned_prompt(voice):
        fields["cond_prompt_speech_emb"] = None
    return type(voice.t3)(**fields)


def generate_tokens(
    models: ChatterboxModels, voice: Conditionals, text_tokens: Tensor, settings: SamplingSettings
) -> Tensor:
    """Speech tokens [N] as T3 draws them from global random state, the stop token included where it came."""
    tokens = models.t3.inference(
        t3_cond=condition_of(voice),
        text_tokens=torch.stack([text_tokens, text_tokens]),  # the second row loses its text: guidance
        max_new_tokens=settings.max_speech_tokens,
        temperature=settings.temperature,
        cfg_weight=settings.cfg_weight,
        repetition_penalty=settings.repetition_penalty,
        min_p=settings.min_p,
        top_p=settings.top_p,
    )
    del models.t3.patched_model  # a module that shares T3's weights: they could not be saved beside it
    return tokens[0].clone()


@cache
def watermarker() -> Any:
    """Upstream's watermarker. Raises UserError where it cannot be had."""
    if perth.PerthImplicitWatermarker is None:
        raise UserError(
            "Chatterbox's watermarker does not load, for it needs pkg_resources: install 'setuptools<82' (as "
            "`make setup` does) and start again."
        )
    with contextlib.redirect_stdout(io.StringIO()), quiet_and_unchanged():
        return perth.PerthImplicitWatermarker()


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Bars for every sentence would break the run's own; and so would what upstream prints, and notes of attention."""
    modules, notes = (t3_module, flow_matching), logging.getLogger("transformers")
    bars, level = [module.tqdm for module in modules], notes.level
    for module in modules:
        module.tqdm = lambda items, **_: items
    notes.setLevel(logging.ERROR)
    try:
        with quiet_and_unchanged(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for module, bar in zip(modules, bars, strict=True):
            module.tqdm = bar
        notes.setLevel(level)
