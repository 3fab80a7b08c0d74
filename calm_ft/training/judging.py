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
from calm_ft.evaluation.audio_io import write_wav
from calm_ft.evaluation.judge import Judged, VoiceScores, judge
from calm_ft.evaluation.picture import spectrogram_figure
from calm_ft.evaluation.table import comparison_dict, comparison_table, explain, explain_demo
from calm_ft.randomness import derive_seed
from calm_ft.training.judgement import TUNED_VOICE, JudgingPlan, VoiceSet
from calm_ft.training.residuals import mean_residuals

NUM_KEPT = 4
NUM_PICTURED = 2


@dataclass
class JudgedRun:
    """The figures and files of one run, system by system ("base", "tuned")."""

    adapter: TTSAdapter
    plan: JudgingPlan
    directory: Path
    seed: int
    scores: dict[str, VoiceScores] = field(default_factory=dict)
    residuals: dict[str, dict[str, float]] = field(default_factory=dict)
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
    def picture(self) -> Path:
        """Mel spectrograms of reference, base and tuned."""
        return self.directory / "spectrograms.png"

    def judge(self, system: str) -> dict[str, float]:
        """Speak all sentences with the adapter as it is, score them, and measure residuals.

        Returns the residuals on the tuned voice.
        """
        rate = self.adapter.sample_rate_hz
        for each in self.plan.sets:
            prompt = self.directory / f".prompt_{system}.wav"
            write_wav(prompt, each.prompt, rate)
            voice = self.adapter.load_voice(prompt)
            prompt.unlink()
            judged = self._speak(system, each, voice)
            name = column(system, each.voice)
            self.scores[name] = judge(judged, each.recordings, self.plan.voices, each.voice, rate)
            self.residuals[name] = mean_residuals(self.adapter, each.batches, self.seed)
        return self.residuals[column(system, TUNED_VOICE)]

    def _speak(self, system: str, each: VoiceSet, voice: Any) -> list[Judged]:
        judged = []
        pairs = [(s, i) for s in range(self.plan.num_seeds) for i in range(len(each.recordings))]
        # disable=None: no bar where stderr is no terminal
        for repeat, index in tqdm(pairs, desc=f"{system} speaks ({each.voice})", leave=False, disable=None):
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
            self._pictured.append((index, f"{system}: {each.recordings[index].text}", audio))

    def report(self, console: Console) -> dict[str, Any]:
        """Print the table and what it can show, draw the picture; returns the figures."""
        rows = {
            f"validation {name}": {each: values[name] for each, values in self.residuals.items() if name in values}
            for name in ("residual", "flow", "lsd", "eos")
            if any(name in values for values in self.residuals.values())
        }
        console.print(comparison_table(self.scores, rows, title="held-out sentences"))
        console.print(explain(), highlight=False, style="dim")
        if self.plan.about_demo:
            console.print(explain_demo(), highlight=False, style="dim")
        ordered = sorted(self._pictured, key=lambda row: row[0])  # stable: reference, base, tuned of each sentence
        spectrogram_figure([row[1:] for row in ordered], self.adapter.sample_rate_hz, self.picture)
        return comparison_dict(self.scores, rows)


def column(system: str, voice: str) -> str:
    """The name of a table column."""
    return f"{system}, {voice}"
