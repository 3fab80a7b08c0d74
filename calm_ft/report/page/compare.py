"""Runs to one HTML file that needs nothing else: no network, no other file, and no script but its own."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from calm_ft.atomic_file import why_not_a_folder, write_text
from calm_ft.errors import UserError
from calm_ft.report.figures import by_reason, headlines, label, measured
from calm_ft.report.page import across_runs, settings, tables
from calm_ft.report.page.charts import Chart, Series, costs, curves
from calm_ft.report.page.scrub import Scrubber
from calm_ft.report.page.sentences import Sentences, sentences
from calm_ft.report.page.sweep_runs import LeftOut
from calm_ft.report.page.verdict import together, verdict, warnings_of
from calm_ft.report.result import BASE, TUNED
from calm_ft.report.runs import Run, read_runs

NUM_SENTENCES = 8
MAX_RUNS_HEARD = 8
"""More runs have no players, so that a sweep's page stays a few megabytes."""
_SHOWN_CURVES = (
    *("val/residual", "train/loss", "val_base/residual"),
    *("eval/cer", "eval/mcd_db", "eval/speaker_similarity_resemblyzer", "eval/sentence_identified"),
)
_COSTS: Mapping[str, Callable[[Run], float | None]] = {
    "trained parameters": settings.trained_parameters,
    "training time (s)": settings.training_sec,
    "export (bytes)": settings.export_bytes,
}
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Compared:
    """The page that was written, its bytes, and what it says first of the runs: why nothing is judged, and so on."""

    path: Path
    num_bytes: int
    notices: tuple[str, ...]
    not_evaluated: tuple[Path, ...]
    """The folders, as they were given, of runs that have no evaluation."""


@dataclass(frozen=True)
class Page:
    """What a page is made of; `other` is the run that differences are to, None where they are to each run's base."""

    runs: Sequence[Run]
    other: Run | None = None
    left_out: Sequence[LeftOut] = ()


def compare_runs(
    folders: Sequence[Path],
    output: Path,
    num_sentences: int = NUM_SENTENCES,
    other: Path | None = None,
    left_out: Sequence[LeftOut] = (),
) -> Compared:
    """Write the page of these runs, with players for the first `num_sentences`, whole or not at all.

    Args:
        other: one of the folders, to whose run the others' differences are; None: to the base of each.
        left_out: the jobs of a sweep that have no figures.

    Raises UserError where a folder is not a run, a file of one is damaged, or the page cannot be written.
    """
    check_output(output, num_sentences)
    runs = read_runs(folders)
    page = Page(runs, _run_of(other, runs), left_out)
    text = render(page, num_sentences)
    try:
        write_text(output, text)
    except OSError as error:
        raise _not_writable(output, error.strerror) from error
    not_evaluated = tuple(run.folder for run in runs if not run.was_evaluated)
    return Compared(output, len(text.encode()), tuple(notices(page)), not_evaluated)


def check_output(output: Path, num_sentences: int) -> None:
    """Raises UserError where the page could not be written."""
    if num_sentences < 0:
        raise UserError(f"--sentences {num_sentences} cannot be negative.")
    reason = "it is a folder" if output.is_dir() else why_not_a_folder(output.absolute().parent)
    if reason is not None:
        raise _not_writable(output, reason)


def _run_of(folder: Path | None, runs: Sequence[Run]) -> Run | None:
    if folder is None:
        return None
    found = [run for run in runs if run.folder.resolve() == folder.resolve()]
    if not found:
        raise UserError(
            f"--against {folder} is none of the runs: pass one of {', '.join(str(r.folder) for r in runs)}."
        )
    return found[0]


def notices(page: Page) -> list[str]:
    """What a reader must know before the figures, beside what went wrong with the speech: one sentence each."""
    runs = page.runs
    found = across_runs.why_not_comparable(runs)
    if found and across_runs.said_the_same(runs):
        found.append("All said the same sentences, so differences are judged; the data may be what makes them.")
    elif found:
        found.append("Therefore no difference is called better or worse.")
    found += across_runs.evaluations_differ(runs, _scrubber(runs))
    if page.other is not None:
        reasons = {run.title: across_runs.why_not_paired(run, page.other) for run in runs if run is not page.other}
        found += [f"{name} cannot be compared with {page.other.title}: {why}." for name, why in reasons.items() if why]
    if page.left_out:
        found.append(f"{len(page.left_out)} jobs of the sweep have no figures; they are listed below with the reason.")
    found += [_not_evaluated(run) for run in runs if not run.was_evaluated]
    return found


def runs_heard(runs: Sequence[Run]) -> list[Run]:
    """The runs that have players: at most MAX_RUNS_HEARD, and one of each setting before a second seed."""
    groups = across_runs.seed_groups(runs)
    by_round = [run for place in range(len(runs)) for group in groups for run in group[place : place + 1]]
    chosen = [run.letter for run in by_round[:MAX_RUNS_HEARD]]
    return [run for run in runs if run.letter in chosen]


def render(page: Page, num_sentences: int) -> str:
    """The page as text. Everything that comes from a run is escaped."""
    runs = page.runs
    scrub = _scrubber(runs)
    heard = runs_heard(runs)
    paired = runs if page.other is None else across_runs.against(runs, page.other)
    may_judge = across_runs.said_the_same(runs) or not across_runs.why_not_comparable(runs)
    script = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("players.js", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["zip"] = zip
    environment.filters |= {"minus": lambda text: str(text).replace("-", "−")}
    environment.filters |= {"scrub": scrub, "style": tables.style, "label": label, "setting": settings.setting_title}
    environment.filters |= {"rule": across_runs.rule_title, "rule_text": across_runs.rule_text}
    clips = sentences(heard, num_sentences, scrub)
    return environment.get_template("page.html.j2").render(
        runs=runs,
        # Of all scripts a browser runs only this one, whatever a run's texts may hold.
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        page_id=_identity(clips),
        verdicts=together(verdict(run, _other_name(page), may_judge) for run in paired),
        warnings=[(run, said) for run in runs for said in warnings_of(run)],
        notices=notices(page),
        notes=_by_text((note, run) for run in runs for note in run.result.notes),
        left_out=page.left_out,
        legend=settings.legend(runs, scrub),
        other=_other_name(page),
        figures=tables.figures(paired, may_judge),
        base_voices=tables.base_voices(runs, may_judge),
        base_voices_heard=sorted({name for run in runs for name in run.result.base_voices.names}),
        seeds=across_runs.seed_table(runs),
        missing=_by_text(
            (f"{names}: {reason}", run) for run in runs for names, reason in by_reason(run.result.missing)
        ),
        sentences=clips,
        heard="" if len(heard) == len(runs) else f", spoken by {len(heard)} of {len(runs)} runs",
        costs=cost_charts(runs),
        curves=curve_charts(runs),
        facts=settings.fact_rows(runs, scrub),
        protocols=[(run, run.result.protocol) for run in runs if run.result.protocol],
    )


def curve_charts(runs: Sequence[Run]) -> tuple[list[Chart], list[Chart]]:
    """(shown, folded): a chart for each value that some run logged at two steps.

    Systems have charts of their own: a loss of one says nothing of a loss of another.
    """
    shown: list[Chart] = []
    folded: list[Chart] = []
    systems = dict.fromkeys(run.record.get("feature_fingerprint") for run in runs)
    for system in systems:
        own = [run for run in runs if run.record.get("feature_fingerprint") == system]
        names = sorted({name for run in own for name, curve in run.curves.items() if len(curve) > 1})
        for name in sorted(names, key=lambda name: _SHOWN_CURVES.index(name) if name in _SHOWN_CURVES else 99):
            drawn = [
                Series(tables.style(run.letter), run.letter, run.curves[name]) for run in own if name in run.curves
            ]
            (shown if name in _SHOWN_CURVES else folded).append(curves(name, drawn))
    return shown, folded


def cost_charts(runs: Sequence[Run]) -> tuple[list[Chart], list[Chart]]:
    """(shown, folded): each main figure after tuning against each cost; those of the trained parameters are shown."""
    found = measured(run.result for run in runs)
    by_cost: list[list[Chart]] = [[], [], []]
    for name in headlines(found, {name for run in runs for name in run.result.doubts}):
        for place, (cost, of) in enumerate(_COSTS.items()):
            points = list(_points(runs, name, of))
            if len(points) > 1:
                by_cost[place].append(costs(label(name), cost, points, _base(runs, name)))
    return by_cost[0], by_cost[1] + by_cost[2]


def _points(runs: Sequence[Run], name: str, cost: Callable[[Run], float | None]) -> Iterable[Series]:
    for run in runs:
        tuned, x = run.result.systems.get(TUNED), cost(run)
        figure = None if tuned is None else tuned.metrics.get(name)
        if figure is not None and figure.mean is not None and x is not None:
            yield Series(tables.style(run.letter), run.letter, [(x, figure.mean)], figure.low, figure.high)


def _base(runs: Sequence[Run], name: str) -> float | None:
    """What the base reaches, where all runs have the same one."""
    means = {run.result.systems[BASE].mean(name) for run in runs if BASE in run.result.systems}
    return means.pop() if len(means) == 1 else None


def _by_text(told: Iterable[tuple[str, Run]]) -> dict[str, list[Run]]:
    """Each text once, with the runs that it is about."""
    found: dict[str, list[Run]] = {}
    for text, run in told:
        found.setdefault(text, []).append(run)
    return found


def _identity(clips: Sentences) -> str:
    """What a browser keeps votes by: the same sentences by the same systems are one page."""
    told = repr([(sentence.text, [card and card.duration for card in sentence.cards]) for sentence in clips.shown])
    return hashlib.sha256(f"{[head.key for head in clips.heads]} {told}".encode()).hexdigest()[:16]


def _other_name(page: Page) -> str:
    return "the base" if page.other is None else page.other.letter


def _scrubber(runs: Sequence[Run]) -> Scrubber:
    return Scrubber((run.config for run in runs), [run.folder for run in runs])


def _not_evaluated(run: Run) -> str:
    status = "" if run.record.get("status") == "finished" else f" (status: {run.record.get('status')})"
    return (
        f"{run.title} was not evaluated{status}: what is shown of it is what its training wrote down, with intervals "
        "of 1.96 standard errors and without paired differences."
    )


def _not_writable(output: Path, reason: str | None) -> UserError:
    return UserError(f"--output {output} cannot be written ({reason}): choose another place.")
