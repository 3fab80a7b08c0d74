"""A small DATASET folder in the form that preparation writes, of the demo voice, with hostile names and texts.

Its files are written here by hand, so that what the page reads does not depend on who writes it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import soundfile

from tests.conftest import DEMO_TRAIN

HOSTILE_TEXTS = (
    '</script><script>alert("text")</script>',
    'It\'s "20 °C" in Łódź & <b>naïve</b> — {{ 7 * 7 }}',
    "Ὀδυσσεύς, 東京, مرحبا بالعالم, नमस्ते",
    "<!-- a comment <script> that never ends",
)
HOSTILE_SPEAKER = "An\"na <img src=x onerror=alert('speaker')>"
HOSTILE_ID = '../it\'s <b>"one"</b> & 東京'
WRONG_ID, WRONG_REASON = "wrong", "heard “<u>other</u> words”"
TAPE_ID, TAPE_SEC = "tape <i>1</i>", 1200.0

Row = dict[str, Any]


def write_dataset(folder: Path, num_clips: int = 12, speakers: tuple[str, ...] = (HOSTILE_SPEAKER,)) -> Path:
    """Kept clips, of which one is held out, one validates and two are clipped; a clip and a file are left out."""
    (folder / "clips").mkdir(parents=True)
    kept = [_clip(folder, number, speakers[number % len(speakers)]) for number in range(num_clips)]
    kept[0]["id"] = HOSTILE_ID
    kept[0]["problems"] = kept[1]["problems"] = ["clipping"]
    kept[-1]["split"], kept[-2]["split"] = "validation", "heldout"
    write_rows(folder / "manifest.jsonl", (row for row in kept if row["split"] != "heldout"))
    write_rows(folder / "heldout.jsonl", (row for row in kept if row["split"] == "heldout"))
    wrong = _clip(folder, num_clips, speakers[0]) | {"id": WRONG_ID, "reason": WRONG_REASON, "kind": "wrong_text"}
    tape = {"id": TAPE_ID, "path": "/elsewhere/tape.wav", "reason": "no text", "kind": "no_text"}
    left_out = [wrong | {"use": False}, tape | {"duration_sec": TAPE_SEC, "use": False}]
    write_rows(folder / "excluded.jsonl", left_out)
    clipped = [HOSTILE_ID, str(kept[1]["id"])]
    problems = [
        _problem("clipping", "warning", "clips are clipped", clipped, ["3 % of it is clipped", "it is clipped twice"]),
        _problem("wrong_text", "error", "texts do not match what is said", [WRONG_ID], [WRONG_REASON]),
        _problem("no_text", "error", "recordings have no text", [TAPE_ID], ["no text, and 20 minutes long"]),
        _problem("small_set", "warning", "speakers have little speech", [], [f"{speakers[0]} has half a minute"]),
    ]
    (folder / "problems.json").write_text(json.dumps(problems))
    prepare = {"settings": {"seed": 0}, "totals": {"hours_in": 1.0}, "versions": {}, "stages_sec": {"read": 1.25}}
    (folder / "prepare.json").write_text(json.dumps(prepare))
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def made_row(number: int, duration_sec: float = 4.0, **values: Any) -> Row:
    """A row of a manifest without audio."""
    return {
        "path": f"clips/{number:03d}.flac",
        "text": f"Sentence number {number}.",
        "speaker": "Anna",
        "words": [{"word": "Sentence", "start_sec": 0.1, "end_sec": 0.3}],
        "id": f"clip-{number:03d}",
        "split": "train",
        "source": f"session 1/{number % 40:03d}.ogg",
        "source_start_sec": 1.5 * number,
        "source_end_sec": 1.5 * number + duration_sec - 0.125,  # silence was put around it
        "original_text": f"Sentence number {number}.",
        "text_from": "given",
        "confidence": 0.9,
        "duration_sec": duration_sec,
        "measures": {"snr_db": 30.0 + number % 30, "loudness_lufs": -25.0 + number % 7, "decay_sec": 0.3},
        "problems": [],
        **values,
    }


def _problem(kind: str, severity: str, title: str, clips: list[str], details: list[str]) -> Row:
    known = {"kind": kind, "severity": severity, "title": title, "mend": f"mend {kind}"}
    return known | {"count": len(clips), "clips": clips, "details": details}


def _clip(folder: Path, number: int, speaker: str) -> Row:
    source = sorted(DEMO_TRAIN.glob("*.ogg"))[number]
    audio, sample_rate_hz = soundfile.read(source, dtype="float32")
    row = made_row(number, round(len(audio) / sample_rate_hz, 3), speaker=speaker)
    soundfile.write(folder / row["path"], audio, sample_rate_hz)
    text = HOSTILE_TEXTS[number] if number < len(HOSTILE_TEXTS) else source.with_suffix(".txt").read_text().strip()
    return row | {"text": text, "original_text": text}
