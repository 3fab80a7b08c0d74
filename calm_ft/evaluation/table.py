"""Scores side by side: one column for each system, one standard error beside each figure, and what they can
show.

The same comparison comes as a rich table for the terminal, as plain text, and as a dictionary for JSON in
which a figure that could not be computed is None.
"""

import dataclasses
import io
import math
from collections.abc import Callable, Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from calm_ft.evaluation.estimate import Estimate
from calm_ft.evaluation.judge import VoiceScores

Figure = Estimate | float | int
ExtraRows = Mapping[str, Mapping[str, Figure]]
"""Row title -> column name -> figure, for what is not measured on audio, like a validation residual."""

_VOICE_ROW = "voice identified (rate)"
_ROWS: dict[str, Callable[[VoiceScores], str]] = {
    "MCD (dB, lower is better)": lambda scores: _cell(scores.mcd_db),
    "sentence identified (rate)": lambda scores: _cell(scores.sentence_id),
    _VOICE_ROW: lambda scores: "" if scores.voice_id is None else _cell(scores.voice_id),
    "duration / true duration": lambda scores: _cell(scores.duration_ratio),
    "not ended by itself": lambda scores: f"{scores.num_not_ended} of {scores.num_clips}",
    "silent": lambda scores: f"{scores.num_silent} of {scores.num_clips}",
    "sentences x clips of each": lambda scores: f"{scores.num_sentences} x {_clips_each(scores)}",
    "chance: sentence, voice": lambda scores: f"{1 / scores.num_candidates:.2f}, {_voice_chance(scores)}",
}


_EXPLANATION = """\
What these figures can and cannot show: a machine compared audio with recordings; nobody listened, and for these no
speech recogniser was asked whether the words are right.
- MCD is a distance to one particular recording: it rewards that recording's exact sounds and pace, counts a
  different but natural reading as an error, and says little about pitch, noise or roughness. What the codec
  alone makes of the recordings is its floor.
- Sentence identification asks only which of the listed sentences a clip is nearest to; mumbled words can
  still be nearest to the right one.
- Voice identification asks only which of the listed voices is nearest; the likeness may still be poor.
- A rate of 0 or 1 has a standard error of 0: with n sentences the true rate may lie up to about 3/n away.
- The errors cover the choice of sentences, not another training seed.
- The base voices' residual is measured on voices that were not tuned to: where it rises, they are forgotten.
- The validation residual is a poor judge of quality: a run with a worse residual can speak better. Judge by
  the audio's figures, and listen."""

_DEMO_EXPLANATION = """\
The demo's recordings come from espeak-ng, a synthesizer that speaks a sentence the same way each time, and
the model is a miniature: the figures show that the method works, not how a real voice sounds after tuning."""


def comparison_table(
    columns: Mapping[str, VoiceScores], extra_rows: ExtraRows | None = None, title: str | None = None
) -> Table:
    """A rich table with a column for each system; extra rows stand first, and may leave columns out or add some.

    Without other voices to choose from, the row of voice identification is left out; without any scores, all rows
    of scores are.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("± one standard error", no_wrap=True)
    extra = extra_rows or {}
    names = list(dict.fromkeys([*columns, *(name for figures in extra.values() for name in figures)]))
    for name in names:
        table.add_column(name, justify="right")
    for row_title, figures in extra.items():
        table.add_row(row_title, *(_cell(figures[name]) if name in figures else "" for name in names))
    several_voices = any(scores.voice_id is not None for scores in columns.values())
    for row_title, render in _ROWS.items() if columns else ():
        if row_title != _VOICE_ROW or several_voices:
            table.add_row(row_title, *(render(columns[name]) if name in columns else "" for name in names))
    return table


def comparison_text(
    columns: Mapping[str, VoiceScores], extra_rows: ExtraRows | None = None, title: str | None = None
) -> str:
    """The table as plain text without colours, for files and logs."""
    output = io.StringIO()
    console = Console(file=output, width=60 + 20 * len(columns), no_color=True, force_terminal=False)
    console.print(comparison_table(columns, extra_rows, title))
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def comparison_dict(columns: Mapping[str, VoiceScores], extra_rows: ExtraRows | None = None) -> dict[str, object]:
    """The comparison for JSON: {"scores": {column: fields}, "extra": {row: {column: figure}}}."""
    return {
        "scores": {name: _plain(scores.to_dict()) for name, scores in columns.items()},
        "extra": _plain(extra_rows or {}),
    }


def explain() -> str:
    """What the figures can and cannot show, for any data."""
    return _EXPLANATION


def explain_demo() -> str:
    """What limits the demo's figures beyond `explain`."""
    return _DEMO_EXPLANATION


def _clips_each(scores: VoiceScores) -> str:
    return f"{scores.num_clips / scores.num_sentences:g}"


def _voice_chance(scores: VoiceScores) -> str:
    return "-" if scores.voice_id is None else f"{1 / scores.num_voices:.2f}"


def _cell(figure: Figure) -> str:
    if isinstance(figure, Estimate):
        if math.isnan(figure.mean):
            return "none"
        error = "?" if math.isnan(figure.standard_error) else f"{figure.standard_error:.2f}"
        return f"{figure.mean:.2f} ± {error}"
    return str(figure) if isinstance(figure, int) else f"{figure:.3f}"


def _plain(value: object) -> object:
    """Dictionaries, lists and finite numbers only."""
    if isinstance(value, Estimate):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
