"""What is heard of a run in its course: the base, the averaged weights every so many steps, and what is exported.

All say the same sentences in the same voice with the same noise. The first few are samples, with a player each in the
trackers and one picture; with a `Scoring` the sentences are scored too. Files stay in `samples/`: for each step one WAV
file a sentence (32 kB a second at 16 kHz, 48 at 24), `step-000200_00.wav`, and one picture, `step-000200.png`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from rich import box
from rich.console import Console
from rich.table import Table

from calm_ft.adapters.base import TTSAdapter
from calm_ft.atomic_file import atomic_path
from calm_ft.evaluation.protocol import BASE, REFERENCE, TUNED, Spoken
from calm_ft.metrics.audio_io import read_wav_bytes
from calm_ft.report.picture import spectrogram_figure
from calm_ft.report.terminal import reason_lines
from calm_ft.training.loggers import log_media, log_sentences, restore_sentences
from calm_ft.training.loggers.sentences import FILE_NAME, SentenceFile, SentenceRow
from calm_ft.training.monitor import PREFIX
from calm_ft.training.scoring import Evaluated, Scoring, figures_of
from calm_ft.training.speaking import Speaking, say, training_untouched

TRAINING = "training"


class Course:
    """Speaks, scores, keeps and shows; `figures` are the means of each system so far ("reference", "base", "tuned")."""

    def __init__(self, speaking: Speaking, directory: Path, num_samples: int, scoring: Scoring | None = None) -> None:
        """Settings.

        Args:
            directory: where audio, pictures and the table of sentences go.
            num_samples: how many of the first sentences have players; 0 where there are to be none.
        """
        self.speaking = speaking
        self.directory = directory
        self.num_samples = num_samples
        self.scoring = scoring
        self.figures: dict[str, dict[str, float]] = {}
        self.base_counts: dict[str, int] = {}
        self._said_missing: set[str] = set()
        self._file = SentenceFile(directory / FILE_NAME)

    @property
    def num_scored(self) -> int:
        """How many of the first sentences are scored."""
        return 0 if self.scoring is None else len(self.scoring.texts)

    def begin(self, module: Any, trackers: Sequence[Logger], resumed_step: int | None) -> Evaluated | None:
        """The base, before training; a resumed run has shown it already, and only measures what it compares with."""
        if resumed_step is not None and self.scoring is None:
            return None
        with training_untouched(module):
            spoken = self.speaking.speak(module.adapter, BASE, 0, max(self.num_samples, self.num_scored))
            evaluated = self._score(spoken)
        if resumed_step is None:
            self._keep_samples(spoken[: self.num_samples], 0, trackers)
        if self.scoring is not None and evaluated is not None:
            self._begin_table(evaluated, spoken, trackers, resumed_step)
        return evaluated

    def _begin_table(
        self, base: Evaluated, spoken: list[Spoken], trackers: Sequence[Logger], resumed_step: int | None
    ) -> None:
        assert self.scoring is not None
        references = self.scoring.references()
        self.figures |= {REFERENCE: references.means, BASE: base.means}
        self.base_counts = base.counts
        missing = {**self.scoring.missing, **base.missing}
        self._said_missing |= missing.keys()
        for line in reason_lines(missing):
            say(line)
        self._file = SentenceFile(self.directory / FILE_NAME, resumed_step)
        if resumed_step is not None:
            restore_sentences(trackers, self._file.rows)
            return
        rows = self._rows(references, "scored_reference", None) + self._rows(base, _stem(0), 0)
        self._show(0, base, rows, trackers)

    def at_step(
        self, module: Any, step: int, trackers: Sequence[Logger], sampled: bool, scored: bool
    ) -> Evaluated | None:
        """The averaged weights; returns the scores, where any were asked for."""
        count = max(self.num_samples if sampled else 0, self.num_scored if scored else 0)
        with training_untouched(module):
            spoken = self.speaking.speak(module.adapter, TRAINING, step, count)
            evaluated = self._score(spoken) if scored else None
        if sampled:
            self._keep_samples(spoken[: self.num_samples], step, trackers)
        if evaluated is not None:
            self._say_missing(evaluated, step)
            self._show(step, evaluated, self._rows(evaluated, _stem(step), step), trackers)
        return evaluated

    def end(self, adapter: TTSAdapter, trackers: Sequence[Logger], last_step: int, checkpoint_step: int) -> None:
        """What is exported, the weights of `checkpoint_step`, after training."""
        if self.scoring is None:
            return
        evaluated = self._score(self.speaking.speak(adapter, TUNED, checkpoint_step, self.num_scored))
        assert evaluated is not None
        self.figures[TUNED] = evaluated.means
        self._say_missing(evaluated, checkpoint_step)
        rows = self._rows(evaluated, "scored_tuned", checkpoint_step)
        self._file.add(rows)
        log_sentences(trackers, last_step, rows)

    def report(self, console: Console) -> dict[str, Any]:
        """Print the means; returns them under "evaluation", by system, and nothing where nothing was scored."""
        if self.scoring is None:
            return {}
        console.print(course_table(self.figures, self.scoring.names, self.num_scored))
        return {"evaluation": self.figures}

    def _score(self, spoken: list[Spoken]) -> Evaluated | None:
        return None if self.scoring is None else self.scoring.score(spoken[: self.num_scored])

    def _say_missing(self, evaluated: Evaluated, step: int) -> None:
        for name, reason in evaluated.missing.items():
            if name not in self._said_missing:
                self._said_missing.add(name)
                say(f"no {PREFIX}{name} at step {step}: {reason}")

    def _rows(self, evaluated: Evaluated, stem: str, step: int | None) -> list[SentenceRow]:
        """The rows of the table, with their audio in files."""
        rows = []
        for clip in evaluated.clips:
            spoken = clip.spoken
            path = _write(self.directory / f"{stem}_{spoken.index:02d}.wav", spoken.wav)
            figures = figures_of(clip)
            named = {name: figures.get(name) for name in (self.scoring.names if self.scoring else ())}
            rows.append(SentenceRow(spoken.system, step, spoken.index, spoken.text, path, named))
        return rows

    def _show(self, step: int, evaluated: Evaluated, rows: list[SentenceRow], trackers: Sequence[Logger]) -> None:
        self._file.add(rows)
        for tracker in trackers:
            tracker.log_metrics({f"{PREFIX}{name}": mean for name, mean in evaluated.means.items()}, step=step)
        log_sentences(trackers, step, rows)

    def _keep_samples(self, spoken: list[Spoken], step: int, trackers: Sequence[Logger]) -> None:
        if not spoken:
            return
        audio = {
            f"samples/sentence_{each.index:02d}": _write(
                self.directory / f"{_stem(step)}_{each.index:02d}.wav", each.wav
            )
            for each in spoken
        }
        picture = self.directory / f"{_stem(step)}.png"
        pictured = [(each.text, read_wav_bytes(each.wav)) for each in spoken]
        spectrogram_figure(pictured, spoken[0].sample_rate_hz, picture)
        log_media(trackers, step, audio, {"samples/spectrograms": picture})


def course_table(figures: Mapping[str, Mapping[str, float]], names: Sequence[str], num_sentences: int) -> Table:
    """A row a figure, a column a system; what could not be measured is an empty cell."""
    title = f"the sentences scored while training, means of {num_sentences}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("figure")
    for system in figures:
        table.add_column(system, justify="right")
    for name in names:
        table.add_row(name, *(f"{means[name]:.3f}" if name in means else "" for means in figures.values()))
    return table


def _stem(step: int) -> str:
    return f"step-{step:06d}"


def _write(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path
