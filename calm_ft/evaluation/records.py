"""The files of an evaluation: audio, utterances.jsonl, summary.json. The summary comes last: where it is, all is."""

from collections.abc import Sequence
from pathlib import Path

from calm_ft.atomic_file import atomic_path, write_text
from calm_ft.evaluation.clips import Scored
from calm_ft.report.result import AUDIO, SUMMARY, UTTERANCES, EvaluationResult, UtteranceRow


def write_records(folder: Path, scored: Sequence[Scored], result: EvaluationResult) -> None:
    """Write an evaluation into `folder` in the place of an earlier one. Raises OSError where it cannot be written."""
    (folder / SUMMARY).unlink(missing_ok=True)  # it would speak of clips that are being replaced
    for each in scored:
        with atomic_path(folder / AUDIO / each.spoken.name) as temporary:
            temporary.write_bytes(each.spoken.wav)
    rows = [_row(each).model_dump_json() for each in scored]
    write_text(folder / UTTERANCES, "".join(row + "\n" for row in rows))
    current = {each.spoken.name for each in scored}
    for path in (folder / AUDIO).glob("*.wav"):
        if path.name not in current:
            path.unlink()
    write_text(folder / SUMMARY, result.to_json())


def _row(scored: Scored) -> UtteranceRow:
    spoken = scored.spoken
    return UtteranceRow(
        system=spoken.system,
        voice=spoken.voice,
        index=spoken.index,
        seed=spoken.seed,
        text=spoken.text,
        audio=f"{AUDIO}/{spoken.name}",
        metrics=scored.metrics,
        missing=scored.missing,
        flags=scored.flags,
    )
