"""Runs to one HTML file that needs nothing else: no network, no script, no font."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from calm_ft.atomic_file import why_not_a_folder, write_text
from calm_ft.errors import UserError
from calm_ft.evaluation.page import charts, facts
from calm_ft.evaluation.page.figures import Run
from calm_ft.evaluation.page.forgetting import forgetting_table
from calm_ft.evaluation.page.metric_table import metric_table, missing_metrics
from calm_ft.evaluation.page.read_run import read_runs
from calm_ft.evaluation.page.sentences import sentences
from calm_ft.evaluation.page.wording import Scrubber

NUM_SENTENCES = 8


@dataclass(frozen=True)
class Compared:
    """The page that was written, its bytes, and what it says first of the runs: why nothing is marked, and so on."""

    path: Path
    num_bytes: int
    notices: tuple[str, ...]


def compare_runs(folders: Sequence[Path], output: Path, num_sentences: int = NUM_SENTENCES) -> Compared:
    """Write the page of these runs, with players for the first `num_sentences`, whole or not at all.

    Raises UserError where a folder is not a run, a file of one is damaged, or the page cannot be written.
    """
    if num_sentences < 0:
        raise UserError(f"--sentences {num_sentences} cannot be negative.")
    reason = "it is a folder" if output.is_dir() else why_not_a_folder(output.absolute().parent)
    if reason is not None:
        raise _not_writable(output, reason)
    runs = read_runs(folders)
    page = render(runs, num_sentences)
    try:
        write_text(output, page)
    except OSError as error:
        raise _not_writable(output, error.strerror) from error
    return Compared(output, len(page.encode()), tuple(notices(runs)))


def notices(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before the figures: one sentence each."""
    found = facts.why_not_comparable(runs)
    if found:
        found.append("Therefore no difference is marked as better or worse.")
    found += filter(None, [facts.protocols_differ(runs, _scrubber(runs))])
    found += [_not_evaluated(run) for run in runs if not run.evaluation.was_evaluated]
    return found


def render(runs: Sequence[Run], num_sentences: int) -> str:
    """The page as text. Everything that comes from a run is escaped."""
    scrub = _scrubber(runs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["scrub"] = scrub
    may_mark = not facts.why_not_comparable(runs)
    return environment.get_template("page.html.j2").render(
        runs=[(run.name, charts.style(number)) for number, run in enumerate(runs)],
        notices=notices(runs),
        table=metric_table(runs, may_mark),
        forgetting=forgetting_table(runs, may_mark),
        missing=missing_metrics(runs),
        facts=facts.fact_rows(runs, scrub),
        protocols=_protocols(runs),
        curves=charts.curve_charts(runs),
        costs=charts.cost_charts(runs),
        sentences=sentences(runs, num_sentences, scrub),
    )


def _protocols(runs: Sequence[Run]) -> Mapping[str, Mapping[str, object]]:
    return {run.name: run.evaluation.protocol for run in runs if run.evaluation.protocol}


def _scrubber(runs: Sequence[Run]) -> Scrubber:
    return Scrubber((run.config for run in runs), [run.folder for run in runs])


def _not_evaluated(run: Run) -> str:
    status = "" if run.record.get("status") == "finished" else f" (status: {run.record.get('status')})"
    return (
        f"{run.name} was not evaluated{status}: what is shown of it is what its training wrote down, with intervals of "
        f"1.96 standard errors and without paired differences. Evaluate it with: python scripts/evaluate.py {run.name}"
    )


def _not_writable(output: Path, reason: str | None) -> UserError:
    return UserError(f"--output {output} cannot be written ({reason}): choose another place.")
