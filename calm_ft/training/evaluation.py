"""A run's own evaluation: how speech of the base, of the model at a step and of the export is made, measured and saved.

All of it is one `evaluation.Evaluator` in RUN/evaluation; `scripts/evaluate.py` reuses that folder. In
`samples/` lie the clips that people hear first (`reference_00.wav`, `base_00.wav`, `tuned_00.wav`,
`step-000200_00.wav`) and one picture of spectrograms for each step.
"""

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from tqdm import tqdm

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.voice_library import find_recording
from calm_ft.atomic_file import atomic_path, write_text
from calm_ft.data.prepare import EncodedUtterance, encode_recordings
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Exclusion, Utterance
from calm_ft.errors import UserError
from calm_ft.evaluation.base_voices import (
    NUM_RESIDUAL_CLIPS,
    BaseVoices,
    choose_base_voices,
    read_voice_folders,
    recordings_to_identify_by,
)
from calm_ft.evaluation.clips import Scored, Spoken
from calm_ft.evaluation.evaluator import TUNED_VOICE, Evaluator, Protocol, StepScores
from calm_ft.evaluation.sentences import choose_usable
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.evaluation.voice_prompt import VoicePrompt, choose_prompt, prompt_of_recording
from calm_ft.metrics.audio_io import read_wav_bytes, write_wav
from calm_ft.metrics.recognisers import choose_recogniser
from calm_ft.report.picture import spectrogram_figure
from calm_ft.report.result import BASE, REFERENCE, TUNED, EvaluationResult
from calm_ft.report.runs import EVALUATION
from calm_ft.training.callbacks.metric_monitor import PREFIX
from calm_ft.training.datamodule import RecordingsDataModule, validation_loader
from calm_ft.training.loggers import log_media, log_sentences, restore_sentences
from calm_ft.training.loggers.sentences import FILE_NAME, SentenceFile, SentenceRow
from calm_ft.training.residuals import BaseVoicesResidual
from calm_ft.training.settings import DataSettings

VOICE_PROMPT = Path("samples") / "voice_prompt.wav"
EXPORT_VOICE = Path("samples") / "export_voice.wav"
TRAINING = "training"
NUM_KEPT = 4
NUM_PICTURED = 2


@dataclass(frozen=True)
class EvaluationSources:
    """The recordings that the settings name: held-out ones (None: the validation clips), and those of base voices."""

    heldout: list[Utterance] | None
    excluded: list[Exclusion]
    base_voices: dict[str, list[Utterance]]


@dataclass(frozen=True)
class VoiceChoice:
    """Recordings that the settings name: one that prompts the evaluation and is exported, one that is exported instead.

    None: the run chooses among its clips; the prompt is exported.
    """

    prompt: Path | None = None
    exported: Path | None = None


def find_voices(voice: str | None, exported: str | None) -> VoiceChoice:
    """The recordings of `voice` and `export.voice`, files or names of the library. Raises UserError for others."""
    return VoiceChoice(*(None if each is None else find_recording(each) for each in (voice, exported)))


@dataclass(frozen=True)
class EvaluationPlan:
    """All that a run is judged by, read and checked before its folder is made.

    `protocol` is None if no sentence is synthesised, `base_voices` if there are no clips of base voices, `export_voice`
    if the prompt is what is exported.
    """

    prompt: VoicePrompt
    export_voice: VoicePrompt | None
    protocol: Protocol | None
    base_voices: BaseVoicesResidual | None


def read_evaluation_sources(settings: EvaluationSettings) -> EvaluationSources:
    """List the recordings; raises UserError where a folder is missing or holds nothing."""
    read = None if settings.heldout_path is None else read_recordings(Path(settings.heldout_path).expanduser())
    voices = {} if settings.base_voices is None else read_voice_folders(settings.base_voices, "evaluation.base_voices")
    return EvaluationSources(None if read is None else read.utterances, [] if read is None else read.exclusions, voices)


def plan_evaluation(
    settings: EvaluationSettings,
    sources: EvaluationSources,
    adapter: TTSAdapter,
    recordings: RecordingsDataModule,
    data: DataSettings,
    voices: VoiceChoice,
    seed: int,
    output_dir: Path,
) -> EvaluationPlan:
    """Choose sentences, prompt and base voices, and decode what is used of them.

    Raises UserError for a recording that cannot be used, and a recogniser that does not fit the model.
    """
    if voices.prompt is None:
        prompt = choose_prompt(
            recordings.train_clips, adapter.sample_rate_hz, adapter.usual_voice_sec, adapter.min_voice_sec
        )
    else:
        prompt = prompt_of_recording(voices.prompt, adapter)
    export_voice = None if voices.exported is None else prompt_of_recording(voices.exported, adapter)
    base_voices = _base_voices_residual(sources, recordings, adapter, data, seed)
    protocol = None
    if settings.num_sentences:
        protocol = _protocol(settings, sources, adapter, recordings, prompt, seed, output_dir)
    return EvaluationPlan(prompt, export_voice, protocol, base_voices)


def _protocol(
    settings: EvaluationSettings,
    sources: EvaluationSources,
    adapter: TTSAdapter,
    recordings: RecordingsDataModule,
    prompt: VoicePrompt,
    seed: int,
    output_dir: Path,
) -> Protocol | None:
    language = settings.language or adapter.language
    recogniser = choose_recogniser(settings.asr, language, adapter.embedded_recogniser_fits)
    validation = [clip.utterance for clip in recordings.validation_clips]
    found = validation if sources.heldout is None else sources.heldout
    chosen = choose_usable(found, adapter, settings.num_sentences, seed)
    if not chosen.utterances:
        return None
    speaks_in_base_voices = bool(sources.base_voices and settings.base_sentences)
    base_voices = BaseVoices([], "they were not asked for (evaluation.base_voices and evaluation.base_sentences).")
    if speaks_in_base_voices:
        base_voices = choose_base_voices(
            sources.base_voices, adapter, settings.base_sentences, settings.max_base_voices, seed
        )

    def other_voices() -> dict[str, list[np.ndarray]]:
        if not sources.base_voices:
            return {}
        own = {TUNED_VOICE: [clip.utterance for clip in recordings.train_clips]}
        return recordings_to_identify_by({**own, **sources.base_voices}, adapter, seed)

    return Protocol(
        model=adapter.describe(),
        playing=adapter.playing,
        texts=chosen.texts,
        recordings=chosen.recordings,
        source=settings.heldout_path or "the run's validation clips",
        sample_rate_hz=adapter.sample_rate_hz,
        voice=output_dir / VOICE_PROMPT,
        prompt=prompt.samples,
        voice_source=", ".join(prompt.sources),
        seed=seed,
        num_seeds=settings.num_seeds,
        recogniser=recogniser,
        language=language,
        opinion_scores=settings.opinion_scores,
        base_voices=base_voices,
        other_voices=other_voices,
        excluded=[*sources.excluded, *chosen.excluded],
    )


def _base_voices_residual(
    sources: EvaluationSources, recordings: RecordingsDataModule, adapter: TTSAdapter, data: DataSettings, seed: int
) -> BaseVoicesResidual | None:
    """The first clips of each base voice, or else the validation clips of replayed sources.

    Each is prompted by another clip of its speaker.

    Raises UserError where no clip can be encoded.
    """
    first = [clip for clips in sources.base_voices.values() for clip in clips[:NUM_RESIDUAL_CLIPS]]
    if first:
        clips = _encoded(first, adapter, data)
        pool = adapter.prompt_pool(clips)
    else:
        clips, pool = recordings.replay_validation_clips, recordings.pool
    if not clips:
        return None
    names = tuple(dict.fromkeys(clip.utterance.speaker for clip in clips))
    return BaseVoicesResidual(names, len(clips), validation_loader(clips, pool, adapter, recordings.limits, seed))


def _encoded(utterances: Sequence[Utterance], adapter: TTSAdapter, data: DataSettings) -> list[EncodedUtterance]:
    cache = data.cache_folder
    limits = (data.tail_sec, data.max_duration_sec)
    return encode_recordings(utterances, adapter, cache, *limits, progress=False).encoded


class RunEvaluation:
    """Speaks, measures, keeps and shows what a run says before, while and after it trains."""

    def __init__(
        self, protocol: Protocol, output_dir: Path, settings: EvaluationSettings, cache_dir: Path | None = None
    ) -> None:
        """`cache_dir`: what the base said is kept there too, for other runs that ask it for the same."""
        self._shared = None if cache_dir is None else cache_dir / EVALUATION / _shared_name(protocol)
        shared = [] if self._shared is None else [self._shared]
        self.evaluator = Evaluator(protocol, output_dir / EVALUATION, shared)
        self.samples = output_dir / VOICE_PROMPT.parent
        self.settings = settings
        self.base_counts: dict[str, int] = {}
        self.expected_sec = 0.0
        """What the evaluation of a step will probably take; known after `begin`."""
        self._said_missing: set[str] = set()
        self._file = SentenceFile(self.samples / FILE_NAME)

    @property
    def num_scored(self) -> int:
        """How many of the first sentences are said and scored at a step."""
        return min(self.settings.num_scored_sentences, len(self.evaluator.protocol.texts))

    @property
    def num_samples(self) -> int:
        """How many of the scored sentences are logged with audio and a spectrogram."""
        return min(self.settings.num_samples, self.num_scored)

    def begin(self, module: Any, trackers: Sequence[Logger], resumed_step: int | None) -> StepScores:
        """Synthesise with the base before training; a resumed run reuses saved clips and does not log them again."""
        missing = self.evaluator.available.missing  # loads all metrics now, so that steps do not
        started_sec = time.perf_counter()
        with training_untouched(module):
            num_said = self.evaluator.speak(module.adapter, BASE, num_first=self.num_scored)
        spoken_sec = time.perf_counter() - started_sec
        recordings, base = (self.evaluator.own_clips(each, self.num_scored) for each in (REFERENCE, BASE))
        references = self.evaluator.score_step(recordings)
        started_sec = time.perf_counter()
        scores = self.evaluator.score_step(base)
        self.expected_sec = spoken_sec * self.num_scored / num_said + time.perf_counter() - started_sec
        self.base_counts = scores.counts
        self._say_missing({**missing, **scores.missing})
        self._file = SentenceFile(self.samples / FILE_NAME, resumed_step)
        if resumed_step is not None:
            restore_sentences(trackers, self._file.rows)
            return scores
        num_kept = max(NUM_KEPT, self.num_scored)
        for system in (REFERENCE, BASE):
            self._keep(self.evaluator.own_clips(system, num_kept), system)
        self._show_samples(base, BASE, 0, trackers)
        rows = self._rows(references.clips, REFERENCE, None) + self._rows(scores.clips, BASE, 0)
        self._show(0, scores, rows, trackers)
        self.evaluator.save_scores()
        return scores

    def at_step(self, module: Any, step: int, trackers: Sequence[Logger]) -> StepScores:
        """Synthesise with the averaged weights after `step` optimizer steps; returns the scores."""
        with training_untouched(module):
            spoken = self.evaluator.speak_step(module.adapter, TRAINING, self.num_scored)
            scores = self.evaluator.score_step(spoken)
        stem = f"step-{step:06d}"
        self._keep(spoken, stem)
        self._show_samples(spoken, stem, step, trackers)
        self._say_missing(scores.missing)
        self._say_faults(scores, step)
        self._show(step, scores, self._rows(scores.clips, stem, step), trackers)
        return scores

    def finish(
        self, adapter: TTSAdapter, run: str, last_step: int, checkpoint_step: int, trackers: Sequence[Logger]
    ) -> EvaluationResult:
        """Synthesise with the exported weights, compare with base, recordings and codec, and write the evaluation.

        Raises OSError where it cannot be written.
        """
        self.evaluator.speak(adapter, TUNED, num_first=self.num_scored)
        self.evaluator.hear_codec(adapter)
        result, scored = self.evaluator.result(run, checkpoint_step)
        self.evaluator.write(result, scored)
        self._share()
        num_kept = max(NUM_KEPT, self.num_scored)
        self._keep(self.evaluator.own_clips(TUNED, num_kept), TUNED)
        tuned = [
            each
            for each in scored
            if each.spoken.system == TUNED
            and each.spoken.voice is None
            and each.spoken.seed == 0
            and each.spoken.index < self.num_scored
        ]
        rows = self._rows(tuned, TUNED, checkpoint_step)
        self._file.add(rows)
        log_sentences(trackers, last_step, rows)
        return result

    def _share(self) -> None:
        if self._shared is None:
            return
        try:
            self.evaluator.share(self._shared)
        except (OSError, UserError) as error:
            say(f"what the base said is not kept for other runs: {error}")

    def media(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """(audio, pictures) of recordings, base and tuned model, by name, for trackers."""
        audio = {}
        pictured = []
        for index in range(min(NUM_KEPT, len(self.evaluator.protocol.texts))):
            for system in (REFERENCE, BASE, TUNED):
                clip = self.evaluator.own_clips(system)[index]
                audio[f"{system}_{index:02d}"] = self.samples / f"{system}_{index:02d}.wav"
                if index < NUM_PICTURED:
                    pictured.append((f"{system}: {clip.text}", read_wav_bytes(clip.wav)))
        picture = self.samples / "spectrograms.png"
        spectrogram_figure(pictured, self.evaluator.protocol.sample_rate_hz, picture)
        return audio, {"spectrograms": picture}

    def _say_missing(self, missing: Mapping[str, str]) -> None:
        """Each reason once, with the figures that it concerns."""
        new: dict[str, list[str]] = {}
        for name, reason in missing.items():
            if name not in self._said_missing:
                self._said_missing.add(name)
                new.setdefault(reason, []).append(name)
        for reason, names in new.items():
            say(f"no {', '.join(names)}: {reason}")

    def _say_faults(self, scores: StepScores, step: int) -> None:
        words = {"runaway": "did not end by itself", "silent": "is silent"}
        for each in scores.clips:
            for flag, what in words.items():
                if each.flags[flag]:
                    say(f"sentence {each.spoken.index} at step {step} {what}: {each.spoken.text!r}")

    def _keep(self, clips: Sequence[Spoken], stem: str) -> None:
        for each in clips:
            with atomic_path(self.samples / f"{stem}_{each.index:02d}.wav") as temporary:
                temporary.write_bytes(each.wav)

    def _rows(self, clips: Sequence[Scored], stem: str, step: int | None) -> list[SentenceRow]:
        """The rows of the table of sentences, with their audio in files."""
        names = [figure.name for figure in self.evaluator.available.figures]
        rows = []
        for clip in clips:
            spoken, figures = clip.spoken, clip.figures
            named = {name: figures.get(name) for name in (*names, *clip.flags)}
            path = self.samples / f"{stem}_{spoken.index:02d}.wav"
            rows.append(SentenceRow(spoken.system, step, spoken.index, spoken.text, path, named))
        return rows

    def _show_samples(self, clips: Sequence[Spoken], stem: str, step: int, trackers: Sequence[Logger]) -> None:
        shown = clips[: self.num_samples]
        if not shown:
            return
        audio = {f"samples/sentence_{each.index:02d}": self.samples / f"{stem}_{each.index:02d}.wav" for each in shown}
        picture = self.samples / f"step-{step:06d}.png"
        spectrogram_figure([(each.text, read_wav_bytes(each.wav)) for each in shown], shown[0].sample_rate_hz, picture)
        log_media(trackers, step, audio, {"samples/spectrograms": picture})

    def _show(self, step: int, scores: StepScores, rows: list[SentenceRow], trackers: Sequence[Logger]) -> None:
        self._file.add(rows)
        for tracker in trackers:
            tracker.log_metrics({f"{PREFIX}{name}": mean for name, mean in scores.means.items()}, step=step)
        log_sentences(trackers, step, rows)


def write_voices(plan: EvaluationPlan, output_dir: Path, sample_rate_hz: int) -> None:
    """The recording that prompts all systems, and the voice of the export where that is another, in the run's folder.

    What they say lies beside them, where it is known: some systems need it.
    """
    for place, prompt in ((VOICE_PROMPT, plan.prompt), (EXPORT_VOICE, plan.export_voice)):
        path = output_dir / place
        text = path.with_suffix(".txt")
        if prompt is not None:
            write_wav(path, prompt.samples, sample_rate_hz)
        else:
            path.unlink(missing_ok=True)  # an earlier stretch of the run may have had another voice
        if prompt is not None and prompt.text is not None:
            write_text(text, prompt.text + "\n")
        else:
            text.unlink(missing_ok=True)


def _shared_name(protocol: Protocol) -> str:
    """A folder's name for runs that let the base say the same; clips and scores in it have keys of their own."""
    texts = json.dumps([protocol.model, protocol.source, protocol.seed, protocol.texts])
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def exported_voice(run_dir: Path) -> Path:
    """The recording that becomes the voice of a run's export."""
    chosen = run_dir / EXPORT_VOICE
    return chosen if chosen.is_file() else run_dir / VOICE_PROMPT


@contextmanager
def training_untouched(module: Any) -> Iterator[None]:
    """Inside, averaged weights, eval mode and no gradients; on exit, weights, modes and random states are restored."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), module.ema.applied():
            module.adapter.eval()
            yield
    finally:
        module.strategy.set_modes(module.adapter)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def say(line: str) -> None:
    """Print a line without breaking a progress bar."""
    tqdm.write(line, file=sys.stderr)


def require_sentences(plan: EvaluationPlan, monitor: str) -> None:
    """Raises UserError where a monitored figure needs sentences and none of the recordings is usable."""
    if plan.protocol is None:
        raise UserError(f"checkpoint.monitor={monitor} needs held-out sentences, and none of the recordings is usable.")
