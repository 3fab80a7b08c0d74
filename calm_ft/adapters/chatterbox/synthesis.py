"""Generation by upstream's own code, as `ChatterboxTTS.generate` strings it together, with random state as an argument.

Source: chatterbox/tts.py (`generate`).
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import perth
import torch
from chatterbox.models.s3tokenizer import SPEECH_VOCAB_SIZE, drop_invalid_tokens
from chatterbox.models.t3 import t3 as t3_module
from chatterbox.tts import Conditionals
from torch import Tensor

from calm_ft.adapters.base import Synthesis
from calm_ft.adapters.chatterbox.features import SAMPLE_RATE_HZ
from calm_ft.adapters.chatterbox.models import Models
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.errors import UserError

MIN_SPOKEN_SEC = 0.1


@dataclass(frozen=True)
class SamplingSettings:
    """temperature of the softmax; num_steps of the flow; the rest as upstream's `generate` has it."""

    temperature: float
    num_steps: int
    cfg_weight: float
    max_speech_tokens: int
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0


@torch.no_grad()
def speak(models: Models, voice: Conditionals, text_tokens: Tensor, seed: int, settings: SamplingSettings) -> Synthesis:
    """Speak text tokens [S] (start and stop included); global random states are left as they were.

    The audio carries upstream's inaudible watermark.
    """
    device = next(models.t3.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        tokens = generate_tokens(models, voice, text_tokens, settings)
        ended = int(tokens[-1]) == models.t3.hp.stop_speech_token
        spoken = drop_invalid_tokens(tokens)
        spoken = spoken[spoken < SPEECH_VOCAB_SIZE]
        if len(spoken) == 0:  # the vocoder needs something to speak
            return Synthesis(torch.zeros(round(MIN_SPOKEN_SEC * SAMPLE_RATE_HZ)), SAMPLE_RATE_HZ, ended)
        audio, _ = models.s3gen.inference(
            speech_tokens=spoken, ref_dict=dict(voice.gen), n_cfm_timesteps=settings.num_steps
        )
    samples = audio[0].float().cpu().numpy()
    marked = watermarker().apply_watermark(samples, sample_rate=SAMPLE_RATE_HZ)
    return Synthesis(torch.from_numpy(marked).float().clamp(-1, 1), SAMPLE_RATE_HZ, ended)


def generate_tokens(models: Models, voice: Conditionals, text_tokens: Tensor, settings: SamplingSettings) -> Tensor:
    """Speech tokens [N] as T3 draws them from global random state, the stop token included where it came."""
    condition = type(voice.t3)(**{**vars(voice.t3), "cond_prompt_speech_emb": None})  # kept by upstream in it
    with _without_progress_bar():
        tokens = models.t3.inference(
            t3_cond=condition,
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
def _without_progress_bar() -> Iterator[None]:
    """One bar for every sentence would break the run's own; and so would a note about attention maps."""
    bar, notes = t3_module.tqdm, logging.getLogger("transformers")
    level = notes.level
    t3_module.tqdm = lambda items, **_: items
    notes.setLevel(logging.ERROR)
    try:
        with quiet_and_unchanged():
            yield
    finally:
        t3_module.tqdm = bar
        notes.setLevel(level)
