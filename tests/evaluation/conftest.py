"""Clips with known figures, and one evaluation of the embedded model that several tests look at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.config import ASSETS
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Utterance
from calm_ft.evaluation.base_voices import choose_base_voices, read_voice_folders, recordings_to_identify_by
from calm_ft.evaluation.clips import Scored, Spoken, recorded
from calm_ft.evaluation.evaluator import TUNED_VOICE, Evaluator, Protocol
from calm_ft.evaluation.kept_audio import Timing
from calm_ft.evaluation.sentences import choose_usable
from calm_ft.evaluation.voice_prompt import read_prompt
from calm_ft.metrics import hub
from calm_ft.metrics.audio_io import wav_bytes
from calm_ft.metrics.embedded_recogniser import EmbeddedASR
from calm_ft.report.result import BASE, FLAGS, TUNED, EvaluationResult
from tests.conftest import NANO, default_objective
from tests.metrics.conftest import RATE_HZ, voiced

TIMING = Timing(0.5, 0.1, 1.0, "one machine", "2026-01-01T00:00:00+00:00")
HELD_OUT, VOICES = ASSETS / "demo_voice" / "heldout", ASSETS / "judging_voices"
NUM_SENTENCES, NUM_SEEDS, NUM_AT_STEPS = 3, 2, 2


def spoken(system: str, audio: np.ndarray, index: int = 0, seed: int = 0, ended: bool = True) -> Spoken:
    """A clip [T] of a system."""
    return Spoken(system, index, seed, f"text {index}", wav_bytes(audio, RATE_HZ), RATE_HZ, ended, TIMING)


def references(num_sentences: int = 7) -> dict[int, Spoken]:
    """Recordings of one second of a voice and a short silence."""
    audio = np.concatenate([voiced(120), np.zeros(RATE_HZ // 10)])
    return {index: recorded("reference", index, f"text {index}", audio, RATE_HZ) for index in range(num_sentences)}


def made(
    system: str,
    index: int = 0,
    seed: int = 0,
    flags: Sequence[str] = (),
    timing: Timing | None = None,
    **metrics: float | None,
) -> Scored:
    """A clip with these figures and faults."""
    clip = Spoken(system, index, seed, f"text {index}", b"", RATE_HZ, timing=timing)
    return Scored(clip, metrics, {}, {flag: flag in flags for flag in FLAGS})


@pytest.fixture(scope="module")
def adapter() -> PocketTTSAdapter:
    """The embedded model; not to be changed."""
    return nano()


def nano() -> PocketTTSAdapter:
    """The embedded model, loaded anew, as it speaks."""
    return PocketTTSAdapter(str(NANO), default_objective()).eval()


def listen(adapter: TTSAdapter) -> list[tuple[str, int]]:
    """From now on, what an adapter is asked to say: (text, seed of its noise) each."""
    said: list[tuple[str, int]] = []
    synthesize = adapter.synthesize

    def listening(texts, voice, seed, **settings):
        said.extend(zip(texts, [seed] * len(texts) if isinstance(seed, int) else seed, strict=True))
        return synthesize(texts, voice, seed, **settings)

    adapter.synthesize = listening  # type: ignore[method-assign, assignment]
    return said


def protocol(adapter: TTSAdapter, num_sentences: int = NUM_SENTENCES) -> Protocol:
    """Held-out sentences of the demo voice, one sentence of another voice, and both voices to be told apart."""
    held_out = read_recordings(HELD_OUT).utterances
    chosen = choose_usable(held_out, adapter, num_sentences, seed=0)
    other = {"f2": read_voice_folders(VOICES, "base_voices")["f2"]}
    voice = held_out[9].audio_path
    prompt, rate_hz = soundfile.read(voice)
    return Protocol(
        model=adapter.describe(),
        texts=chosen.texts,
        recordings=chosen.recordings,
        source=str(HELD_OUT),
        sample_rate_hz=adapter.sample_rate_hz,
        voice=voice,
        prompt=read_prompt(wav_bytes(prompt, rate_hz)),
        voice_source=str(voice),
        seed=0,
        num_seeds=NUM_SEEDS,
        recogniser=EmbeddedASR(),
        language="en",
        opinion_scores=False,
        base_voices=choose_base_voices(other, adapter, num_sentences=1, max_voices=1, seed=0),
        other_voices=lambda: recordings_to_identify_by({TUNED_VOICE: held_out[-4:], **other}, adapter, seed=0),
    )


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of the embedded model and of a copy with other weights, and what each was asked to say."""

    evaluator: Evaluator
    base: PocketTTSAdapter
    tuned: PocketTTSAdapter
    said_by_base: list[tuple[str, int]]
    said_by_tuned: list[tuple[str, int]]
    result: EvaluationResult
    scored: list[Scored]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluated]:
    """Base and tuned model spoken, timed, measured and written; not to be changed. The hub stays out of reach."""
    base, tuned = nano(), nano()
    with torch.no_grad():
        tuned.flow_lm.flow_net.final_layer.linear.weight.mul_(1.02)
    said_by_base, said_by_tuned = listen(base), listen(tuned)
    with pytest.MonkeyPatch.context() as monkeypatch, torch.no_grad():
        monkeypatch.setattr(hub, "_hub_answers", lambda: False)
        monkeypatch.setattr("calm_ft.evaluation.evaluator.NUM_TIMED", 1)
        evaluator = Evaluator(protocol(base), tmp_path_factory.mktemp("run") / "evaluation")
        evaluator.speak(base, BASE, is_timed=True, num_first=NUM_AT_STEPS)
        evaluator.speak(tuned, TUNED, is_timed=True, num_first=NUM_AT_STEPS)
        evaluator.hear_codec(tuned)
        result, scored = evaluator.result("a run", step=7)
        evaluator.write(result, scored)
        said = list(said_by_base), list(said_by_tuned)
        yield Evaluated(evaluator, base, tuned, *said, result, scored)


@pytest.fixture
def write_recording(tmp_path: Path) -> Callable[..., Utterance]:
    """Writes samples [T] at RATE_HZ as a recording of the test's folder."""

    def write(name: str, audio: np.ndarray, text: str | None = None, speaker: str = "speaker") -> Utterance:
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, audio, RATE_HZ)
        return Utterance(name, path, text or f"This is {name}.", speaker)

    return write
