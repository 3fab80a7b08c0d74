"""The two corpora, as 16-bit 16 kHz wav files with a manifest each.

`codec/` holds many voices with few sentences each, `flow_lm/` 24 voices with many and a thousand with a few. Every file
is written atomically and kept by a later call; `manifest.jsonl` (one `{"path", "text", "speaker", "words"}` a line,
paths relative to it) is written last and whole, so its presence says that the corpus is complete. A clip's words and
their times stand beside it until then.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from calm_ft.adapters.pocket_tts.text import spoken_words
from calm_ft.atomic_file import atomic_path
from tools.nano.assets import reserved_sentences
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize_with_words
from tools.nano.everyday import PLAIN
from tools.nano.files import read_json_lines, write_json_lines
from tools.nano.sentences import make_sentences
from tools.nano.voices import FLOW_LM_VOICES, make_codec_voices, make_many_voices

NUM_CODEC_SETTINGS = 4
NUM_CODEC_SENTENCES = 12
# Of each of the FlowLM's 24 voices and of each of its many, from the plain grammar and from the templates.
NUM_PLAIN, NUM_TEMPLATES = (350, 17), (150, 7)
NUM_MANY_SETTINGS = 10
_FAMILIAR_TIMES = 20


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
    """24 voices with many sentences, and many voices with a few: reading and cloning.

    No sentence is one of `assets.reserved_sentences`.
    """
    taken = reserved_sentences(seed)
    groups = (FLOW_LM_VOICES, make_many_voices(NUM_MANY_SETTINGS, seed=seed))
    lines: list[Line] = []
    for voices, num_plain, num_templates in zip(groups, NUM_PLAIN, NUM_TEMPLATES, strict=True):
        for voice in voices:
            lines.extend(two_grammars(voice, num_plain, num_templates, seed=seed, stream="flow_lm", taken=taken))
    return lines


def familiar_words(lines: Iterable[Line]) -> list[str]:
    """The words that a base trained on these clips can be expected to read: frequent ones and numbers, sorted."""
    counts = Counter(word for line in lines for word in spoken_words(line.text))
    return sorted(word for word, times in counts.items() if times >= _FAMILIAR_TIMES or word.isdigit())


def two_grammars(
    voice: EspeakVoice, num_plain: int, num_templates: int, *, seed: int, stream: str, taken: Collection[str]
) -> Iterator[Line]:
    """Plain sentences and those of the templates by one voice; none of them is in `taken`."""
    for name, make, num_sentences in (
        ("plain", PLAIN.make_sentences, num_plain),
        ("templates", make_sentences, num_templates),
    ):
        texts = make(num_sentences, seed=seed, stream=f"{stream}.{name}.{voice.name}", taken=taken)
        for number, text in enumerate(texts):
            yield Line(voice, text, f"{voice.name}/{name}-{number:03d}.wav")


def write_corpus(directory: Path, lines: Sequence[Line]) -> Path:
    """Record what is missing under `directory` and return the manifest's path."""
    for line in tqdm(lines, desc="recording", disable=not sys.stderr.isatty(), dynamic_ncols=True):
        path = directory / line.path
        if not path.exists() or not _words_of(path).exists():
            _record(line, path)
    manifest = directory / "manifest.jsonl"
    write_json_lines(manifest, (_row(line, directory) for line in lines))
    return manifest


def _row(line: Line, directory: Path) -> dict[str, Any]:
    words = read_json_lines(_words_of(directory / line.path))
    return {"path": line.path, "text": line.text, "speaker": line.voice.name, "words": words}


def _record(line: Line, path: Path) -> None:
    samples, words = synthesize_with_words(line.text, line.voice)
    write_json_lines(_words_of(path), words)
    with atomic_path(path) as partial:
        soundfile.write(partial, samples, SAMPLE_RATE_HZ, subtype="PCM_16")


def _words_of(path: Path) -> Path:
    return path.with_suffix(".words.jsonl")


def _lines(voices: Sequence[EspeakVoice], num_sentences: int, *, seed: int, stream: str) -> Iterator[Line]:
    for voice in voices:
        texts = make_sentences(num_sentences, seed=seed, stream=f"{stream}.{voice.name}")
        for number, text in enumerate(texts):
            yield Line(voice, text, f"{voice.name}/{number:03d}.wav")
