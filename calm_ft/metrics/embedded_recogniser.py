"""A recogniser that needs no download, for the embedded model's synthetic speech and for nothing else.

It was trained on espeak-ng's voices alone (`python -m tools.nano --stage asr`), so its transcripts of real speech
mean nothing. Log-mel frames pass convolutions and a bidirectional LSTM, which scores characters for CTC (Graves et
al. 2006, "Connectionist Temporal Classification"). The network hears a whole utterance at once. Levels are relative
to the utterance's loudest value, so gain and silence around the speech do not change what the frames of the speech
look like. Unit 0 is CTC's blank (section 3.1 of the paper).
"""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import torchaudio
from einops import rearrange
from torch import nn

from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import AudioLike, as_mono, is_silent

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
BLANK = 0
NUM_UNITS = 1 + len(CHARACTERS)


def spoken_characters(text: str) -> str:
    """Lower-case letters, apostrophes and single spaces; all else separates words, accents are dropped.

    Digits are not spelled out: they vanish.
    """
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    kept = "".join(
        character if character in CHARACTERS else " " for character in plain if not unicodedata.combining(character)
    )
    return " ".join(kept.split())


def encode_text(text: str) -> torch.Tensor:
    """Units `[L]` (int64, 1 to `NUM_UNITS - 1`) of the text's spoken characters."""
    return torch.tensor([1 + CHARACTERS.index(character) for character in spoken_characters(text)], dtype=torch.long)


def decode_greedily(scores: torch.Tensor) -> str:
    """The best path's text (Graves et al. 2006, section 3.2): repeats merged, then blanks dropped.

    `scores` `[T, NUM_UNITS]`: log-probabilities, or anything that orders units as they do. `T` may be 0.
    """
    best = torch.unique_consecutive(scores.argmax(dim=-1)) if len(scores) else torch.zeros(0, dtype=torch.long)
    text = "".join(CHARACTERS[unit - 1] for unit in best.tolist() if unit != BLANK)
    return " ".join(text.split())


SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FRAME_STRIDE = 3  # 30 ms a frame: fast espeak speech has up to 23 characters a second, and each needs a frame
NUM_MELS = 64
FLOOR_DB = 60.0
_FFT_SAMPLES = 512


class LogMel(nn.Module):
    """Audio `[B, S]` at 16 kHz -> log-mel levels `[B, NUM_MELS, S // HOP_SAMPLES + 1]` in [-1, 1].

    1 is the loudest value of the utterance, -1 stands for `FLOOR_DB` below it or less.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = torchaudio.functional.melscale_fbanks(
            _FFT_SAMPLES // 2 + 1, 20.0, SAMPLE_RATE_HZ / 2, NUM_MELS, SAMPLE_RATE_HZ
        )
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            audio, _FFT_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES, self.window, pad_mode="constant", return_complex=True
        )
        power = torch.einsum("bft,fm->bmt", spectrum.abs().square(), self.filters)
        level_db = 10 * torch.log10(power.clamp(min=1e-10))
        relative = level_db - level_db.amax(dim=(1, 2), keepdim=True)
        return 1 + 2 * relative.clamp(min=-FLOOR_DB) / FLOOR_DB


class _Block(nn.Module):
    """Normalised convolution beside an identity, `[B, C, T]`."""

    def __init__(self, num_channels: int, kernel: int):
        super().__init__()
        self.norm = nn.LayerNorm(num_channels)
        self.convolution = nn.Conv1d(num_channels, num_channels, kernel, padding=kernel // 2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        normalised = rearrange(self.norm(rearrange(hidden, "b c t -> b t c")), "b t c -> b c t")
        return hidden + torch.relu(self.convolution(normalised))


class CTCNetwork(nn.Module):
    """Scores of characters, frame by frame. Convolutions hear the sounds, the LSTM learns how they are spelled."""

    def __init__(self, *, num_channels: int = 160, num_hidden: int = 224, num_blocks: int = 3, dropout: float = 0.1):
        super().__init__()
        self.stride = nn.Conv1d(NUM_MELS, num_channels, 9, stride=FRAME_STRIDE, padding=4)
        self.blocks = nn.Sequential(*(_Block(num_channels, 7) for _ in range(num_blocks)))
        self.norm = nn.LayerNorm(num_channels)
        self.recurrent = nn.LSTM(num_channels, num_hidden, bidirectional=True, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * num_hidden, NUM_UNITS)

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> "CTCNetwork":
        """The network whose weights these are, in the sizes that they have. Raises KeyError or RuntimeError."""
        num_channels, num_hidden = len(state["stride.weight"]), state["recurrent.weight_hh_l0"].shape[1]
        network = cls(num_channels=num_channels, num_hidden=num_hidden)
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        return network

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Log-mel levels `[B, NUM_MELS, T]` -> log-probabilities `[B, ceil(T / FRAME_STRIDE), NUM_UNITS]`."""
        hidden = self.blocks(torch.relu(self.stride(features)))
        normalised = self.norm(rearrange(hidden, "b c t -> b t c"))
        context, _ = self.recurrent(self.dropout(normalised))
        return self.head(self.dropout(context)).log_softmax(dim=-1)


ASSET = Path(__file__).parents[1] / "assets" / "nano_asr"


class EmbeddedASR:
    """CTC over characters (Graves et al. 2006), best path, no language model."""

    def __init__(self, directory: Path = ASSET):
        """Load `config.json` and `model.safetensors` of a folder. Raises UserError where they cannot be read."""
        try:
            self.name: str = json.loads((directory / "config.json").read_text(encoding="utf-8"))["name"]
            self._network = CTCNetwork.from_state(safetensors.torch.load_file(directory / "model.safetensors"))
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise UserError(
                f"{directory} holds no recogniser that can be read: make one with `python -m tools.nano --stage asr`."
            ) from error
        self._network.eval()
        self._features = LogMel()

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
