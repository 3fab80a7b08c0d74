"""Recordings with known content, and an encoder small enough to check by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.data.audio import Clip
from calm_ft.data.feature_cache import Features
from calm_ft.data.prepare import EncodedRecordings, EncodedUtterance, encode_recordings
from calm_ft.data.utterance import Utterance, WordTime


def tone(
    duration_sec: float = 1.0, rate_hz: int = 24000, frequency_hz: float = 440.0, amplitude: float = 0.3
) -> np.ndarray:
    """A sine `[T]`; a clip of speech as far as levels and lengths go."""
    time_sec = np.arange(round(duration_sec * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_sec)).astype(np.float32)


@pytest.fixture
def make_tone() -> Callable[..., np.ndarray]:
    return tone


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Writes samples below the test's folder, a one-second tone unless told otherwise."""

    def write(name: str, samples: np.ndarray | None = None, rate_hz: int = 24000, text: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        subtype = "FLOAT" if path.suffix.lower() == ".wav" else None
        soundfile.write(path, tone(rate_hz=rate_hz) if samples is None else samples, rate_hz, subtype=subtype)
        if text is not None:
            path.with_suffix(".txt").write_text(text, encoding="utf-8")
        return path

    return write


class FrameEnergyEncoder:
    """Mean energies of frames of 80 ms as one-channel latents; counts the clips that it was given."""

    sample_rate_hz = 24000
    frame_rate_hz = 12.5
    weights = "first"

    def __init__(self) -> None:
        self.num_clips = 0

    def feature_fingerprint(self) -> str:
        return f"frame-energy-{self.weights}"

    def encode(self, clips: list[Clip]) -> list[Features]:
        self.num_clips += len(clips)
        frame_len = round(self.sample_rate_hz / self.frame_rate_hz)
        frames = [clip.samples[: len(clip.samples) // frame_len * frame_len].view(-1, frame_len) for clip in clips]
        return [{"latents": frame.square().mean(dim=1, keepdim=True)} for frame in frames]

    def num_frames(self, features: Features) -> int:
        return len(features["latents"])

    def exclusion_reason(self, num_frames: int) -> str | None:
        return None


@pytest.fixture
def encoder() -> FrameEnergyEncoder:
    return FrameEnergyEncoder()


@pytest.fixture
def write_utterances(write_clip: Callable[..., Path]) -> Callable[..., list[Utterance]]:
    """Clips of 0.5, 0.6, ... s, each of its own amplitude, so that no two files or features are equal."""

    def write(num_clips: int, speakers: tuple[str, ...] = ("speaker",)) -> list[Utterance]:
        return [
            Utterance(
                id=f"clip{index:02d}",
                audio_path=write_clip(f"clip{index:02d}.wav", tone(0.5 + 0.1 * index, amplitude=0.1 + 0.01 * index)),
                text=f"text {index}",
                speaker=speakers[index % len(speakers)],
            )
            for index in range(num_clips)
        ]

    return write


@pytest.fixture
def encode(tmp_path: Path, encoder: FrameEnergyEncoder) -> Callable[..., EncodedRecordings]:
    """`encode_recordings` into the test's cache with plain settings."""

    def run(utterances: list[Utterance], **settings: float) -> EncodedRecordings:
        arguments = {"tail_sec": 0.1, "max_duration_sec": 20.0, "shard_size": 3} | settings
        cache_dir = tmp_path / "cache"
        return encode_recordings(utterances, encoder, cache_dir, progress=False, **arguments)  # type: ignore[arg-type]

    return run


@pytest.fixture
def make_encoded() -> Callable[..., EncodedUtterance]:
    """A clip as the plan, the split and the prompts see it; its features are never read."""

    def make(id: str, num_frames: int = 10, speaker: str = "speaker", num_words: int = 0) -> EncodedUtterance:
        words = tuple(WordTime(f"word{n}", n, n + 0.5) for n in range(num_words)) or None
        utterance = Utterance(id, Path(f"{id}.wav"), "text", speaker, words)
        duration_sec = num_frames / 12.5
        return EncodedUtterance(utterance, num_frames, duration_sec, key=id, cache=None)  # type: ignore[arg-type]

    return make


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
