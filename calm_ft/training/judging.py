"""Judging a run by what it says and sounds like: fixed sentences, spoken before and after, against true recordings.

Base and tuned model get the same sentences, the same voice prompts and the same noise, so that their figures differ
by the weights alone. The files in `samples/` are what the figures are computed from.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor
from tqdm import tqdm

from calm_ft.adapters.base import TTSAdapter
from calm_ft.evaluation.judge import Judged, VoiceScores, judge
from calm_ft.evaluation.table import comparison_dict, comparison_table, explain, explain_demo
from calm_ft.metrics.audio_io import write_wav
from calm_ft.randomness import derive_seed
from calm_ft.report.picture import spectrogram_figure
from calm_ft.training.base_voices import NO_BASE_VOICES
from calm_ft.training.judgement import TUNED_VOICE, JudgingPlan, VoiceSet
from calm_ft.training.residuals import mean_residuals

NUM_KEPT = 4
NUM_PICTURED = 2
FORGETTING_ROW = "base voices residual"


@dataclass
class JudgedRun:
    """The figures and files of one run, system by system ("base", "tuned").

    `scores` and `residuals` are kept by table column; `base_residuals`, those on the base voices, by system.
    """

    adapter: TTSAdapter
    plan: JudgingPlan
    directory: Path
    seed: int
    scores: dict[str, VoiceScores] = field(default_factory=dict)
    residuals: dict[str, dict[str, float]] = field(default_factory=dict)
    base_residuals: dict[str, dict[str, float]] = field(default_factory=dict)
    audio_files: dict[str, Path] = field(default_factory=dict)
    _pictured: list[tuple[int, str, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_wav(self.voice_prompt, self.plan.sets[0].prompt, self.adapter.sample_rate_hz)
        for each in self.plan.sets:
            for index, recording in enumerate(each.recordings[:NUM_KEPT]):
                self._keep("reference", each, index, recording.audio)

    @property
    def voice_prompt(self) -> Path:
        """The recording that becomes the export's voice."""
        return self.directory / "voice_prompt.wav"

    @property
    def pictures(self) -> dict[str, Path]:
        """Mel spectrograms of reference, base and tuned, once reported; none where nothing is spoken."""
        return {"spectrograms": self.directory / "spectrograms.png"} if self._pictured else {}

    def judge(self, system: str) -> dict[str, float]:
        """Speak all sentences with the adapter as it is, score them, and measure residuals.

        Returns the residuals on the tuned voice.
        """
        for each in self.plan.sets:
            name = column(system, each.voice)
            if each.recordings:
                judged = self._speak(system, each)
                rate = self.adapter.sample_rate_hz
                self.scores[name] = judge(judged, each.recordings, self.plan.voices, each.voice, rate)
            self.residuals[name] = mean_residuals(self.adapter, each.batches, self.seed)
        if self.plan.base is not None:
            self.base_residuals[system] = mean_residuals(self.adapter, self.plan.base.batches, self.seed)
        return self.residuals[column(system, TUNED_VOICE)]

    def _speak(self, system: str, each: VoiceSet) -> list[Judged]:
        prompt = self.directory / f".prompt_{system}.wav"
        write_wav(prompt, each.prompt, self.adapter.sample_rate_hz)
        voice = self.adapter.load_voice(prompt)
        prompt.unlink()
        judged = []
        places = [(repeat, index) for repeat in range(self.plan.num_seeds) for index in range(len(each.recordings))]
        # disable=None: no bar where stderr is no terminal
        with tqdm(total=len(places), desc=f"{system} speaks ({each.voice})", leave=False, disable=None) as bar:
            for start in range(0, len(places), self.adapter.max_synthesis_batch):
                together = places[start : start + self.adapter.max_synthesis_batch]
                texts = [each.recordings[index].text for _, index in together]
                seeds = [derive_seed(self.seed, "judging", *place) for place in together]
                spoken = self.adapter.synthesize(texts, voice, seeds)
                judged += [Judged(text, said.audio, said.ended) for text, said in zip(texts, spoken, strict=True)]
                bar.update(len(together))
        for index, said in enumerate(judged[: len(each.recordings)][:NUM_KEPT]):
            self._keep(system, each, index, said.audio)
        return judged

    def _keep(self, system: str, each: VoiceSet, index: int, audio: Any) -> None:
        suffix = "" if each.voice == TUNED_VOICE else f"_{each.voice}"
        path = self.directory / f"{system}{suffix}_{index:02d}.wav"
        write_wav(path, audio, self.adapter.sample_rate_hz)
        self.audio_files[path.stem] = path
        if each.voice == TUNED_VOICE and index < NUM_PICTURED:
            self._pictured.append((index, f"{system}: {each.recordings[index].text}", audio))

    def report(self, console: Console) -> dict[str, Any]:
        """Print the table and what it can show, draw the picture; returns the figures."""
        rows = self._residual_rows()
        title = "held-out sentences" if self.scores else "without speech: evaluation.num_sentences=0"
        console.print(comparison_table(self.scores, rows, title))
        if self.plan.base is None:
            console.print(f"{FORGETTING_ROW}: {NO_BASE_VOICES}.", highlight=False)
        if self.scores:
            console.print(explain(), highlight=False, style="dim")
        if self.scores and self.plan.about_demo:
            console.print(explain_demo(), highlight=False, style="dim")
        ordered = sorted(self._pictured, key=lambda row: row[0])  # stable: reference, base, tuned of each sentence
        for picture in self.pictures.values():
            spectrogram_figure([row[1:] for row in ordered], self.adapter.sample_rate_hz, picture)
        return {**comparison_dict(self.scores, rows), "base_voices": self._described_base()}

    def _residual_rows(self) -> dict[str, dict[str, float]]:
        """Row title -> column -> residual; what is measured on the base voices stands in the tuned voice's columns."""
        rows = {
            f"validation {name}": {each: values[name] for each, values in self.residuals.items() if name in values}
            for name in dict.fromkeys(name for values in self.residuals.values() for name in values)
        }
        if self.base_residuals:
            rows[FORGETTING_ROW] = {
                column(system, TUNED_VOICE): values["residual"] for system, values in self.base_residuals.items()
            }
        return rows

    def _described_base(self) -> dict[str, Any]:
        """Which voices the forgetting figure is measured on, or why there is none."""
        base = self.plan.base
        if base is None:
            return {"reason": NO_BASE_VOICES}
        residuals = {system: values["residual"] for system, values in self.base_residuals.items()}
        return {"names": list(base.names), "num_clips": base.num_clips, "residual": residuals}


def column(system: str, voice: str) -> str:
    """The name of a table column."""
    return f"{system}, {voice}"
