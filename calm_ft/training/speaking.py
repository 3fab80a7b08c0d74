"""Fixed sentences in a fixed voice with fixed noise, spoken without a trace in the training that goes on around."""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from calm_ft.adapters.base import TTSAdapter
from calm_ft.evaluation.protocol import Spoken
from calm_ft.metrics.audio_io import is_silent, wav_bytes
from calm_ft.randomness import derive_seed


@dataclass(frozen=True)
class Speaking:
    """What is said, each sentence with noise of its own from (seed, its place).

    voice_prompt: a recording of the voice; encoded anew each time, since its state changes with the weights.
    """

    sentences: Sequence[str]
    voice_prompt: Path
    seed: int

    def speak(self, adapter: TTSAdapter, system: str, step: int, num_sentences: int) -> list[Spoken]:
        """The first sentences by the adapter as it is; what is silent or does not end is named."""
        texts = self.sentences[:num_sentences]
        if not texts:
            return []
        seeds = [derive_seed(self.seed, "samples", index) for index in range(len(texts))]
        together = adapter.synthesize(texts, adapter.load_voice(self.voice_prompt), seeds)
        spoken = []
        for index, (text, said) in enumerate(zip(texts, together, strict=True)):
            if not said.ended:
                say(f"sample {index} at step {step} did not end by itself: {text!r}")
            if is_silent(said.audio, said.sample_rate_hz):
                say(f"sample {index} at step {step} is silent: {text!r}")
            content = wav_bytes(said.audio, said.sample_rate_hz)
            spoken.append(Spoken(system, index, 0, text, content, said.sample_rate_hz, said.ended))
        return spoken


@contextmanager
def training_untouched(pl_module: Any) -> Iterator[None]:
    """Averaged weights in eval mode without gradients; afterwards weights, modes and random states as before."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), pl_module.ema.applied():
            pl_module.adapter.eval()
            yield
    finally:
        pl_module.strategy.set_modes(pl_module.adapter)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def say(line: str) -> None:
    """A whole line, also above a progress bar."""
    tqdm.write(line, file=sys.stderr)
