"""The one way in which a system speaks to be judged: many sentences at once, and each only once.

A clip is known by the weights that say it, the voice prompt, the text as the model reads it with the settings that it
speaks by, and the noise. The noise depends on the run's seed, the repeat, the voice and the sentence alone: neither on
what else is said nor on how much of it at once. So base, tuned model and every step between speak with the same noise.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter, text_beside
from calm_ft.evaluation.clips import Spoken
from calm_ft.evaluation.kept_audio import KeptAudio, KeptClip, Timing
from calm_ft.metrics.audio_io import wav_bytes
from calm_ft.progress import Progress
from calm_ft.randomness import derive_seed
from calm_ft.tensor_hash import add_tensors

# To be raised with each change to the code that changes what a system says: clips of older code are not taken then.
SPEECH_VERSION = 2
NUM_TIMED = 5


@dataclass(frozen=True)
class Lines:
    """Sentences to be said in one voice: (index, text) each, the recording or saved state that prompts them.

    `voice` is a base voice's name, or None for the voice that was tuned to.
    """

    sentences: Sequence[tuple[int, str]]
    prompt: Path
    voice: str | None = None


@dataclass(frozen=True)
class _Place:
    index: int
    repeat: int
    text: str
    noise_seed: int
    key: str


class Speaker:
    """One system with the weights that it has now."""

    def __init__(self, adapter: TTSAdapter, system: str, seed: int, kept: KeptAudio, shows_progress: bool = True):
        self.adapter = adapter
        self.system = system
        self.seed = seed
        self.kept = kept
        self.shows_progress = shows_progress

    @cached_property
    def _weights(self) -> str:
        digest = hashlib.sha256()
        add_tensors(digest, self.adapter.state_dict().items())
        return digest.hexdigest()

    def speak(self, lines: Lines, num_seeds: int, num_timed: int = 0) -> list[Spoken]:
        """Every sentence `num_seeds` times; the first `num_timed` of them are said once more, alone, and timed.

        Raises UserError where what is said cannot be kept.
        """
        prompt = hashlib.sha256(lines.prompt.read_bytes()).hexdigest()
        places = [
            self._place(lines, prompt, repeat, index, text)
            for repeat in range(num_seeds)
            for index, text in lines.sentences
        ]
        load = self.adapter.tuned_voice if lines.voice is None else self.adapter.load_voice
        voice = _Once(lambda: load(lines.prompt, text_beside(lines.prompt)))
        self._say([place for place in places if self.kept.get(place.key) is None], voice, lines.voice)
        self._time(places[: min(num_timed, len(lines.sentences))], voice)
        return [self._spoken(place, lines.voice) for place in places]

    def _place(self, lines: Lines, prompt: str, repeat: int, index: int, text: str) -> _Place:
        sentence = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        noise_seed = derive_seed(self.seed, f"evaluation {lines.voice or ''}", repeat, sentence)
        shaped_by = [SPEECH_VERSION, self._weights, prompt, self.adapter.synthesis_fingerprint(text), noise_seed]
        return _Place(index, repeat, text, noise_seed, hashlib.sha256(json.dumps(shaped_by).encode()).hexdigest())

    def _say(self, places: Sequence[_Place], voice: "_Once", voice_name: str | None) -> None:
        ordered = sorted(places, key=lambda place: len(place.text))  # what is said together should end together
        title = f"{self.system} speaks" + ("" if voice_name is None else f" as {voice_name}")
        with Progress(title, len(ordered), leave=False, hidden=not self.shows_progress) as bar:
            for start in range(0, len(ordered), self.adapter.max_synthesis_batch):
                together = ordered[start : start + self.adapter.max_synthesis_batch]
                texts, seeds = [each.text for each in together], [each.noise_seed for each in together]
                for place, said in zip(together, self.adapter.synthesize(texts, voice.value, seeds), strict=True):
                    self.kept.put(place.key, KeptClip(wav_bytes(said.audio, said.sample_rate_hz), said.ended))
                bar.update(len(together))

    def _time(self, places: Sequence[_Place], voice: "_Once") -> None:
        conditions = timing_conditions(self.adapter)
        known = {place.key: self.kept.get(place.key) for place in places}
        anew = [
            place
            for place in places
            if (clip := known[place.key]) is None or clip.timing is None or clip.timing.conditions != conditions
        ]
        with Progress(f"{self.system} is timed", len(anew), leave=False, hidden=not self.shows_progress) as bar:
            for number, place in enumerate(anew):
                if number == 0:  # the first call sets up what later ones find ready
                    time_sentence(self.adapter, place.text, voice.value, place.noise_seed)
                timing = time_sentence(self.adapter, place.text, voice.value, place.noise_seed)
                self.kept.add_timing(place.key, timing)
                bar.update()

    def _spoken(self, place: _Place, voice: str | None) -> Spoken:
        clip = self.kept.get(place.key)
        assert clip is not None
        rate_hz = self.adapter.sample_rate_hz
        said = (clip.wav, rate_hz, clip.ended, clip.timing, voice, place.key)
        return Spoken(self.system, place.index, place.repeat, place.text, *said)


class _Once:
    """A voice that is made when it is first needed: where all is kept, never."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def value(self) -> Any:
        return self._make()


@contextmanager
def as_file(prompt: Tensor, sample_rate_hz: int) -> Iterator[Path]:
    """A prompt's samples [T] as a file, which is what adapters make voices of; it is gone afterwards."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.wav"
        path.write_bytes(wav_bytes(prompt, sample_rate_hz))
        yield path


def timing_conditions(adapter: TTSAdapter) -> str:
    """What a timing depends on beside the system: the machine's kind, the device, and the threads torch may use."""
    device = next(adapter.parameters()).device
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {platform.machine()}"
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"


def time_sentence(adapter: TTSAdapter, text: str, voice: Any, seed: int) -> Timing:
    """The whole by `synthesize`, in a batch of one; the first piece by `stream`, which is not asked for a second."""
    started = time.perf_counter()
    said = adapter.synthesize([text], voice, seed)[0]
    generation_sec = time.perf_counter() - started
    pieces = adapter.stream(text, voice, seed)
    started = time.perf_counter()
    next(pieces)
    first_audio_sec = time.perf_counter() - started
    audio_sec = len(said.audio) / said.sample_rate_hz
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return Timing(generation_sec, first_audio_sec, audio_sec, timing_conditions(adapter), now)
