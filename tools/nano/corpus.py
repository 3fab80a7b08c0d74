"""The two corpora, as 16-bit 16 kHz wav files with a manifest each.

`codec/` holds many voices with few sentences each, `flow_lm/` 24 voices with many. Every file is written
atomically and kept by a later call; `manifest.jsonl` (one `{"path", "text", "speaker"}` a line, paths
relative to it) is written last and whole, so its presence says that the corpus is complete.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from calm_ft.atomic_file import atomic_path
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.files import write_json_lines
from tools.nano.sentences import make_sentences
from tools.nano.voices import FLOW_LM_VOICES, make_codec_voices

NUM_CODEC_SETTINGS = 4
NUM_CODEC_SENTENCES = 12
NUM_FLOW_LM_SENTENCES = 520


@dataclass(frozen=True)
class Line:
    """One utterance to record."""

    voice: EspeakVoice
    text: str
    path: str


def codec_lines(seed: int) -> list[Line]:
    """About 84 variants x 4 settings x 12 sentences."""
    voices = make_codec_voices(NUM_CODEC_SETTINGS, seed=seed)
    return list(_lines(voices, NUM_CODEC_SENTENCES, seed=seed, stream="codec"))


def flow_lm_lines(seed: int) -> list[Line]:
    """24 voices x 520 sentences, each voice with sentences of its own."""
    return list(_lines(FLOW_LM_VOICES, NUM_FLOW_LM_SENTENCES, seed=seed, stream="flow_lm"))


def write_corpus(directory: Path, lines: Sequence[Line]) -> Path:
    """Record what is missing under `directory` and return the manifest's path."""
    for line in lines:
        path = directory / line.path
        if not path.exists():
            _record(line, path)
    manifest = directory / "manifest.jsonl"
    rows = ({"path": line.path, "text": line.text, "speaker": line.voice.name} for line in lines)
    write_json_lines(manifest, rows)
    return manifest


def _record(line: Line, path: Path) -> None:
    samples = synthesize(line.text, line.voice)
    with atomic_path(path) as partial:
        soundfile.write(partial, samples, SAMPLE_RATE_HZ, subtype="PCM_16")


def _lines(voices: Sequence[EspeakVoice], num_sentences: int, *, seed: int, stream: str) -> Iterator[Line]:
    for voice in voices:
        texts = make_sentences(num_sentences, seed=seed, stream=f"{stream}.{voice.name}")
        for number, text in enumerate(texts):
            yield Line(voice, text, f"{voice.name}/{number:03d}.wav")
