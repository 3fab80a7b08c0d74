"""The library of voices: one folder a voice, with its recording, its text, and what systems have made of it.

    NAME/voice.json        sources, durations, licence and consent notes, date, texts where they are known
    NAME/recording.wav     the recordings, one after the other; recording.txt: what they say, where it is known
    NAME/SYSTEM-HASH.*     what a system computed of it, for the weights of that hash; made at first use and read later
    NAME/ready.*           instead of a recording: a voice file that its own system alone can read

The library lies in the user's data folder for calm_ft, or where the environment variable CALM_FT_VOICES says.
"""

import json
import os
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import soundfile
import torch
from safetensors import SafetensorError, safe_open

from calm_ft.adapters.base import TTSAdapter, text_beside
from calm_ft.adapters.export_folder import write_folder
from calm_ft.adapters.hub import is_remote
from calm_ft.atomic_file import atomic_path, write_text
from calm_ft.data.audio import UnusableClip, load_clip, read_samples
from calm_ft.data.utterance import Exclusion, Utterance, printable
from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line
from calm_ft.metrics.audio_io import resampled, write_wav
from calm_ft.metrics.recording_quality import MOST_CLIPPED, recording_quality

ENVIRONMENT = "CALM_FT_VOICES"
ENTRY, RECORDING, TEXT, READY = "voice.json", "recording.wav", "recording.txt", "ready"
READY_SUFFIXES = (".safetensors", ".pt")
MIN_SEC = 0.5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAIL_SEC = 0.2
_MOST_HZ = 48_000


@dataclass(frozen=True)
class VoicePart:
    """One recording of a voice, by the name of its file: where it lies in recording.wav, and what it says."""

    name: str
    start_sec: float
    duration_sec: float
    text: str | None = None


@dataclass(frozen=True)
class LibraryVoice:
    """What voice.json holds. A voice has parts, or else a ready file of a system, which is None where it is not known.

    Attributes:
        licence: under which terms the recordings may be used; consent: who agreed to what, and when.
        added: the date, as 2026-01-31.
    """

    name: str
    added: str
    licence: str = ""
    consent: str = ""
    parts: tuple[VoicePart, ...] = ()
    ready: str | None = None
    system: str | None = None

    @property
    def duration_sec(self) -> float:
        return sum(part.duration_sec for part in self.parts)


@dataclass(frozen=True)
class VoiceNotes:
    """What a person says of a voice when it is added."""

    licence: str = ""
    consent: str = ""


@dataclass(frozen=True)
class AddedVoice:
    """A voice of the library, and the recordings that were left out of it."""

    voice: LibraryVoice
    left_out: list[Exclusion] = field(default_factory=list)


def library_folder() -> Path:
    """Where voices are kept."""
    asked = os.environ.get(ENVIRONMENT)
    return Path(asked).expanduser() if asked else Path(platformdirs.user_data_dir("calm_ft", False)) / "voices"


class VoiceLibrary:
    """The voices in a folder, which need not exist yet."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = library_folder() if folder is None else folder

    def names(self) -> list[str]:
        """The names of all voices, in alphabetical order."""
        if not self.folder.is_dir():
            return []
        return sorted(each.name for each in self.folder.iterdir() if each.name in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(_NAME.fullmatch(name)) and (self.folder / name / ENTRY).is_file()

    def entry(self, name: str) -> LibraryVoice:
        """What is known of a voice. Raises UserError where there is none of that name, or its voice.json is damaged."""
        if name not in self:
            raise UserError(f"There is no voice {name!r} in the library{self._known()}.")
        path = self.folder / name / ENTRY
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            parts = tuple(VoicePart(**part) for part in content.pop("parts"))
            return LibraryVoice(**{**content, "name": name, "parts": parts})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({one_line(error)}): add the voice again with --replace.") from error

    def add(
        self, name: str, sources: Sequence[Path], notes: VoiceNotes, replace: bool = False, system: str | None = None
    ) -> AddedVoice:
        """Keep recordings, or one ready voice file, under a name.

        Args:
            system: whose ready file it is, where that is known.

        Raises UserError for a name with other characters than letters, digits, dot, hyphen and underscore, a name that
        is taken (unless `replace`), where nothing can be used, and where the library cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a voice: take up to 64 letters, digits, hyphens, dots and underscores (of the "
                "English alphabet), beginning with a letter or digit."
            )
        if name in self and not replace:
            raise UserError(f"The library has a voice {name} already: take another name, or pass --replace.")
        missing = [path for path in sources if not path.is_file()]
        if missing:
            raise UserError(f"There is no recording {missing[0]}: check the path.")
        ready = [path for path in sources if path.suffix in READY_SUFFIXES]
        if ready and len(sources) > 1:
            raise UserError(f"{ready[0]} is a ready voice and stands alone: leave the other files out.")
        today = date.today().isoformat()
        if ready:
            check_ready(ready[0])
            kept = f"{READY}{ready[0].suffix}"
            voice = LibraryVoice(name, today, notes.licence, notes.consent, (), kept, system)
            self._write(voice, lambda folder: shutil.copyfile(ready[0], folder / kept))
            return AddedVoice(voice)
        heard = _hear(sources)
        voice = LibraryVoice(name, today, notes.licence, notes.consent, heard.parts)
        self._write(voice, heard.write)
        return AddedVoice(voice, heard.left_out)

    def remove(self, name: str) -> None:
        """Remove one voice. Raises UserError where there is none of that name, or it cannot be removed."""
        if name not in self:
            raise UserError(f"There is no voice {name!r} in the library{self._known()}.")
        try:
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=self.folder) as scratch:
                os.replace(self.folder / name, Path(scratch) / name)  # gone at once, or not at all
        except OSError as error:
            raise UserError(f"The voice {name} in {self.folder} cannot be removed ({one_line(error)}).") from error

    def recording(self, name: str) -> Path:
        """The recording of a voice. Raises UserError where there is no such voice, or it is a ready file alone."""
        entry = self.entry(name)
        if entry.ready is not None:
            raise UserError(
                f"The voice {name} is a ready file ({entry.ready}) without a recording, which is needed here: add a "
                "recording of it under another name."
            )
        path = self.folder / name / RECORDING
        if not path.is_file():
            raise UserError(f"{path} is missing: add the voice again with --replace.")
        return path

    def voice(self, name: str, adapter: TTSAdapter) -> Any:
        """The voice as `adapter.synthesize` takes it: read if this model has made it before, else made and kept.

        Raises UserError where the voice is another system's ready file, or too short for this system.
        """
        entry = self.entry(name)
        if entry.ready is not None:
            return self._ready(entry, adapter)
        self.recording(name)
        if entry.duration_sec < adapter.min_voice_sec:
            raise UserError(
                f"The voice {name} lasts {entry.duration_sec:.1f} s, and {adapter.name} needs "
                f"{adapter.min_voice_sec:g} s: add it again with more recordings and --replace."
            )
        if adapter.voice_suffix is None:
            return self._made(entry, adapter)
        path = self.folder / name / f"{adapter.name}-{adapter.voice_fingerprint()}{adapter.voice_suffix}"
        if path.is_file():
            try:
                return adapter.load_voice(path)
            except UserError:  # damaged, and there is a recording to make it of again
                path.unlink(missing_ok=True)
        made = self._made(entry, adapter)
        try:
            with atomic_path(path) as temporary:
                adapter.save_voice(made, temporary)
        except (OSError, SafetensorError):  # a library that cannot be written can be used all the same
            return made
        return made

    def systems(self, name: str) -> list[str]:
        """The systems that have made a voice of a recording, for display."""
        files = (path.name for path in (self.folder / name).iterdir() if path.suffix in READY_SUFFIXES)
        return sorted({file.rpartition("-")[0] for file in files if "-" in file})

    def _ready(self, entry: LibraryVoice, adapter: TTSAdapter) -> Any:
        path = self.folder / entry.name / str(entry.ready)
        if path.suffix != adapter.voice_suffix or entry.system not in (None, adapter.name):
            raise UserError(
                f"The voice {entry.name} is a ready file of {entry.system or 'another system'} ({path.suffix}), and "
                f"{adapter.name} cannot read it: add a recording of the voice."
            )
        return adapter.load_voice(path)

    def _made(self, entry: LibraryVoice, adapter: TTSAdapter) -> Any:
        """The voice of the recording's parts, each as a file, since a system may hear them one by one."""
        recording = self.folder / entry.name / RECORDING
        if len(entry.parts) == 1:
            return adapter.load_voices([recording])
        with tempfile.TemporaryDirectory() as scratch:
            try:
                parts = _split(recording, entry.parts, Path(scratch))
            except (soundfile.LibsndfileError, OSError) as error:
                raise UserError(
                    f"{recording} is damaged ({one_line(error)}): add the voice again with --replace."
                ) from error
            return adapter.load_voices(parts)

    def _write(self, voice: LibraryVoice, write_files: Callable[[Path], object]) -> None:
        def fill(folder: Path) -> None:
            write_files(folder)
            write_text(folder / ENTRY, json.dumps(asdict(voice), ensure_ascii=False, indent=2) + "\n")

        write_folder(self.folder / voice.name, fill, f"The voice {voice.name}")

    def _known(self) -> str:
        names = self.names()
        return f", which has {', '.join(names)}" if names else f", which is empty ({self.folder})"


def find_voice(source: str, adapter: TTSAdapter, library: VoiceLibrary | None = None) -> Any:
    """A voice by a file, the name of a voice of the library, or of an upstream one; the library's come first.

    Raises UserError where there is none, or it cannot be used with this system.
    """
    library = VoiceLibrary() if library is None else library
    if source in library:
        return library.voice(source, adapter)
    if Path(source).is_file() or is_remote(source):
        return adapter.load_voice(source, text_beside(source))
    try:
        return adapter.load_voice(source)
    except UserError as error:
        if source in adapter.voice_names:
            raise
        raise UserError(unknown_voice(source, library)) from error


def find_recording(source: str, library: VoiceLibrary | None = None) -> Path:
    """A recording by its path, or by the name of a voice of the library. Raises UserError where there is none."""
    library = VoiceLibrary() if library is None else library
    if source in library:
        return library.recording(source)
    path = Path(source).expanduser()
    if path.is_file() and path.suffix in READY_SUFFIXES:
        raise UserError(f"{source} is a saved voice, and a recording is needed here: pass an audio file of the voice.")
    if path.is_file():
        return path
    raise UserError(unknown_voice(source, library))


def unknown_voice(source: str, library: VoiceLibrary) -> str:
    """The sentence for a voice that is nowhere."""
    names = library.names()
    known = f"a voice of the library ({', '.join(names)})" if names else "a voice that you added to the library"
    return f"There is no voice {source}: pass an audio file of it, or {known}."


def check_ready(path: Path) -> None:
    """Raises UserError where a ready voice file is damaged or no such file."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                is_empty = not list(file.keys())
        else:
            is_empty = not torch_content(path)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{path} is not a saved voice ({one_line(error, 120)}): pass the file that an export holds, or a recording."
        ) from error
    if is_empty:
        raise UserError(f"{path} is empty: pass the file that an export holds, or a recording.")


def torch_content(path: Path) -> Any:
    """What a file of torch.save holds, on the CPU: tensors and plain types alone.

    Raises ValueError, OSError or RuntimeError for a file that is none, or damaged.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no file of torch.save")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True)
class _Joined:
    """Recordings as one, [T], and those that were left out."""

    samples: np.ndarray
    sample_rate_hz: int
    parts: tuple[VoicePart, ...]
    left_out: list[Exclusion]

    def write(self, folder: Path) -> None:
        write_wav(folder / RECORDING, self.samples, self.sample_rate_hz)
        texts = [part.text for part in self.parts]
        if None not in texts:
            write_text(folder / TEXT, " ".join(map(str, texts)) + "\n")


def _hear(sources: Sequence[Path]) -> _Joined:
    """Read the recordings and leave out what is broken, silent or clipped.

    Raises UserError where nothing is left, or too little.
    """
    heard: list[tuple[Path, np.ndarray, int]] = []
    left_out: list[Exclusion] = []
    for path in sources:
        try:
            heard.append((path, *_usable(path)))
        except UnusableClip as error:
            left_out.append(Exclusion(str(path), str(error)))
    if not heard:
        reasons = "; ".join(f"{each.path}: {each.reason}" for each in left_out)
        raise UserError(f"None of the recordings can be used ({reasons}): pass others.")
    rate_hz = max(rate for _, _, rate in heard)
    pieces = [resampled(samples, rate, rate_hz) for _, samples, rate in heard]
    parts, start = [], 0.0
    for (path, _, _), samples in zip(heard, pieces, strict=True):
        parts.append(VoicePart(printable(path.name), start, samples.size / rate_hz, text_beside(path)))
        start += samples.size / rate_hz
    if start < MIN_SEC:
        raise UserError(
            f"The recordings hold {start:.1f} s, and a voice needs at least {MIN_SEC:g} s, better six to twelve: pass "
            "longer ones."
        )
    return _Joined(np.concatenate(pieces), rate_hz, tuple(parts), left_out)


def _usable(path: Path) -> tuple[np.ndarray, int]:
    """A recording [T] at its own rate, or at 48 kHz if that is less. Raises UnusableClip for one that is no good."""
    utterance = Utterance("voice", path, "")
    recorded, recorded_rate_hz = read_samples(utterance)
    rate_hz = min(recorded_rate_hz, _MOST_HZ)
    samples = np.asarray(load_clip(utterance, rate_hz, _TAIL_SEC).samples)
    quality = recording_quality(recorded, recorded_rate_hz)
    if quality is None:
        raise UnusableClip("the audio is silent")
    if quality.clipped_share > MOST_CLIPPED:
        raise UnusableClip(f"{quality.clipped_share:.1%} of its samples are clipped: record it again at a lower level")
    return samples, rate_hz


def _split(recording: Path, parts: Sequence[VoicePart], folder: Path) -> list[Path]:
    """The parts of a recording as files of their own, with their texts beside them."""
    samples, rate_hz = soundfile.read(recording)
    paths = []
    for number, part in enumerate(parts):
        path = folder / f"{number:03d}.wav"
        first = round(part.start_sec * rate_hz)
        write_wav(path, samples[first : first + round(part.duration_sec * rate_hz)], rate_hz)
        if part.text is not None:
            write_text(path.with_suffix(".txt"), part.text)
        paths.append(path)
    return paths
