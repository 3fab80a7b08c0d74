"""Reads what an offline wandb run wrote, without wandb's own reader, which its package no longer holds.

The file is a LevelDB log behind a header of 7 bytes: blocks of 32 KiB with records of (checksum, length, kind), the
kinds being 1 whole, 2 first, 3 middle, 4 last; each record is one protobuf message. wandb's own process writes it and
may be a moment behind; the message `exit` is a finished run's last.
"""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER_BYTES, BLOCK_BYTES, PREFIX_BYTES = 7, 32768, 7
WHOLE, LAST = 1, 4
PATIENCE_SEC = 20.0


def records(run_folder: Path) -> list[Any]:
    """The messages of the one .wandb file in a finished run's folder, in their order."""
    (path,) = run_folder.glob("run-*.wandb")
    give_up_sec = time.monotonic() + PATIENCE_SEC
    while True:
        found = list(_parse(path.read_bytes()))
        if any(each.WhichOneof("record_type") == "exit" for each in found):
            return found
        assert time.monotonic() < give_up_sec, f"{path} is not finished"
        time.sleep(0.05)


def _parse(data: bytes) -> Iterator[Any]:
    place, parts = HEADER_BYTES, b""
    while place + PREFIX_BYTES <= len(data):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < PREFIX_BYTES:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + PREFIX_BYTES])
        place += PREFIX_BYTES
        if place + length > len(data):
            return  # not yet written
        parts += data[place : place + length]
        place += length
        if kind in (WHOLE, LAST):
            yield wandb_internal_pb2.Record.FromString(parts)  # type: ignore[attr-defined]
            parts = b""


def stretches(output_dir: Path) -> list[Path]:
    """The folders that a run left, one for each time that it was started, in that order."""
    folders = (output_dir / "wandb").glob("offline-run-*")
    return sorted(folders, key=lambda folder: of_kind(folder, "run")[0].start_time.ToNanoseconds())


def of_kind(run_folder: Path, kind: str) -> list[Any]:
    """The messages of one kind: run, history, summary, artifact, ..."""
    return [getattr(each, kind) for each in records(run_folder) if each.WhichOneof("record_type") == kind]


def history(run_folder: Path) -> dict[int, dict[str, Any]]:
    """The logged rows by wandb's own step; nested keys joined by a dot."""
    return {row.step.num: _values(row.item) for row in of_kind(run_folder, "history")}


def summary(run_folder: Path) -> dict[str, Any]:
    """The summary as it is in the end."""
    joined: dict[str, Any] = {}
    for each in of_kind(run_folder, "summary"):
        joined |= _values(each.update)
    return joined


def table(run_folder: Path, key: str) -> list[dict[str, Any]]:
    """The rows of an incremental table; media are the files that would be uploaded, all of which are there."""
    rows = []
    for artifact in of_kind(run_folder, "artifact"):
        if artifact.type != "wandb-run-incremental-table":
            continue
        files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
        for path, file in files.items():
            if path.endswith(f"{key}.table.json"):
                content = json.loads(file.read_text(encoding="utf-8"))
                rows += [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
                for row in rows[-len(content["data"]) :]:
                    row |= {name: files[each["path"]] for name, each in row.items() if isinstance(each, dict)}
    return rows


def config(run_folder: Path) -> dict[str, Any]:
    """The configuration that the run began with."""
    (run,) = of_kind(run_folder, "run")
    return _values(run.config.update)


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
