"""Clips and their pictures, small enough to stand in the page itself.

Audio is Ogg Opus, which every Chromium and Firefox plays: made for speech at such rates, it takes 33 kbit/s on the
demo voice where libsndfile's MP3 and Vorbis take 49 and 58. Levels are left as they are. Pictures are
WebP, all at one sample rate, so that systems of different rates share the frequency axis.
"""

import base64
import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import librosa
import numpy as np
import soundfile
from matplotlib import colormaps
from PIL import Image

from calm_ft.report.picture import RANGE_DB, mel_spectrogram_db

OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
OPUS_COMPRESSION = 0.9
"""Of libsndfile, 0 to 1: about 32 kbit/s at 16 and 24 kHz."""
PICTURE_WIDTH, PICTURE_HEIGHT = 360, 100
PICTURE_RATE_HZ = 24_000
_HOP_SAMPLES = 192
_PICTURE_QUALITY = 60


@dataclass(frozen=True)
class PlayedClip:
    """Decoded audio [T], and a digest by which equal clips of several runs are known."""

    audio: np.ndarray
    sample_rate_hz: int
    digest: str

    @property
    def duration_sec(self) -> float:
        return self.audio.size / self.sample_rate_hz

    @cached_property
    def audio_uri(self) -> str:
        """data: with the clip as Ogg Opus."""
        rate_hz = next((rate for rate in OPUS_RATES_HZ if rate >= self.sample_rate_hz), OPUS_RATES_HZ[-1])
        audio = self.audio
        if rate_hz != self.sample_rate_hz:
            audio = librosa.resample(audio, orig_sr=self.sample_rate_hz, target_sr=rate_hz)
        content = io.BytesIO()
        soundfile.write(
            content, np.clip(audio, -1, 1), rate_hz, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION
        )
        return _data_uri("audio/ogg", content.getvalue())

    def picture_uri(self, duration_sec: float) -> str:
        """data: with the mel spectrogram of the first `duration_sec`; what lies past the clip's end is transparent."""
        clip = self.audio[: round(duration_sec * self.sample_rate_hz)]
        pictured = librosa.resample(clip, orig_sr=self.sample_rate_hz, target_sr=PICTURE_RATE_HZ)
        level_db = mel_spectrogram_db(pictured, PICTURE_RATE_HZ, _HOP_SAMPLES)[::-1]  # an image begins at its top
        num_frames = max(1, pictured.size // _HOP_SAMPLES)
        colours = colormaps["magma"](1 + level_db[:, :num_frames] / RANGE_DB, bytes=True)[..., :3]
        width = min(PICTURE_WIDTH, max(1, round(PICTURE_WIDTH * clip.size / self.sample_rate_hz / duration_sec)))
        picture = Image.new("RGBA", (PICTURE_WIDTH, PICTURE_HEIGHT))
        picture.paste(Image.fromarray(colours).resize((width, PICTURE_HEIGHT), Image.Resampling.BILINEAR), (0, 0))
        content = io.BytesIO()
        picture.save(content, "WEBP", quality=_PICTURE_QUALITY)
        return _data_uri("image/webp", content.getvalue())


def read_clip(path: Path) -> PlayedClip | None:
    """The clip, its channels mixed; None where it is missing, unreadable, or empty."""
    try:
        content = path.read_bytes()
        audio, sample_rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError, ValueError):  # ValueError: a codec that gives no length (GSM)
        return None
    mono = np.nan_to_num(audio.mean(axis=1), nan=0.0, posinf=0.0, neginf=0.0)
    return PlayedClip(mono, sample_rate_hz, _digest(content)) if mono.size else None


def digest_of(path: Path) -> str:
    """The digest that the file's clip has; empty where it cannot be read."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
