"""The files of an evaluation: audio, utterances.jsonl, summary.json. The summary comes last: where it is, all is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calm_ft.atomic_file import atomic_path, write_text
from calm_ft.evaluation.protocol import Scored
from calm_ft.evaluation.summary import utterance_row

AUDIO, UTTERANCES, SUMMARY = "audio", "utterances.jsonl", "summary.json"


def write_records(folder: Path, scored: Sequence[Scored], summary: Mapping[str, Any]) -> None:
    """Write an evaluation into `folder` in the place of an earlier one. Raises OSError where it cannot be written."""
    (folder / SUMMARY).unlink(missing_ok=True)  # it would speak of clips that are being replaced
    for each in scored:
        with atomic_path(folder / AUDIO / each.spoken.name) as temporary:
            temporary.write_bytes(each.spoken.wav)
    rows = [json.dumps(utterance_row(each, f"{AUDIO}/{each.spoken.name}"), allow_nan=False) for each in scored]
    write_text(folder / UTTERANCES, "".join(row + "\n" for row in rows))
    current = {each.spoken.name for each in scored}
    for path in (folder / AUDIO).glob("*.wav"):
        if path.name not in current:
            path.unlink()
    write_text(folder / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")
