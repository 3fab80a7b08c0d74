"""espeak-ng through ctypes: text and a voice in, 16 kHz mono samples out.

Needs the PyPI package `espeakng-loader` (shared library and voice data, GPL; its output is not covered by
that licence). Only the synchronous retrieval mode is used: `espeak_Synth` hands 16-bit blocks to a callback
before it returns. Source: espeak-ng's `speak_lib.h`, whose enumerations the constants below repeat.
"""

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from calm_ft.errors import UserError

SAMPLE_RATE_HZ = 16_000
TRAILING_SILENCE_SEC = 0.2

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_SILENCE_LEVEL = 0.002
_LIST_ENDS, _WORD_BEGINS = 0, 1
_RATE_STEP_HZ = 50


class _Event(ctypes.Structure):
    """`espeak_EVENT`; `text_position` counts characters from 1, `sample` those of the whole utterance."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK_TYPE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class EspeakVoice:
    """One synthetic speaker. Pitch and range go from 0 to 99, the rate is in words a minute.

    `tract` multiplies every frequency, as a vocal tract shorter by that factor does, and makes speech that much faster.
    """

    name: str
    variant: str
    accent: str = "en-us"
    pitch: int = 50
    pitch_range: int = 50
    rate_wpm: int = 170
    tract: float = 1.0


class _Engine:
    """The library's single global synthesizer; the callback collects blocks into `self.blocks`."""

    def __init__(self) -> None:
        loader = _import_loader()
        self.library = ctypes.CDLL(loader.get_library_path())
        self.sample_rate_hz = self.library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0
        )
        if self.sample_rate_hz <= 0:
            raise UserError(
                "espeak-ng could not start from its voice data; run `pip install --force-reinstall espeakng-loader`."
            )
        self.blocks: list[np.ndarray] = []
        self.word_starts: list[tuple[int, int]] = []
        # The library keeps the bare pointer: without this reference the callback would be collected.
        self._callback = _CALLBACK_TYPE(self._collect)
        self.library.espeak_SetSynthCallback(self._callback)

    def _collect(
        self, samples: "ctypes._Pointer[ctypes.c_short]", num_samples: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if samples and num_samples > 0:
            self.blocks.append(np.ctypeslib.as_array(samples, shape=(num_samples,)).copy())
        number = 0
        while events[number].type != _LIST_ENDS:
            if events[number].type == _WORD_BEGINS:
                self.word_starts.append((events[number].text_position - 1, events[number].sample))
            number += 1
        return 0

    def speak(self, text: str, voice: EspeakVoice) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Raw float32 samples at the library's own rate, and (character, sample) of every beginning of a word."""
        full_name = f"{voice.accent}+{voice.variant}"
        # The library falls back to its default for a variant that it lacks, and says nothing.
        known = voice.variant in list_variants()
        if not known or self.library.espeak_SetVoiceByName(full_name.encode()) != 0:
            raise UserError(f"espeak-ng has no voice '{full_name}': choose another accent or variant.")
        for parameter, value in (
            (_PARAMETER_RATE, voice.rate_wpm),
            (_PARAMETER_PITCH, voice.pitch),
            (_PARAMETER_RANGE, voice.pitch_range),
        ):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.blocks.clear()
        self.word_starts.clear()
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, len(data), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        samples = np.concatenate(self.blocks) if self.blocks else np.zeros(0, np.int16)
        return samples.astype(np.float32) / 32768.0, list(self.word_starts)


def _import_loader():  # type: ignore[no-untyped-def]
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError("Building the embedded model needs espeak-ng: run `pip install 'calm_ft[nano]'`.") from error
    return espeakng_loader


@cache
def _engine() -> _Engine:
    return _Engine()


def synthesize(text: str, voice: EspeakVoice) -> np.ndarray:
    """Speech as float32 `[T]` at 16 kHz, peak 0.8 at most, ending in 0.2 s of silence.

    The library keeps flutter and breath going between calls: repeats sound alike, but are not bit-equal.

    Raises UserError when espeak-ng is missing or does not know the voice.
    """
    return synthesize_with_words(text, voice)[0]


def synthesize_with_words(text: str, voice: EspeakVoice) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """`synthesize`, and the words in the form of a manifest: `{word, start_sec, end_sec}`.

    Words that espeak-ng says in one go ("of the") are one entry. A word ends where the next one begins, the last one
    with the sound.
    """
    engine = _engine()
    samples, starts = engine.speak(text, voice)
    # In whole steps, for a ratio of small numbers: the filter's length grows with them.
    made_at_hz = _RATE_STEP_HZ * round(engine.sample_rate_hz * voice.tract / _RATE_STEP_HZ)
    common = gcd(SAMPLE_RATE_HZ, made_at_hz)
    resampled = resample_poly(samples, SAMPLE_RATE_HZ // common, made_at_hz // common).astype(np.float32)
    said = _with_fixed_tail(_with_peak_below(resampled, 0.8))
    end_sec = len(said) / SAMPLE_RATE_HZ - TRAILING_SILENCE_SEC
    seconds = [(place, sample / made_at_hz) for place, sample in starts]
    return said, _words(text, seconds, end_sec)


def _words(text: str, starts: Sequence[tuple[int, float]], end_sec: float) -> list[dict[str, Any]]:
    """Written words with the times of `starts`, which are (character, seconds)."""
    rows: list[dict[str, Any]] = []
    for match in re.finditer(r"\S+", text):
        begins = [seconds for place, seconds in starts if match.start() <= place < match.end()]
        if begins or not rows:
            rows.append({"word": match[0], "start_sec": round(begins[0] if begins else 0.0, 3)})
        else:
            rows[-1]["word"] += f" {match[0]}"
    for row, following in zip(rows, [*rows[1:], {"start_sec": end_sec}], strict=True):
        row["end_sec"] = round(max(row["start_sec"], following["start_sec"]), 3)
    return rows


@cache
def list_variants() -> tuple[str, ...]:
    """All voice variants that the installed espeak-ng ships, sorted."""
    folder = Path(_import_loader().get_data_path()) / "voices" / "!v"
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_file()))


def _with_peak_below(samples: np.ndarray, peak: float) -> np.ndarray:
    loudest = float(np.abs(samples).max(initial=0.0))
    return samples * (peak / loudest) if loudest > peak else samples


def _with_fixed_tail(samples: np.ndarray) -> np.ndarray:
    audible = np.flatnonzero(np.abs(samples) > _SILENCE_LEVEL)
    end = int(audible[-1]) + 1 if audible.size else 0
    tail = np.zeros(round(TRAILING_SILENCE_SEC * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([samples[:end], tail])
