"""A voice: what stock generation is conditioned on, from a recording or a conds.pt.

T3 gets a speaker embedding and the tokens of the first seconds, S3Gen tokens, mel and x-vector of the first ten. All of
it comes from networks that are never trained, so a voice fits every tuned model.
Sources: chatterbox/tts.py (`Conditionals`, `prepare_conditionals`), chatterbox/models/s3gen/s3gen.py (`embed_ref`).
"""

import pickle
from pathlib import Path

import torch
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.tts import Conditionals
from torch import Tensor

from calm_ft.adapters.chatterbox.features import (
    MAX_REFERENCE_SEC,
    SAMPLE_RATE_HZ,
    SAMPLES_PER_TOKEN,
    pad_to_tokens,
    prompt_tokens,
    resampled,
    speaker_embedding,
)
from calm_ft.adapters.chatterbox.models import Models
from calm_ft.adapters.chatterbox.system import CONDITIONALS
from calm_ft.adapters.hub import one_line
from calm_ft.atomic_file import atomic_path
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError

MIN_PROMPT_TOKENS = 13  # half a second: less holds no voice
TAIL_SEC = 0.2
T3_FIELDS = {"speaker_emb", "cond_prompt_speech_tokens"}
S3GEN_FIELDS = {"prompt_token", "prompt_token_len", "prompt_feat", "embedding"}


def load_voice(models: Models, source: str | Path, prompt_sec: float, exaggeration: float) -> Conditionals:
    """A voice from an audio file or a conds.pt, on the networks' device.

    Raises UserError where the source is missing, unreadable, too short or no voice.
    """
    path = Path(source)
    if not path.is_file():
        raise UserError(f"There is no voice {source}: pass an audio file or a {CONDITIONALS}.")
    device = next(models.t3.parameters()).device
    if path.suffix == ".pt":
        return read_voice(path).to(device)
    try:
        clip = load_clip(Utterance("voice", path, ""), SAMPLE_RATE_HZ, TAIL_SEC)
    except UnusableClip as error:
        raise UserError(f"The voice recording {path} cannot be used: {error}.") from error
    return voice_from_audio(models, clip.samples, str(path), prompt_sec, exaggeration).to(device)


@torch.no_grad()
def voice_from_audio(
    models: Models, samples: Tensor, name: str, prompt_sec: float, exaggeration: float
) -> Conditionals:
    """The voice of a recording [T] at 24 kHz. Raises UserError where it is too short."""
    if len(samples) < MIN_PROMPT_TOKENS * SAMPLES_PER_TOKEN:
        raise UserError(
            f"The voice recording {name} lasts {len(samples) / SAMPLE_RATE_HZ:.2f} s, too short for a voice prompt: "
            "give one of at least half a second, better of six to ten."
        )
    low_rate = resampled(samples)
    condition = T3Cond(
        speaker_emb=speaker_embedding(models, low_rate)[None],
        cond_prompt_speech_tokens=prompt_tokens(models, low_rate, prompt_sec)[None],
        emotion_adv=exaggeration * torch.ones(1, 1, 1),
    )
    # Whole tokens, else upstream warns that mel and tokens differ in length and cuts the tokens.
    reference = pad_to_tokens(samples[: MAX_REFERENCE_SEC * SAMPLE_RATE_HZ])
    generator = models.s3gen.embed_ref(reference, SAMPLE_RATE_HZ, device=next(models.s3gen.parameters()).device)
    return Conditionals(condition, {name: _copied(value) for name, value in generator.items()})


def save_voice(voice: Conditionals, path: Path) -> None:
    """Write a conds.pt that upstream reads with `weights_only=True`: tensors, None and names alone."""
    t3 = {name: _copied(value) for name, value in vars(voice.t3).items()}
    t3["cond_prompt_speech_emb"] = None  # made with T3's weights, and made again by T3 from the tokens
    content = {"t3": t3, "gen": {name: _copied(value) for name, value in voice.gen.items()}}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def read_voice(path: Path) -> Conditionals:
    """A saved voice, on the CPU. Raises UserError where the file is damaged or holds anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not content["t3"].keys() >= T3_FIELDS or not content["gen"].keys() >= S3GEN_FIELDS:
            raise ValueError("it lacks parts of a voice")
        return Conditionals(T3Cond(**content["t3"]), content["gen"])
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a saved Chatterbox voice ({one_line(error, 120)}): export the voice again, or pass a "
            "recording."
        ) from error


def _copied(value: object) -> object:
    """On the CPU; clones of inference tensors are plain tensors."""
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value
