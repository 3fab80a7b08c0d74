"""What the parallel processes share: the settings of a clip, the models that they load once, and how sound is read."""

import functools
import io
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from filelock import FileLock
from numpy.typing import NDArray

from calm_ft.atomic_file import atomic_path
from calm_ft.data.audio import mix_down, read_samples, recorded_duration_sec
from calm_ft.data.utterance import UnusableClip, Utterance, printable
from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.metrics.base import ModelMissing
from calm_ft.metrics.speaker import voice_embedding
from calm_ft.preparation.results import fingerprint_of
from calm_ft.preparation.sound.conditioning import Conditioning
from calm_ft.preparation.words.alignment import Aligner, choose_aligner
from calm_ft.preparation.words.transcription import Listener, choose_listener

BLOCK_SEC = 300.0
MAX_RATE_HZ = 48000
CLEANED_DURATION_TOLERANCE_SEC = 0.25


@dataclass(frozen=True)
class ClipSettings:
    """What shapes the clips.

    Attributes:
        dataset: the folder that is written.
        language: of the texts, such as en; None where it is not known.
        listener: the recogniser as `choose_listener` takes it, or none.
        aligner: the name of the aligner that texts are split and judged by, empty for none.
        aligner_model: the folder of its wav2vec2 model, None for PocketSphinx.
        loudness_lufs: None leaves levels as they are.
        clean_command: an external program with {input} and {output}, None for none.
        finds_overlap: whether two voices at once are looked for, which needs a model (`sound/overlap.py`).
    """

    dataset: Path
    language: str | None
    listener: str = "none"
    aligner: str = ""
    aligner_model: str | None = None
    loudness_lufs: float | None = -23.0
    silence_sec: float = 0.2
    min_sec: float = 2.0
    max_sec: float = 20.0
    longest_sec: float = 30.0
    clean_command: str | None = None
    finds_overlap: bool = False

    @property
    def conditioning(self) -> Conditioning:
        return Conditioning(loudness_lufs=self.loudness_lufs, silence_sec=self.silence_sec)

    def cutting_fingerprint(self, *parts: object) -> str:
        """Changes with whatever decides where a recording is cut, and its text with it."""
        own = (
            self.language,
            self.aligner,
            self.aligner_model,
            self.min_sec,
            self.max_sec,
            self.longest_sec,
            self.clean_command,
        )
        return fingerprint_of("cutting-1", own, parts)

    def heard_fingerprint(self, *parts: object) -> str:
        """Changes with whatever decides what is heard in a piece of a recording."""
        return fingerprint_of("heard-1", self.listener, self.language, self.clean_command, parts)

    def clip_fingerprint(self, *parts: object) -> str:
        """Changes with whatever shapes a clip or what is known of it."""
        own = (self.loudness_lufs, self.silence_sec, self.listener, self.finds_overlap, self.cutting_fingerprint())
        return fingerprint_of("clip-1", own, parts)


SettingsByLanguage = Mapping[str | None, ClipSettings]
"""By the language that the row of a recording names, None for rows that name none."""


@dataclass(frozen=True)
class Models:
    """The recogniser, the aligner and the voice encoder, None where there is none."""

    listener: Listener | None
    aligner: Aligner | None
    embed: Callable[[NDArray[Any], int], NDArray[Any]] | None


def models_of(settings: ClipSettings) -> Models:
    """Loaded once in each process."""
    return _models(settings.listener, settings.language, settings.aligner_model)


@functools.cache
def _models(listener: str, language: str | None, aligner_model: str | None) -> Models:
    found = _listener(listener)
    found = None if found is None else found.in_language(language)
    return Models(found, choose_aligner(language, aligner_model), _voice_encoder())


@functools.cache
def _listener(name: str) -> Listener | None:
    """One for all languages, for a recogniser is large."""
    return choose_listener(name, None)


def _voice_encoder() -> Callable[[NDArray[Any], int], NDArray[Any]] | None:
    try:
        voice_embedding(np.zeros(MODEL_RATE_HZ, np.float32), MODEL_RATE_HZ)
    except ModelMissing:
        return None
    return voice_embedding


def mono_for_models(path: Path, start_sec: float, end_sec: float | None) -> NDArray[np.float32]:
    """A long recording [T] at 16 kHz, read in blocks, so that hours at the source's rate are never held at once."""
    whole = Utterance("", path, "", start_sec=start_sec, end_sec=end_sec)
    end = start_sec + recorded_duration_sec(whole)
    blocks = []
    position = start_sec
    while position < end - 1e-3:
        last = min(position + BLOCK_SEC, end)
        part = whole if position == start_sec and last == end else Utterance("", path, "", "", None, position, last)
        samples, rate_hz = read_samples(part)
        blocks.append(at_model_rate(mix_down(samples), rate_hz).astype(np.float32))
        position = last
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def check_cleaning(command: str | None) -> None:
    """Raises UserError unless the cleaning command names its input and output, and a program that can be run."""
    if command is None:
        return
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"--clean-command cannot be read ({error}); close the quotes in {command!r}.") from None
    missing = [name for name in ("{input}", "{output}") if not any(name in word for word in words)]
    if missing:
        raise UserError(
            f"--clean-command {command!r} lacks {' and '.join(missing)}; it is run on each recording, such as "
            "'deep-filter-py {input} -o {output}'."
        )
    if shutil.which(words[0]) is None:
        raise UserError(
            f"--clean-command: there is no program {printable(words[0])}; install it, or give its whole path."
        )


def cleaned(path: Path, digest: str, settings: ClipSettings) -> Path:
    """What the external program made of a recording; kept, so that it is cleaned once and can be compared.

    Raises:
        UnusableClip: the program failed, or gave sound of another length.
    """
    command = settings.clean_command
    if command is None:
        return path
    output = cleaned_path(digest, command, settings.dataset)
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.with_suffix(".lock")):
        if not output.exists():
            _clean(path, command, output)
    return output


def cleaned_path(digest: str, command: str, dataset: Path) -> Path:
    """Where the cleaned recording lies."""
    return dataset / "work" / "cleaned" / f"{fingerprint_of(digest, command)}.flac"


def _clean(path: Path, command: str, output: Path) -> None:
    samples, rate_hz = read_samples(Utterance("", path, ""))
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        given, made = Path(folder) / "input.wav", Path(folder) / "output.wav"
        soundfile.write(given, samples, rate_hz, "FLOAT")
        words = [word.replace("{input}", str(given)).replace("{output}", str(made)) for word in shlex.split(command)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode or not made.exists():
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise UnusableClip(f"the cleaning command failed ({printable(said[-1].strip()) if said else 'no output'})")
        clean, clean_rate_hz = soundfile.read(made, dtype="float32", always_2d=True)
    if abs(len(clean) / clean_rate_hz - len(samples) / rate_hz) > CLEANED_DURATION_TOLERANCE_SEC:
        raise UnusableClip("the cleaning command gave sound of another length, so texts would not match it")
    write_flac(output, clean, clean_rate_hz)


def write_flac(path: Path, samples: NDArray[Any], sample_rate_hz: int) -> None:
    """16-bit FLAC of sound [T] or [T, C], whole or not at all. Raises OSError where the disk refuses."""
    content = io.BytesIO()  # on a full disk libsndfile raises errors of its own, or none
    soundfile.write(content, np.clip(samples, -1.0, 1.0), sample_rate_hz, "PCM_16", format="FLAC")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
