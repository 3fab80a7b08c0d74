"""How long a system takes to say one sentence alone, and until its first audio can be played."""

import os
import platform
import time
from datetime import datetime
from typing import Any

import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.evaluation.kept_audio import Timing


def timing_conditions() -> str:
    """What a timing depends on beside the system: the machine's kind and how many threads torch may use."""
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
    return Timing(generation_sec, first_audio_sec, audio_sec, timing_conditions(), now)
