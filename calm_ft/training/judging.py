"""Judging a run by what it says and sounds like: fixed sentences, spoken before and after, against true recordings.

Base and tuned model get the same sentences, the same voice prompts and the same noise, so that their figures differ
by the weights alone. The files in `samples/` are what the figures are computed from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor
from tqdm import tqdm

from calm_ft.adapters.base import TTSAdapter
from calm_ft.data.audio import UnusableClip, load_clip
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.sources import read_recordings
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from calm_ft.evaluation.audio_io import write_wav
from calm_ft.evaluation.judge import Judged, Recording, VoiceScores, judge
from calm_ft.evaluation.picture import spectrogram_figure
from calm_ft.evaluation.table import comparison_dict, comparison_table, explain, explain_demo
from calm_ft.evaluation.voice_identification import VoiceReferences
from calm_ft.randomness import derive_seed
from calm_ft.training.residuals import mean_residuals

TAIL_SEC = 0.2
MAX_PROMPT_SEC = 10.0
NUM_VOICE_CLIPS = 24
NUM_KEPT = 4
NUM_PICTURED = 2
TUNED_VOICE = "tuned voice"


@dataclass(frozen=True)
class VoiceSet:
    """Sentences of one voice with their true recordings, the prompt that stands for it, and its validation batches."""

    voice: str
    recordings: list[Recording]
    prompt: Tensor
    batches: Any


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
    ) -> None:
        """Settings.

        Args:
            heldout_path: recordings to judge by; None takes the validation clips.
            voices_path: a folder with one folder of recordings a voice, for nearest-voice identification.
            base_voice: one of these, to see what tuning does to other voices.
        """
        self.num_sentences = num_sentences
        self.num_seeds = num_seeds
        self.heldout_path = heldout_path
        self.voices_path = voices_path
        self.base_voice = base_voice
        self.about_demo = about_demo

    def tuned_voice_set(self, train: Sequence[Utterance], validation: Sequence[Utterance], batches: Any, rate: int) -> VoiceSet:
        """The voice being tuned: held-out sentences (or the validation clips'), prompted by a training clip."""
        heldout = validation if self.heldout_path is None else read_recordings(Path(self.heldout_path)).utterances
        return VoiceSet(TUNED_VOICE, self._recordings(heldout, rate), choose_prompt(train, rate), batches)

    def base_voice_utterances(self) -> list[Utterance]:
        """Recordings of the base voice, or none."""
        if self.base_voice is None or self.voices_path is None:
            return []
        return read_recordings(Path(self.voices_path) / self.base_voice).utterances

    def base_voice_set(self, batches: Any, rate: int) -> VoiceSet:
        """The base voice: its last clip is the prompt, the others are judged."""
        *judged, prompt = self.base_voice_utterances()
        return VoiceSet(str(self.base_voice), self._recordings(judged, rate), _samples(prompt, rate), batches)

    def other_voices(self, rate: int) -> dict[str, list[Tensor]]:
        """Clips of every voice that the tuned one could be taken for."""
        if self.voices_path is None:
            return {}
        folders = sorted(path for path in Path(self.voices_path).iterdir() if path.is_dir())
        return {folder.name: [r.audio for r in _load(read_recordings(folder).utterances, rate)] for folder in folders}

    def _recordings(self, utterances: Sequence[Utterance], rate: int) -> list[Recording]:
        by_text = {utterance.text: utterance for utterance in utterances}  # a sentence can be identified only once
        return _load(list(by_text.values())[: self.num_sentences], rate)


@dataclass
class JudgedRun:
    """The figures and files of one run, system by system ("base", "tuned")."""

    adapter: TTSAdapter
    settings: Judgement
    sets: list[VoiceSet]
    voices: VoiceReferences
    directory: Path
    seed: int
    scores: dict[str, VoiceScores] = field(default_factory=dict)
    residuals: dict[str, dict[str, float]] = field(default_factory=dict)
    audio_files: dict[str, Path] = field(default_factory=dict)
    _pictured: list[tuple[str, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rate = self.adapter.sample_rate_hz
        write_wav(self.voice_prompt, self.sets[0].prompt, rate)
        for each in self.sets:
            for index, recording in enumerate(each.recordings[:NUM_KEPT]):
                self._keep("reference", each, index, recording.audio)

    @property
    def voice_prompt(self) -> Path:
        """The recording that becomes the export's voice."""
        return self.directory / "voice_prompt.wav"

    @property
    def picture(self) -> Path:
        """Mel spectrograms of reference, base and tuned."""
        return self.directory / "spectrograms.png"

    def judge(self, system: str) -> None:
        """Speak all sentences with the adapter as it is, score them, and measure residuals."""
        for each in self.sets:
            prompt = self.directory / f".prompt_{system}.wav"
            write_wav(prompt, each.prompt, self.adapter.sample_rate_hz)
            voice = self.adapter.load_voice(prompt)
            prompt.unlink()
            judged = self._speak(system, each, voice)
            name = column(system, each.voice)
            self.scores[name] = judge(
                judged, each.recordings, self.voices, each.voice, self.adapter.sample_rate_hz
            )
            self.residuals[name] = mean_residuals(self.adapter, each.batches, self.seed)

    def _speak(self, system: str, each: VoiceSet, voice: Any) -> list[Judged]:
        judged = []
        pairs = [(s, i) for s in range(self.settings.num_seeds) for i in range(len(each.recordings))]
        for repeat, index in tqdm(pairs, desc=f"{system} speaks ({each.voice})", leave=False):
            text = each.recordings[index].text
            spoken = self.adapter.synthesize([text], voice, derive_seed(self.seed, "judging", repeat, index))[0]
            judged.append(Judged(text, spoken.audio, spoken.ended))
            if repeat == 0 and index < NUM_KEPT:
                self._keep(system, each, index, spoken.audio)
        return judged

    def _keep(self, system: str, each: VoiceSet, index: int, audio: Any) -> None:
        suffix = "" if each.voice == TUNED_VOICE else f"_{each.voice}"
        path = self.directory / f"{system}{suffix}_{index:02d}.wav"
        write_wav(path, audio, self.adapter.sample_rate_hz)
        self.audio_files[path.stem] = path
        if each.voice == TUNED_VOICE and index < NUM_PICTURED:
            self._pictured.append((f"{system}: {each.recordings[index].text}", audio))

    def report(self, console: Console) -> dict[str, Any]:
        """Print the table and what it can show, draw the picture; returns the figures."""
        rows = {
            f"validation {name}": {each: values[name] for each, values in self.residuals.items() if name in values}
            for name in ("residual", "flow", "lsd", "eos")
            if any(name in values for values in self.residuals.values())
        }
        console.print(comparison_table(self.scores, rows, title="held-out sentences"))
        console.print(explain(), highlight=False, style="dim")
        if self.settings.about_demo:
            console.print(explain_demo(), highlight=False, style="dim")
        ordered = sorted(self._pictured, key=lambda row: row[0].partition(": ")[2])
        spectrogram_figure(ordered, self.adapter.sample_rate_hz, self.picture)
        return comparison_dict(self.scores, rows)


def column(system: str, voice: str) -> str:
    """The name of a table column."""
    return f"{system}, {voice}"


def choose_prompt(utterances: Sequence[Utterance], rate: int) -> Tensor:
    """The longest clip of at most 10 s, at least one; a longer voice prompt says more about the voice."""
    clips = [samples for each in utterances if len(samples := _samples(each, rate)) <= MAX_PROMPT_SEC * rate]
    return max(clips, key=len) if clips else _samples(utterances[0], rate)[: int(MAX_PROMPT_SEC * rate)]


def _load(utterances: Sequence[Utterance], rate: int) -> list[Recording]:
    return [Recording(each.text, _samples(each, rate)) for each in utterances]


def _samples(utterance: Utterance, rate: int) -> Tensor:
    try:
        return load_clip(utterance, rate, TAIL_SEC).samples
    except UnusableClip as error:
        raise UserError(f"{utterance.audio_path} cannot be judged by: {error}.") from error


def voice_references(
    judgement: Judgement, train: Sequence[EncodedUtterance], rate: int
) -> VoiceReferences:
    """The tuned voice's own training clips beside the other voices'."""
    own = [_samples(clip.utterance, rate) for clip in train[:NUM_VOICE_CLIPS]]
    return VoiceReferences.from_clips({TUNED_VOICE: own, **judgement.other_voices(rate)}, rate)
