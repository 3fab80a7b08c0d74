"""What a run is judged by: sentences with true recordings, voice prompts, other voices to be taken for or forgotten.

Everything is read and checked before a run's folder is made: `read_sources` lists files before the model is loaded,
`prepare` decodes them once the clips are encoded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.prompts import PromptPool
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.evaluation.judge import Recording
from calm_ft.metrics.voice_identification import VoiceReferences
from calm_ft.training.base_voices import BaseVoices, encode, prepare_base_voices, read_base_voices, read_voice_folders
from calm_ft.training.datamodule import RecordingsDataModule, validation_loader
from calm_ft.training.settings import DataSettings, NonNegativeInteger, PositiveInteger, ScoringSettings, checked

TAIL_SEC = 0.2
MAX_PROMPT_SEC = 10.0
NUM_VOICE_CLIPS = 24
TUNED_VOICE = "tuned voice"


@dataclass(frozen=True)
class VoiceSet:
    """Sentences of one voice with their true recordings, the prompt that stands for it, and its validation batches."""

    voice: str
    recordings: list[Recording]
    prompt: Tensor
    batches: Any


@dataclass(frozen=True)
class Sources:
    """The recordings that the settings name: held-out ones (None: the validation clips), other and base voices'."""

    heldout: list[Utterance] | None
    voices: dict[str, list[Utterance]]
    base: list[Utterance]


@dataclass(frozen=True)
class JudgingPlan:
    """All that judging needs.

    `voices` is None where there is no other voice that the tuned one could be taken for, `base` where there is none
    that it could be forgotten beside; without sentences nothing is spoken, and residuals alone are measured.
    """

    sets: list[VoiceSet]
    voices: VoiceReferences | None
    num_seeds: int
    about_demo: bool
    base: BaseVoices | None

    @property
    def base_batches(self) -> DataLoader[Any] | None:
        """Validation batches of voices that are not tuned to."""
        return None if self.base is None else self.base.batches


class Judgement:
    """Which sentences and voices a run is judged by; the defaults need nothing but the run's own recordings."""

    def __init__(
        self,
        num_sentences: int,
        num_seeds: int,
        heldout_path: str | None = None,
        voices_path: str | None = None,
        base_voice: str | None = None,
        about_demo: bool = False,
        base_voices_path: str | None = None,
        base_voices: list[str] | None = None,
        every_n_steps: int | None = None,
        num_scored_sentences: int = 8,
        max_time_share: float = 0.2,
        asr: str = "auto",
        opinion_scores: bool = False,
    ) -> None:
        """Settings; the last five are those of `ScoringSettings`.

        Args:
            num_sentences: of each voice; 0 measures residuals alone and speaks nothing.
            heldout_path: recordings to judge by; None takes the validation clips.
            voices_path: a folder with one folder of recordings a voice, for nearest-voice identification.
            base_voice: one of these, to hear what tuning does to other voices.
            base_voices_path: a folder with one folder of recordings a voice, to measure what tuning forgets.
            base_voices: which of its voices; None takes all.

        Raises UserError for counts out of range, an empty list, and a base voice without voices.
        """
        checked("evaluation.num_sentences", num_sentences, NonNegativeInteger)
        checked("evaluation.num_seeds", num_seeds, PositiveInteger)
        if base_voice is not None and voices_path is None:
            raise UserError(
                f"evaluation.base_voice={base_voice} needs evaluation.voices_path, the folder that holds {base_voice}/."
            )
        if base_voices == []:
            raise UserError("evaluation.base_voices is empty: name some voices, or set it to null for all of them.")
        self.num_sentences = num_sentences
        self.num_seeds = num_seeds
        self.heldout_path = heldout_path
        self.voices_path = voices_path
        self.base_voice = base_voice
        self.about_demo = about_demo
        self.base_voices_path = base_voices_path
        self.base_voices = base_voices
        self.scoring = ScoringSettings(
            every_n_steps=every_n_steps,
            num_scored_sentences=num_scored_sentences,
            max_time_share=max_time_share,
            asr=asr,
            opinion_scores=opinion_scores,
        )

    @property
    def scores_while_training(self) -> bool:
        """Whether there is anything to score, and a time for it."""
        return self.scoring.every_n_steps is not None and self.num_sentences > 0

    def read_sources(self) -> Sources:
        """List the recordings; raises UserError where a folder is missing, holds nothing, or lacks a base voice."""
        heldout = None if self.heldout_path is None else read_recordings(Path(self.heldout_path)).utterances
        voices = {} if self.voices_path is None else read_voice_folders(self.voices_path, "evaluation.voices_path")
        if self.base_voice is not None and len(voices.get(self.base_voice, [])) < 2:
            raise UserError(
                f"evaluation.base_voice={self.base_voice} needs at least two recordings in {self.voices_path}; "
                f"voices there: {', '.join(voices) or 'none'}."
            )
        return Sources(heldout, voices, read_base_voices(self.base_voices_path, self.base_voices))

    def prepare(
        self,
        sources: Sources,
        adapter: TTSAdapter,
        batches: RecordingsDataModule,
        data: DataSettings,
        seed: int,
        extra_base: Sequence[EncodedUtterance] = (),
    ) -> JudgingPlan:
        """Decode everything.

        Args:
            extra_base: validation clips of replayed sources, the base voices where no path names any; they are
                prompted from `batches.pool`.

        Raises UserError for a recording that cannot be judged by.
        """
        rate = adapter.sample_rate_hz
        train = [clip.utterance for clip in batches.train_clips]
        validation = [clip.utterance for clip in batches.validation_clips]
        heldout = validation if sources.heldout is None else sources.heldout
        sets = [
            VoiceSet(TUNED_VOICE, self._recordings(heldout, rate), choose_prompt(train, rate), batches.val_dataloader())
        ]
        if self.base_voice is not None:
            *judged, prompt = sources.voices[self.base_voice]
            clips = encode(sources.voices[self.base_voice], adapter, data)
            pool = PromptPool(clips, adapter.prompts_from_own_beginning)
            others = validation_loader(clips, pool, adapter, data, seed)
            sets.append(VoiceSet(self.base_voice, self._recordings(judged, rate), _samples(prompt, rate), others))
        voices = _voice_references(train, sources, rate) if self.num_sentences else None
        base = prepare_base_voices(sources.base, extra_base, batches.pool, adapter, data, seed)
        return JudgingPlan(sets, voices, self.num_seeds, self.about_demo, base)

    def _recordings(self, utterances: Sequence[Utterance], rate: int) -> list[Recording]:
        by_text = {utterance.text: utterance for utterance in utterances}  # a sentence can be identified only once
        chosen = list(by_text.values())[: self.num_sentences]
        return [Recording(each.text, _samples(each, rate)) for each in chosen]


def choose_prompt(utterances: Sequence[Utterance], rate: int) -> Tensor:
    """The longest clip of at most 10 s, or the beginning of the first; a longer prompt says more about the voice."""
    longest = None
    for utterance in utterances:
        samples = _samples(utterance, rate)
        if len(samples) <= MAX_PROMPT_SEC * rate and (longest is None or len(samples) > len(longest)):
            longest = samples
    return _samples(utterances[0], rate)[: int(MAX_PROMPT_SEC * rate)] if longest is None else longest


def _voice_references(train: Sequence[Utterance], sources: Sources, rate: int) -> VoiceReferences | None:
    """The tuned voice's own training clips beside the other voices'."""
    if not sources.voices:
        return None
    own = {TUNED_VOICE: train[:NUM_VOICE_CLIPS]}
    clips = {name: [_samples(each, rate) for each in voice] for name, voice in {**own, **sources.voices}.items()}
    try:
        return VoiceReferences.from_clips(clips, rate)
    except ValueError as error:
        raise UserError(f"The voices of evaluation.voices_path cannot be told apart: {error}.") from error


def _samples(utterance: Utterance, rate: int) -> Tensor:
    try:
        return load_clip(utterance, rate, TAIL_SEC).samples
    except UnusableClip as error:
        raise UserError(f"{utterance.audio_path} cannot be judged by: {error}.") from error
