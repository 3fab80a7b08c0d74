"""The network and its files: what would be the upstream package of a real system."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

SAMPLE_RATE_HZ, HOP, N_FFT = 8_000, 160, 320
NUM_BINS = N_FFT // 2 + 1
SETTINGS, WEIGHTS, VOICE = "spectrum_tts.json", "spectrum_tts.safetensors", "voice.safetensors"
MIN_FRAMES, MAX_SECONDS = 10, 3.0


@dataclass(frozen=True)
class Voice:
    """spectrum: mean frame [161] of a recording; frames_per_character: how fast it speaks, a scalar tensor."""

    spectrum: Tensor
    frames_per_character: Tensor


def spectrum(audio: Tensor) -> Tensor:
    """Log-magnitude frames [T, 161] of audio [N], about zero and of about unit size."""
    window = torch.hann_window(N_FFT)
    magnitudes = torch.stft(audio, N_FFT, HOP, window=window, return_complex=True).abs().T
    return (magnitudes.clamp(min=1e-4).log() + 5.0) / 3.0


def waveform(frames: Tensor, rng: torch.Generator) -> Tensor:
    """Audio [N] of frames [T, 161] with random phases."""
    magnitudes = (3.0 * frames - 5.0).clamp(max=3.0).exp()
    phases = 2 * torch.pi * torch.rand(frames.shape, generator=rng)
    audio = torch.istft(torch.polar(magnitudes, phases).T, N_FFT, HOP, window=torch.hann_window(N_FFT))
    return audio.clamp(-1, 1)


class Layer(nn.Module):
    """A residual layer of every frame by itself; transposed weights, as GPT-2 has them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.grow, self.shrink = Conv1D(2 * width, width), Conv1D(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shrink(torch.relu(self.grow(self.norm(x))))


class SpectrumTTS(nn.Module):
    """Predicts each frame, and whether it is the last one, from the frame before it, a character and a voice."""

    def __init__(self, width: int, num_layers: int, seed: int = 0) -> None:
        super().__init__()
        self.settings = {"width": width, "num_layers": num_layers}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.text_embedding = nn.Embedding(256, width)
            self.voice_projection = nn.Linear(NUM_BINS, width)
            self.frame_input = nn.Linear(NUM_BINS, width)
            self.layers = nn.ModuleList([Layer(width) for _ in range(num_layers)])
            self.output_norm = nn.LayerNorm(width)
            self.frame_head, self.stop_head = nn.Linear(width, NUM_BINS), nn.Linear(width, 1)
            nn.init.constant_(self.stop_head.bias, -3.0)  # most frames are not the last one

    def forward(self, characters: Tensor, voice_spectrum: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """(frames [B, T, 161], stop logits [B, T]) from characters [B, T], voices [B, 161] and frames [B, T, 161]."""
        x = self.text_embedding(characters) + self.frame_input(before) + self.voice_projection(voice_spectrum)[:, None]
        for layer in self.layers:
            x = layer(x)
        x = self.output_norm(x)
        return self.frame_head(x), self.stop_head(x)[..., 0]

    def frames(self, text: str, voice: Voice) -> Iterator[tuple[Tensor, bool]]:
        """Frames [161] of a text, each with whether the model ends here, up to the length limit."""
        before = torch.zeros(1, 1, NUM_BINS)
        for place in range(int(MAX_SECONDS * SAMPLE_RATE_HZ / HOP)):
            characters = spoken_characters(text, voice.frames_per_character, place, place + 1)[None]
            before, stop = self(characters, voice.spectrum[None], before)
            is_last = bool(stop > 0) and place >= MIN_FRAMES
            yield before[0, 0], is_last
            if is_last:
                return


def spoken_characters(text: str, frames_per_character: Tensor, first: int, last: int) -> Tensor:
    """The byte [T] that is spoken at each of the frames first..last-1; after the text its last one."""
    content = torch.tensor(list(text.encode("utf-8")))
    places = (torch.arange(first, last) / frames_per_character).long().clamp(max=len(content) - 1)
    return content[places]


def save(model: SpectrumTTS, voice: Voice, folder: Path) -> None:
    (folder / SETTINGS).write_text(json.dumps(model.settings))
    safetensors.torch.save_file({name: t.contiguous() for name, t in model.state_dict().items()}, folder / WEIGHTS)
    safetensors.torch.save_file(vars(voice), folder / VOICE)


def load(folder: Path) -> SpectrumTTS:
    model = SpectrumTTS(**json.loads((folder / SETTINGS).read_text()))
    model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return model
