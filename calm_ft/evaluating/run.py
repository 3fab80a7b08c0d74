"""An evaluation from its arguments to its files, in the order in which a mistake costs least.

Everything is read and checked first; then every system speaks every sentence, everything is measured, and only then
are files written, so that whatever fails leaves an earlier evaluation as it was.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from calm_ft.atomic_file import why_not_a_folder
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.evaluating.heldout import HeldOut, heldout_folder, load_recording, read_heldout
from calm_ft.evaluating.subject import Models, Subject, find_subject
from calm_ft.evaluation.audio_io import wav_bytes
from calm_ft.evaluation.metrics.available import available_metrics
from calm_ft.evaluation.protocol import BASE, CODEC, REFERENCE, Spoken, recorded, score
from calm_ft.evaluation.recogniser import AUTO_ASR, choose_recogniser
from calm_ft.evaluation.records import write_records
from calm_ft.evaluation.score_cache import CACHE_FILE, ScoreCache
from calm_ft.evaluation.summary import summarize
from calm_ft.randomness import derive_seed


@dataclass(frozen=True)
class EvaluationSettings:
    """How to evaluate; see scripts/evaluate.py. Raises UserError for counts that leave nothing to do."""

    num_sentences: int = 50
    num_seeds: int = 1
    asr: str = AUTO_ASR
    force_asr: bool = False
    of: str | None = None
    output_dir: Path | None = None
    heldout_path: Path | None = None
    voice: Path | None = None

    def __post_init__(self) -> None:
        for name in ("num_sentences", "num_seeds"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)} must be at least 1.")
        if not self.asr.strip():
            raise UserError(
                "--asr is empty: name a speech recogniser of the hub, a folder with one, embedded, or none."
            )


@dataclass(frozen=True)
class Evaluation:
    """Where the files are, and what summary.json holds."""

    folder: Path
    summary: dict[str, Any]
    num_clips: int
    wall_sec: float


def evaluate(model: str, settings: EvaluationSettings) -> Evaluation:
    """Evaluate a run, an export, or "base".

    Raises UserError for input that is the user's to mend, before anything is written.
    """
    started = time.perf_counter()
    subject = find_subject(model, settings.of)
    folder = settings.output_dir or subject.default_output
    reason = why_not_a_folder(folder)
    if reason is not None:
        raise UserError(f"{folder} cannot be written ({reason}): pass another --output-dir.")
    sentences_in = heldout_folder(subject, settings.heldout_path)
    prompt_file = settings.voice or subject.prompt_file()
    if prompt_file is not None and not prompt_file.is_file():
        raise UserError(f"There is no recording {prompt_file}: pass an audio file of the voice as --voice.")
    models = Models(subject)
    rate = models.adapter.sample_rate_hz
    prompt = None if prompt_file is None else load_recording(Utterance("voice", prompt_file, ""), rate)
    seed = (models.config or {}).get("seed", 0)
    heldout = read_heldout(subject, sentences_in, models.adapter, settings.num_sentences, seed)
    references = {
        index: recorded(REFERENCE, index, text, audio, rate)
        for index, (text, audio) in enumerate(zip(heldout.texts, heldout.recordings, strict=True))
    }
    recordings = {text: np.asarray(audio) for text, audio in zip(heldout.texts, heldout.recordings, strict=True)}
    own_model = (models.config or {}).get("adapter", {}).get("model")
    asr = choose_recogniser(settings.asr, own_model, settings.force_asr)
    available = available_metrics(recordings, None if prompt is None else np.asarray(prompt), rate, asr)
    missing = _not_compared(subject)
    clips = [*references.values(), *_round_trips(models, heldout, missing)]
    voice = prompt_file or Path(subject.saved_voice())
    for system in subject.systems:
        clips += _speak(models, system, heldout, voice, seed, settings.num_seeds)
    cache = ScoreCache(folder / CACHE_FILE)
    scored = score(clips, references, available.metrics, available.missing, cache)
    protocol = {
        **_protocol(settings, heldout, voice, seed, rate, models),
        "asr": asr if isinstance(asr, str) else asr.name,
    }
    summary = summarize(model, scored, available.figures, {**available.missing, **missing}, protocol)
    try:
        write_records(folder, scored, summary)
        cache.save()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): pass another --output-dir.") from error
    return Evaluation(folder, summary, len(clips), time.perf_counter() - started)


def _not_compared(subject: Subject) -> dict[str, str]:
    if BASE in subject.systems:
        return {}
    return {"against_base": "the export's base is not known: pass --of with the run that it comes from."}


def _round_trips(models: Models, heldout: HeldOut, missing: dict[str, str]) -> Iterator[Spoken]:
    adapter = models.adapter
    for index, (text, audio) in enumerate(zip(heldout.texts, heldout.recordings, strict=True)):
        copy: Tensor | None = adapter.reconstruct(audio)
        if copy is None:
            missing[CODEC] = f"{adapter.name} has no codec that a recording could pass through as its speech does."
            return
        yield recorded(CODEC, index, text, copy, adapter.sample_rate_hz)


def _speak(models: Models, system: str, heldout: HeldOut, voice: Path, seed: int, num_seeds: int) -> list[Spoken]:
    """All sentences, `num_seeds` times; noise depends on the run's seed, the repeat and the sentence alone."""
    spoken = []
    places = [(repeat, index) for repeat in range(num_seeds) for index in range(len(heldout.texts))]
    with models.speaking(system) as adapter:
        state = adapter.load_voice(voice)
        adapter.synthesize(heldout.texts[:1], state, seed)  # the first call sets up what later ones find ready
        # disable=None: no bar where stderr is no terminal
        for repeat, index in tqdm(places, desc=f"{system} speaks", leave=False, disable=None):
            text, started = heldout.texts[index], time.perf_counter()
            said = adapter.synthesize([text], state, derive_seed(seed, "evaluation", repeat, index))[0]
            took_sec = time.perf_counter() - started
            content = wav_bytes(said.audio, said.sample_rate_hz)
            clip = Spoken(system, index, repeat, text, content, said.sample_rate_hz, said.ended, took_sec)
            spoken.append(clip)
    return spoken


def _protocol(
    settings: EvaluationSettings, heldout: HeldOut, voice: Path, seed: int, rate: int, models: Models
) -> dict[str, Any]:
    return {
        "model": models.adapter.describe(),
        "sentences": heldout.source,
        "num_sentences": len(heldout.texts),
        "num_seeds": settings.num_seeds,
        "seed": seed,
        "voice": str(voice),
        "sample_rate_hz": rate,
        "chance_sentence_identified": 1 / len(heldout.texts),
    }
