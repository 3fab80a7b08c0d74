"""A run's evaluation of two sentences, with the metrics that take no time to load."""

from pathlib import Path

import numpy as np

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.evaluation.evaluator import Protocol
from calm_ft.evaluation.sentences import choose_usable
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.metrics.audio_io import read_wav_bytes, write_wav
from calm_ft.metrics.recognisers import choose_recogniser
from calm_ft.training.evaluation import VOICE_PROMPT, RunEvaluation

EVERY_TWO = EvaluationSettings(every_n_steps=2, num_scored_sentences=2, max_time_share=1.0)


def protocol_of(clips: list[EncodedUtterance], adapter: TTSAdapter, output_dir: Path, asr: str = "auto") -> Protocol:
    """The first four clips are held out; the first of them prompts."""
    chosen = choose_usable([each.utterance for each in clips[:4]], adapter, 4, seed=0)
    prompt = chosen.recordings[0]
    write_wav(output_dir / VOICE_PROMPT, prompt, adapter.sample_rate_hz)
    return Protocol(
        model="tiny",
        texts=chosen.texts,
        recordings=chosen.recordings,
        source="four clips",
        sample_rate_hz=adapter.sample_rate_hz,
        voice=output_dir / VOICE_PROMPT,
        prompt=prompt,
        voice_source="first clip",
        seed=0,
        num_seeds=1,
        recogniser=choose_recogniser(asr, "en", fits_embedded=True),
        language="en",
        opinion_scores=False,
    )


def evaluation_of(
    clips: list[EncodedUtterance],
    adapter: TTSAdapter,
    output_dir: Path,
    settings: EvaluationSettings = EVERY_TWO,
    cache_dir: Path | None = None,
) -> RunEvaluation:
    return RunEvaluation(protocol_of(clips, adapter, output_dir), output_dir, settings, cache_dir)


def samples_of(path: Path) -> np.ndarray:
    return read_wav_bytes(path.read_bytes())
