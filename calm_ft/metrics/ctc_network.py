"""A small recogniser: log-mel frames, convolutions, a bidirectional LSTM, scores for CTC over characters.

Training criterion and decoding: Graves et al. 2006, "Connectionist Temporal Classification". The network hears a whole
utterance at once (it is not causal). Levels are relative to the utterance's loudest value, so neither gain nor
silence around the speech changes what the frames of the speech look like.
"""

import torch
import torchaudio
from einops import rearrange
from torch import nn

from calm_ft.metrics.ctc_text import NUM_UNITS

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

    def __init__(self, *, num_channels: int = 128, num_hidden: int = 128, num_blocks: int = 3, dropout: float = 0.1):
        super().__init__()
        self.stride = nn.Conv1d(NUM_MELS, num_channels, 9, stride=FRAME_STRIDE, padding=4)
        self.blocks = nn.Sequential(*(_Block(num_channels, 7) for _ in range(num_blocks)))
        self.norm = nn.LayerNorm(num_channels)
        self.recurrent = nn.LSTM(num_channels, num_hidden, bidirectional=True, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * num_hidden, NUM_UNITS)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Log-mel levels `[B, NUM_MELS, T]` -> log-probabilities `[B, ceil(T / FRAME_STRIDE), NUM_UNITS]`."""
        hidden = self.blocks(torch.relu(self.stride(features)))
        normalised = self.norm(rearrange(hidden, "b c t -> b t c"))
        context, _ = self.recurrent(self.dropout(normalised))
        return self.head(self.dropout(context)).log_softmax(dim=-1)
