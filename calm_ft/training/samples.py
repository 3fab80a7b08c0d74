"""Samples while training: the same sentences, voice and noise every n optimizer steps, the base model first.

What is heard is the averaged weights, as an export would have them. Nothing of it shifts training: weights and modes
are put back, gradients stay as they are, and global random states are restored. Files stay: for each sampled step one
WAV file a sentence (48 kB a second of 24 kHz speech) and one picture, `step-000200_00.wav` and `step-000200.png`.
"""

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from calm_ft.evaluation.audio_io import is_silent, write_wav
from calm_ft.evaluation.picture import spectrogram_figure
from calm_ft.randomness import derive_seed
from calm_ft.training.loggers import log_media
from calm_ft.training.throughput import pause_throughput


class SampleWhileTraining(Callback):
    """Speaks a few sentences as training goes on and shows them by step in the trackers.

    The first process alone does it, and nothing in it waits for the others.
    """

    def __init__(
        self, sentences: list[str], voice_prompt: Path, directory: Path, every_n_steps: int, seed: int
    ) -> None:
        """Settings.

        Args:
            sentences: what is spoken, each with noise of its own from (seed, its place).
            voice_prompt: a recording of the voice; encoded anew each time, since its state changes with the weights.
            directory: where WAV files and pictures go.
            every_n_steps: optimizer steps between samples; step 0 is sampled before the first one.
        """
        self.sentences = sentences
        self.voice_prompt = voice_prompt
        self.directory = directory
        self.every_n_steps = every_n_steps
        self.seed = seed
        self._last_step = 0
        self._started_sec = self._sampling_sec = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started_sec, self._sampling_sec = time.perf_counter(), 0.0
        self._last_step = trainer.global_step
        if trainer.global_step == 0:
            self._sample(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step > self._last_step and step % self.every_n_steps == 0:
            self._sample(trainer, pl_module)
        self._last_step = step

    def _sample(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        adapter: Any = pl_module.adapter
        pause_throughput(trainer)
        started_sec = time.perf_counter()
        try:
            with _training_untouched(pl_module):
                spoken = self._speak(adapter, trainer.global_step)
        except RuntimeError as error:  # such as a full GPU: no sample is worth a lost training
            _say(f"no samples at step {trainer.global_step}: {' '.join(str(error).split())[:200]}")
            return
        self._keep(trainer, spoken, adapter.sample_rate_hz)
        ended_sec = time.perf_counter()
        self._sampling_sec += ended_sec - started_sec
        share = self._sampling_sec / (ended_sec - self._started_sec)
        for tracker in trainer.loggers if trainer.global_step else []:  # at step 0 there was nothing else to do
            tracker.log_metrics({"samples/time_share": share}, step=trainer.global_step)

    def _speak(self, adapter: Any, step: int) -> list[Tensor]:
        voice = adapter.load_voice(self.voice_prompt)
        spoken = []
        for index, sentence in enumerate(self.sentences):
            synthesis = adapter.synthesize([sentence], voice, derive_seed(self.seed, "samples", index))[0]
            if not synthesis.ended:
                _say(f"sample {index} at step {step} did not end by itself: {sentence!r}")
            if is_silent(synthesis.audio, synthesis.sample_rate_hz):
                _say(f"sample {index} at step {step} is silent: {sentence!r}")
            spoken.append(synthesis.audio)
        return spoken

    def _keep(self, trainer: Trainer, spoken: list[Tensor], sample_rate_hz: int) -> None:
        stem = f"step-{trainer.global_step:06d}"
        audio = {}
        for index, samples in enumerate(spoken):
            path = self.directory / f"{stem}_{index:02d}.wav"
            write_wav(path, samples, sample_rate_hz)
            audio[f"samples/sentence_{index:02d}"] = path
        picture = self.directory / f"{stem}.png"
        spectrogram_figure(list(zip(self.sentences, spoken, strict=True)), sample_rate_hz, picture)
        log_media(trainer.loggers, trainer.global_step, audio, {"samples/spectrograms": picture})


@contextmanager
def _training_untouched(pl_module: Any) -> Iterator[None]:
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


def _say(line: str) -> None:
    """A whole line, also above a progress bar."""
    tqdm.write(line, file=sys.stderr)
