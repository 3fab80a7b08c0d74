"""Runs to one HTML file that needs nothing else: no network, no script, no font."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from calm_ft.atomic_file import why_not_a_folder, write_text
from calm_ft.errors import UserError
from calm_ft.report.page import charts, facts
from calm_ft.report.page.figures import BASE, Run
from calm_ft.report.page.forgetting import forgetting_table
from calm_ft.report.page.metric_table import metric_table, missing_metrics
from calm_ft.report.page.paired import against, why_not_paired
from calm_ft.report.page.read_run import read_runs
from calm_ft.report.page.seeds import seed_groups, seed_table
from calm_ft.report.page.sentences import sentences
from calm_ft.report.page.sweep_runs import LeftOut
from calm_ft.report.page.wording import Scrubber

NUM_SENTENCES = 8
MAX_RUNS_HEARD = 8
"""More runs have no players, so that a sweep's page stays a few megabytes."""


@dataclass(frozen=True)
class Compared:
    """The page that was written, its bytes, and what it says first of the runs: why nothing is marked, and so on."""

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
    not_evaluated = tuple(run.folder for run in runs if not run.evaluation.was_evaluated)
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
    """What a reader must know before the figures: one sentence each."""
    runs = page.runs
    found = facts.why_not_comparable(runs)
    if found and facts.said_the_same(runs):
        found.append("All said the same sentences, so differences are marked; the data may be what makes them.")
    elif found:
        found.append("Therefore no difference is marked as better or worse.")
    found += filter(None, [facts.protocols_differ(runs, _scrubber(runs))])
    if page.other is not None:
        reasons = {run.name: why_not_paired(run, page.other) for run in runs if run is not page.other}
        found += [f"{name} cannot be compared with {page.other.name}: {why}." for name, why in reasons.items() if why]
    if page.left_out:
        found.append(f"{len(page.left_out)} jobs of the sweep have no figures; they are listed below with the reason.")
    found += [_not_evaluated(run) for run in runs if not run.evaluation.was_evaluated]
    return found


def runs_heard(runs: Sequence[Run]) -> list[Run]:
    """The runs that have players: at most MAX_RUNS_HEARD, and one of each setting before a second seed."""
    groups = seed_groups(runs)
    by_round = [run for place in range(len(runs)) for group in groups for run in group[place : place + 1]]
    chosen = by_round[:MAX_RUNS_HEARD]
    return [run for run in runs if run in chosen]


def render(page: Page, num_sentences: int) -> str:
    """The page as text. Everything that comes from a run is escaped."""
    runs = page.runs
    scrub = _scrubber(runs)
    heard = runs_heard(runs)
    paired = runs if page.other is None else against(runs, page.other)
    other = BASE if page.other is None else page.other.folder.resolve().name  # short: it stands in every cell
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["scrub"] = scrub
    may_mark = facts.said_the_same(runs) or not facts.why_not_comparable(runs)
    return environment.get_template("page.html.j2").render(
        runs=[(run.name, charts.style(number)) for number, run in enumerate(runs)],
        notices=notices(page),
        left_out=page.left_out,
        seeds=seed_table(runs),
        other=other,
        table=metric_table(paired, may_mark, other),
        forgetting=forgetting_table(runs, may_mark),
        missing=missing_metrics(runs),
        facts=facts.fact_rows(runs, scrub),
        protocols=_protocols(runs),
        curves=charts.curve_charts(runs),
        costs=charts.cost_charts(runs),
        sentences=sentences(heard, num_sentences, scrub),
        heard="" if len(heard) == len(runs) else f", spoken by {len(heard)} of {len(runs)} runs",
    )


def _protocols(runs: Sequence[Run]) -> Mapping[str, Mapping[str, object]]:
    return {run.name: run.evaluation.protocol for run in runs if run.evaluation.protocol}


def _scrubber(runs: Sequence[Run]) -> Scrubber:
    return Scrubber((run.config for run in runs), [run.folder for run in runs])


def _not_evaluated(run: Run) -> str:
    status = "" if run.record.get("status") == "finished" else f" (status: {run.record.get('status')})"
    return (
        f"{run.name} was not evaluated{status}: what is shown of it is what its training wrote down, with intervals of "
        "1.96 standard errors and without paired differences."
    )


def _not_writable(output: Path, reason: str | None) -> UserError:
    return UserError(f"--output {output} cannot be written ({reason}): choose another place.")
