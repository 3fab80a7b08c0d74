"""A dataset to one HTML file that needs nothing else: no network, no other file, and no script but its own."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from calm_ft.atomic_file import write_text
from calm_ft.data.utterance import printable
from calm_ft.errors import UserError
from calm_ft.preparation.page import rows, sections
from calm_ft.preparation.page.survey import PROMPT_SEC, survey
from calm_ft.report.page import charts
from calm_ft.report.page.scrub import without_paths

NAME = "report.html"
_FOLDER = Path(__file__).parent
_SHARED = Path(charts.__file__).parent


def write_page(dataset_dir: Path) -> Path:
    """Write DATASET/report.html, whole or not at all, and return its path.

    Raises UserError where the folder holds no prepared dataset, a file of it is damaged, or the page cannot be written.
    """
    text = render(dataset_dir)
    path = dataset_dir / NAME
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room or choose another folder.") from error
    return path


def render(dataset_dir: Path, token: str = "") -> str:
    """The page as text; everything that comes from the dataset is escaped.

    Args:
        token: what the served page sends with each edit; empty for a page that is a file and cannot edit.

    Raises UserError where the folder holds no prepared dataset, or a file of it is damaged.
    """
    rows.check_dataset(dataset_dir)
    problems = rows.problems(dataset_dir)
    wanted = sections.wanted_examples(problems)
    found = survey(rows.clip_rows(dataset_dir), {each for ids in wanted.values() for each in ids})
    record = rows.record(dataset_dir)
    places = [dataset_dir, *_recordings(record)]
    script = _read(_SHARED, "players.js") + _read(_FOLDER, "page.js")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": lambda kind: str(kind).replace("_", " "), "scrub": without_paths}
    environment.filters |= {"duration": sections.duration_text, "counted": sections.counted}
    environment.filters |= {"sentence": sections.sentence}
    text = environment.get_template("page.html.j2").render(
        title=printable(dataset_dir.resolve().name),
        token=token,
        style=Markup(_read(_SHARED, "page.css") + _read(_FOLDER, "page.css")),
        # Of all scripts a browser runs only this one, whatever a clip's texts may hold.
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        verdict=sections.verdict(found, problems),
        facts=sections.facts(found, _given_sec(record)),
        speakers=sections.largest_speakers(found),
        num_speakers=len(found.speakers),
        languages=sections.languages(found),
        num_languages=len(found.languages),
        charts=sections.distributions(found),
        problems=sections.shown_problems(places, found, problems, wanted),
        titles={problem.kind: problem.title for problem, _ in problems},
        prompts=sections.prompts(places, found),
        prompt_sec=PROMPT_SEC,
        study=sections.STUDY,
        kept_sec=found.kept_sec,
        num_clips=sum(found.splits.values()),
        table=Markup(found.table),
        record=_flat(record),
    )
    return printable(text)  # names of files need not be valid Unicode, and a page must be


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _recordings(record: dict[str, Any]) -> list[Path]:
    """The folder of the recordings, to which the path of a file that never became a clip is relative."""
    settings = record.get("settings")
    given = settings.get("recordings") if isinstance(settings, dict) else None
    path = Path(given) if isinstance(given, str) else None
    return [] if path is None else [path if path.is_dir() else path.parent]


def _given_sec(record: dict[str, Any]) -> float | None:
    """How much sound was given, as prepare.json says."""
    totals = record.get("totals")
    hours = totals.get("hours_in") if isinstance(totals, dict) else None
    return 3600 * hours if isinstance(hours, int | float) else None


def _flat(value: object, name: str = "") -> list[tuple[str, str]]:
    """(name with dots, value) of everything that prepare.json says."""
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in _flat(each, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        return [(name, ", ".join(map(str, value[:20])) or "none")]
    return [(name, "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value))]
