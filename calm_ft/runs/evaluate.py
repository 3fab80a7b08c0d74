"""Evaluating finished runs and exports: what `scripts/evaluate.py` does, by the evaluator that a run itself used.

Everything is read and checked first; then every system speaks every sentence, everything is measured, and only then are
the evaluation's files written, so that whatever fails leaves an earlier one as it was. What was said is kept at once:
an evaluation that was interrupted goes on from there.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.playing import Playing
from calm_ft.adapters.voice_library import find_recording
from calm_ft.atomic_file import why_not_a_folder
from calm_ft.config import build
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Exclusion, Utterance, commonest_reason
from calm_ft.errors import UserError
from calm_ft.evaluation.base_voices import (
    BaseVoices,
    choose_base_voices,
    read_voice_folders,
    recordings_to_identify_by,
)
from calm_ft.evaluation.evaluator import NO_BASE, TUNED_VOICE, Evaluator, Protocol
from calm_ft.evaluation.sentences import ChosenClips, choose_usable
from calm_ft.evaluation.settings import Recogniser
from calm_ft.evaluation.voice_prompt import prompt_of_recording, read_prompt
from calm_ft.metrics.recognisers import AUTO_ASR, choose_recogniser
from calm_ft.report.result import BASE, EvaluationResult
from calm_ft.runs.subject import Subject, SubjectModels, find_subject
from calm_ft.settings import NonNegativeNumber, PositiveInteger, PositiveNumber, Settings
from calm_ft.training.prepare import encode_source, read_sources
from calm_ft.training.record import data_fingerprint
from calm_ft.training.settings import DataSettings

_DATA_SETTINGS = f"{DataSettings.__module__}.{DataSettings.__qualname__}"
_FROM_THE_RUN = "evaluation.base_voices"


class EvaluationRequest(Settings):
    """What `scripts/evaluate.py` can be asked for; paths are None where the run's own are to be taken."""

    num_sentences: int = Field(default=50, ge=1)
    num_seeds: int = Field(default=1, ge=1)
    asr: Recogniser = AUTO_ASR
    force_asr: bool = False
    language: str | None = None
    device: str | None = None
    of: str | None = None
    output_dir: Path | None = None
    heldout_path: Path | None = None
    voice: str | None = None
    base_voices: Path | None = None
    base_sentences: int = Field(default=4, ge=0)
    max_base_voices: int = Field(default=8, ge=1)
    temperature: NonNegativeNumber | None = None
    num_steps: PositiveInteger | None = None
    cfg_coef: PositiveNumber | None = None
    quantize: bool = False

    def playing(self, config: Mapping[str, Any] | None) -> Playing:
        """How systems speak: as asked for, else as in the run's own evaluation."""
        own = (config or {}).get("evaluation", {})
        kept = Playing(**{name: own[name] for name in Playing.model_fields if own.get(name) is not None})
        return kept.but(self.temperature, self.num_steps, self.cfg_coef)


@dataclass(frozen=True)
class Evaluation:
    """Where the files are, what summary.json holds, and how much work it was."""

    folder: Path
    result: EvaluationResult
    num_clips: int
    wall_sec: float


def evaluate_each(
    models: Sequence[str], request: EvaluationRequest, others: Sequence[Path] = ()
) -> Iterator[tuple[str, Evaluation | UserError]]:
    """Each model with its evaluation, or with why it has none: the others are evaluated all the same.

    Runs of one folder and seed share their base, and all runs of one folder their recordings: what they have in common
    is said and measured once.

    Args:
        others: folders of evaluations that other runs have already.

    Raises UserError at once for settings that only one model can have.
    """
    for name, value in (("--output-dir", request.output_dir), ("--of", request.of)):
        if len(models) > 1 and value is not None:
            raise UserError(f"{name} {value} is for one run: pass one, or leave it out.")
    done = list(others)
    for model in models:
        try:
            evaluation = evaluate(model, request, done)
        except UserError as error:
            yield model, error
        else:
            done.append(evaluation.folder)
            yield model, evaluation


def evaluate(model: str, request: EvaluationRequest, others: Sequence[Path] = ()) -> Evaluation:
    """Evaluate a run, an export, or "base".

    Args:
        others: folders of other runs' evaluations; what was said and measured there is not said and measured again.

    Raises UserError for input that is the user's to mend, before anything is written.
    """
    started = time.perf_counter()
    subject = find_subject(model, request.of)
    folder = request.output_dir or subject.default_output
    reason = why_not_a_folder(folder)
    if reason is not None:
        raise UserError(f"{folder} cannot be written ({reason}): pass another --output-dir.")
    heldout_folder = _heldout_folder(subject, request.heldout_path)
    prompt_file = _prompt_file(subject, request.voice)
    models = SubjectModels(subject, request.device, request.quantize)
    models.play_as(request.playing(models.config))
    protocol = _protocol(subject, request, models, heldout_folder, prompt_file)
    earlier = [each for each in subject.evaluation_folders() if each != folder]
    evaluator = Evaluator(protocol, folder, [*earlier, *others])
    for system in subject.systems:
        with models.speaking(system) as adapter:
            evaluator.speak(adapter, system, is_timed=True)
    evaluator.hear_codec(models.adapter)
    result, scored = evaluator.result(model, subject.checkpoint_step())
    try:
        evaluator.write(result, scored)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): pass another --output-dir.") from error
    return Evaluation(folder, result, len(scored), time.perf_counter() - started)


def _prompt_file(subject: Subject, given: str | None) -> Path | None:
    """The recording that prompts all systems; None where the voice is the one that an export was saved with.

    Raises UserError where there is no such recording, and where the library has no such voice.
    """
    return subject.prompt_file() if given is None else find_recording(given)


def _protocol(
    subject: Subject,
    request: EvaluationRequest,
    models: SubjectModels,
    heldout_folder: Path | None,
    prompt_file: Path | None,
) -> Protocol:
    adapter, config = models.adapter, models.config or {}
    prompt: Tensor | None = None
    if prompt_file is not None and request.voice is None:
        prompt = read_prompt(prompt_file.read_bytes())
    elif prompt_file is not None:
        prompt = prompt_of_recording(prompt_file, adapter).samples
    voice = prompt_file or Path(subject.saved_voice())
    if prompt_file is None:
        adapter.load_voice(voice)  # a saved state may be damaged, or another architecture's
    seed = config.get("seed", 0)
    chosen, source, excluded = _heldout(subject, heldout_folder, adapter, request.num_sentences, seed)
    voices = _voices(subject, request.base_voices)
    language = request.language or config.get("evaluation", {}).get("language") or adapter.language
    return Protocol(
        model=adapter.describe(),
        playing=adapter.playing,
        int8_weights=request.quantize,
        texts=chosen.texts,
        recordings=chosen.recordings,
        source=source,
        sample_rate_hz=adapter.sample_rate_hz,
        voice=voice,
        prompt=prompt,
        voice_source=str(subject.record().get("voice_prompt", voice) if request.voice is None else voice),
        seed=seed,
        num_seeds=request.num_seeds,
        recogniser=choose_recogniser(request.asr, language, adapter.embedded_recogniser_fits, request.force_asr),
        language=language,
        opinion_scores=True,
        base_voices=_base_voices(subject, request, voices, adapter, seed),
        other_voices=lambda: _other_voices(subject, voices, adapter, seed),
        excluded=excluded,
    )


def _heldout_folder(subject: Subject, given: Path | None) -> Path | None:
    """The folder to evaluate on: the one given, or the run's own; None stands for the run's validation clips.

    Raises UserError without a run and a folder, and where the folder is missing.
    """
    config = subject.config()
    own = None if config is None else config.get("evaluation", {}).get("heldout_path")
    folder = given if given is not None else (None if own is None else Path(own).expanduser())
    if folder is None and config is None:
        raise UserError(
            f"{subject.name} is an export without its run, so no sentences are known to be held out: pass "
            "--heldout-path with recordings and texts, or --of RUN."
        )
    if folder is not None and not folder.is_dir():
        raise UserError(f"There is no folder {folder} to evaluate on: pass --heldout-path with recordings and texts.")
    return folder


def _heldout(
    subject: Subject, folder: Path | None, adapter: TTSAdapter, num_sentences: int, seed: int
) -> tuple[ChosenClips, str, list[Exclusion]]:
    """Choose and decode the sentences; broken ones are left out, others take their places.

    Raises UserError where none can be used, and where a run's recordings are no longer those that it trained on, for
    then some of its validation clips may be clips that it trained on.
    """
    if folder is None:
        found, source, excluded = _validation_split(subject, adapter)[1], "the run's validation clips", []
    else:
        read = read_recordings(folder)
        found, source, excluded = read.utterances, str(folder), read.exclusions
    chosen = choose_usable(found, adapter, num_sentences, seed)
    excluded = [*excluded, *chosen.excluded]
    if not chosen.utterances:
        reason = f" ({commonest_reason(excluded)})" if excluded else ""
        raise UserError(f"{source} holds no recording with a text that can be evaluated on{reason}.")
    return chosen, source, excluded


def _validation_split(subject: Subject, adapter: TTSAdapter) -> tuple[list[Utterance], list[Utterance]]:
    """(training, validation) clips of the run's voice."""
    config = subject.config()
    assert config is not None
    data: DataSettings = build({"_target_": _DATA_SETTINGS, **config["data"]})
    unused: list[Exclusion] = []
    voice = encode_source(adapter, read_sources(data)[0], data, config.get("seed", 0), unused)
    known: Any = subject.record().get("validation_fingerprint")
    if known is not None and known != data_fingerprint(voice.split.validation):
        raise UserError(
            f"The recordings in {data.path} have changed since {subject.run_dir} was trained on them, so it is not "
            "known which are held out: pass --heldout-path with recordings that it did not train on."
        )
    train, validation = voice.split.train, voice.split.validation
    return [clip.utterance for clip in train], [clip.utterance for clip in validation]


def _voices(subject: Subject, given: Path | None) -> dict[str, list[Utterance]] | str:
    """Base voices' recordings, or in words why there are none.

    Raises UserError where --base-voices names no folder of voices.
    """
    if given is not None:
        return read_voice_folders(given, "--base-voices")
    path = subject.base_voices_path()
    if path is None:
        return (
            "the run names no other voices: pass --base-voices with a folder that has a folder of recordings with "
            "texts for each voice."
        )
    try:
        return read_voice_folders(path, _FROM_THE_RUN)
    except UserError as error:
        return str(error)  # folders that the run knew may be gone; all else can be measured


def _base_voices(
    subject: Subject,
    request: EvaluationRequest,
    voices: Mapping[str, Sequence[Utterance]] | str,
    adapter: TTSAdapter,
    seed: int,
) -> BaseVoices:
    """Raises UserError where none of the voices of --base-voices can be used."""
    if not request.base_sentences:
        return BaseVoices([], "they were not asked for (--base-sentences 0).")
    if BASE not in subject.systems:
        return BaseVoices([], NO_BASE)
    if isinstance(voices, str):
        return BaseVoices([], voices)
    try:
        return choose_base_voices(voices, adapter, request.base_sentences, request.max_base_voices, seed)
    except UserError as error:
        if request.base_voices is not None:
            raise
        return BaseVoices([], str(error))


def _other_voices(
    subject: Subject, voices: Mapping[str, Sequence[Utterance]] | str, adapter: TTSAdapter, seed: int
) -> Mapping[str, Any]:
    """Recordings to tell the tuned voice from others by; none where the voice's own training clips are not known."""
    if isinstance(voices, str) or subject.run_dir is None:
        return {}
    try:
        train, _ = _validation_split(subject, adapter)
    except UserError:  # the recordings may be gone where the evaluation has a held-out folder of its own
        return {}
    return recordings_to_identify_by({TUNED_VOICE: train, **voices}, adapter, seed)
