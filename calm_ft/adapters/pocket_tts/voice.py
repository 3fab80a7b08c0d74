"""Voices: the backbone's key/value state after a voice prompt, made with the weights as they now are.

A saved state (voice.safetensors) is the output of the weights that made it: a state of the base model does
not fit a tuned backbone, hence the export makes its own. Source: pocket_tts/models/tts_model.py
(`get_state_for_audio_prompt`), pocket_tts/models/model_state.py.
"""

from pathlib import Path

from pocket_tts.models.model_state import export_model_state
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState, init_states
from pocket_tts.utils.utils import _ORIGINS_OF_PREDEFINED_VOICES as PREDEFINED_VOICES
from safetensors import SafetensorError
from torch import Tensor

from calm_ft.adapters.hub import is_remote, one_line
from calm_ft.adapters.pocket_tts.loading import fetch
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError

MAX_PROMPT_SEC = 30.0


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
