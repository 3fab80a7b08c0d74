"""How many words the recognisers that need no download mishear, in sound that was cut in its pauses.

The long English file of benchmarks.preparation_data, cut as prepare.py cuts it, and, with `--librivox`, the read clips
in test/data/librivox of PocketSphinx's source package. Texts are compared as they are spoken, without case and
punctuation; the word error rate of a long file is that of all its words in order. Speed is by processor time.

    python -m benchmarks.preparation_data --output-dir untidy --languages en
    python -m benchmarks.preparation_words untidy --output preparation_words.json
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile

from benchmarks import measuring
from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError, run_script
from calm_ft.metrics.audio_io import MODEL_RATE_HZ, at_model_rate
from calm_ft.preparation.words.text import spoken_form
from calm_ft.preparation.words.transcription import (
    MOONSHINE,
    POCKETSPHINX,
    Listener,
    choose_listener,
    parts_of,
    words_in,
)
from calm_ft.progress import Progress

Clip = tuple[np.ndarray, int, str]
"""Samples [T], their rate in Hz, and what is said."""


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="what benchmarks.preparation_data wrote")
    parser.add_argument("--librivox", type=Path, help="a folder of wav files and their `transcription`")
    parser.add_argument("--listeners", nargs="+", default=[MOONSHINE, POCKETSPHINX])
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    given = parser.parse_args()
    sets = {"telephone prompts": [long_clip(given.folder / "long")]}
    if given.librivox:
        sets["LibriVox"] = list(read_clips(given.librivox))
    figures: dict[str, dict[str, Any]] = {}
    for name in given.listeners:
        listener = choose_listener(name, "en")
        assert listener is not None
        figures[name] = {title: heard(listener, clips) for title, clips in sets.items()}
        print(name, figures[name])
    write_text(given.output, json.dumps(figures, indent=1) + "\n")


def long_clip(folder: Path) -> Clip:
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    if "en.wav" not in truth:
        raise UserError(f"{folder} has no en.wav: write it with --languages en.")
    samples, rate_hz = soundfile.read(folder / "en.wav", dtype="float32")
    return samples, rate_hz, " ".join(spoken(prompt["text"]) for prompt in truth["en.wav"]["prompts"])


def read_clips(folder: Path) -> Iterator[Clip]:
    for line in (folder / "transcription").read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"(?:<s>)?(.*?)(?:</s>)? *\((\S+)\)", line)
        if match and (folder / f"{match[2]}.wav").exists():
            samples, rate_hz = soundfile.read(folder / f"{match[2]}.wav", dtype="float32")
            yield samples, rate_hz, spoken(match[1])


def spoken(text: str) -> str:
    return " ".join(words_in(spoken_form(text, "en").text))


def heard(listener: Listener, clips: list[Clip]) -> dict[str, Any]:
    """The word error rate, its parts and the speed over some clips."""
    given, found, seconds, processor_sec = [], [], 0.0, 0.0
    for samples, rate_hz, text in clips:
        parts = [part for _, part in parts_of(at_model_rate(samples, rate_hz))]
        said = []
        with Progress(listener.name, len(parts), unit="part") as progress:
            for part in parts:
                started = time.process_time()
                said.append(spoken(listener.listen(part, MODEL_RATE_HZ).text))
                processor_sec += time.process_time() - started
                progress.update()
        seconds += len(samples) / rate_hz
        given.append(text)
        found.append(" ".join(said))
    errors = jiwer.process_words(given, found)
    return {
        "seconds": round(seconds, 1),
        "words": sum(len(text.split()) for text in given),
        "wer": round(errors.wer, 4),
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "x_real_time": round(seconds / processor_sec, 1),
    }


if __name__ == "__main__":
    run_script(main)
