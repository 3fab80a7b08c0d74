"""Word error rates without a download: a recogniser for the embedded model's synthetic speech, and for nothing else.

It was trained on espeak-ng's voices alone (`python -m tools.nano --stage asr`), so what it makes of real speech means
nothing.
"""

import json
from pathlib import Path

import safetensors.torch
import torch
import torchaudio

from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import AudioLike, as_mono, is_silent
from calm_ft.metrics.ctc_network import SAMPLE_RATE_HZ, CTCNetwork, LogMel
from calm_ft.metrics.ctc_text import decode_greedily

ASSET = Path(__file__).parents[1] / "assets" / "nano_asr"


class EmbeddedASR:
    """CTC over characters (Graves et al. 2006), best path, no language model."""

    def __init__(self, directory: Path = ASSET):
        """Load `config.json` and `model.safetensors` of a folder. Raises UserError where they cannot be read."""
        try:
            self.name: str = json.loads((directory / "config.json").read_text(encoding="utf-8"))["name"]
            half = safetensors.torch.load_file(directory / "model.safetensors")
            self._network = CTCNetwork()
            self._network.load_state_dict({name: tensor.float() for name, tensor in half.items()})
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise UserError(
                f"{directory} holds no recogniser that can be read: make one with `python -m tools.nano --stage asr`."
            ) from error
        self._network.eval()
        self._features = LogMel()

    def check_system(self, *, is_nano: bool, force: bool = False) -> None:
        """Raise UserError where another model than the embedded one is to be judged, unless forced."""
        if not (is_nano or force):
            raise UserError(
                f"The recogniser '{self.name}' knows the embedded model's synthetic speech alone, so its error rates "
                "of another model mean nothing: choose another recogniser, or force this one."
            )

    @torch.inference_mode()
    def transcribe(self, audio: AudioLike, sample_rate_hz: int) -> str:
        """What mono audio `[T]` at any rate says: lower-case letters, apostrophes and single spaces.

        Audio that is empty or silent says nothing: "". Samples that are no finite number count as 0.
        Raises ValueError for audio with more than one channel.
        """
        mono = as_mono(audio)
        if is_silent(mono, sample_rate_hz):
            return ""
        samples = torch.from_numpy(mono).float()
        samples = torchaudio.functional.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)
        return decode_greedily(self._network(self._features(samples.unsqueeze(0)))[0])
