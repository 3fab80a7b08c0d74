"""Which of its voices the embedded base knows best: validation residual and zero-shot speech, voice by voice.

`tools.nano.voices.REPLAY_VOICES` were chosen by it, before anything was tuned. Every voice says the same everyday
sentences, which stand in no shipped folder; each is prompted by another clip of the same voice.

    python benchmarks/known_voices.py --output known_voices.json
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from calm_ft.evaluation.judge import Judged, Recording, judge
from calm_ft.training.validation_loader import validation_loader

from calm_ft.adapters.base import TTSAdapter
from calm_ft.atomic_file import write_text
from calm_ft.config import compose_config, experiment_from
from calm_ft.data.audio import load_clip
from calm_ft.data.prepare import encode_recordings
from calm_ft.data.prompts import PromptPool
from calm_ft.data.sources import read_recordings
from calm_ft.errors import run_script
from calm_ft.metrics.identification import VoiceReferences
from calm_ft.randomness import derive_seed
from calm_ft.training.residuals import mean_residuals
from calm_ft.training.settings import DataSettings
from tools.nano.assets import NUM_REPLAY_CLIPS, everyday_sentences, write_voice
from tools.nano.voices import FLOW_LM_VOICES, JUDGING_VOICES

SEED = 0
TAIL_SEC = 0.08
CANDIDATES = [voice for voice in FLOW_LM_VOICES if voice not in JUDGING_VOICES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    output = parser.parse_args().output
    parts = experiment_from(compose_config(["adapter=nano", "logger=csv"]))
    adapter = parts.adapter_factory().eval()
    sentences = everyday_sentences(SEED).unshipped
    with tempfile.TemporaryDirectory() as scratch:
        for voice in CANDIDATES:
            write_voice(Path(scratch) / voice.name, voice, sentences)
        data = dataclasses.replace(parts.data, cache_dir=str(Path(scratch) / "cache"))
        figures = measure(adapter, Path(scratch), data)
    write_text(output, json.dumps(figures, indent=2) + "\n")


def measure(adapter: TTSAdapter, folder: Path, data: DataSettings) -> dict[str, Any]:
    """Voice -> its residual and zero-shot scores, lowest residual first."""
    clips = {voice.name: _load(folder / voice.name, adapter.sample_rate_hz) for voice in CANDIDATES}
    known = VoiceReferences.from_clips(
        {name: [clip.audio for clip in each] for name, each in clips.items()}, adapter.sample_rate_hz
    )
    rows = {}
    for name, recordings in clips.items():
        rows[name] = {
            "residual": _residual(adapter, folder / name, data),
            **_speech(adapter, folder, name, recordings, known),
        }
        print(name, rows[name], flush=True)
    ordered = sorted(rows, key=lambda name: rows[name]["residual"])
    return {
        "torch": torch.__version__,
        "num_sentences": NUM_REPLAY_CLIPS,
        "voices": {name: rows[name] for name in ordered},
    }


def _residual(adapter: TTSAdapter, folder: Path, data: DataSettings) -> float:
    utterances = read_recordings(folder).utterances
    cache = Path(data.cache_dir)
    limits = (data.tail_sec, data.max_duration_sec)
    encoded = encode_recordings(utterances, adapter, cache, *limits, progress=False).encoded
    loader = validation_loader(encoded, PromptPool(encoded), adapter, data, SEED)
    return round(mean_residuals(adapter, loader, SEED)["residual"], 4)


def _speech(
    adapter: TTSAdapter, folder: Path, name: str, recordings: list[Recording], known: VoiceReferences
) -> Mapping[str, float]:
    voice = adapter.load_voice(folder / name / "000.ogg")
    judged = []
    for index, each in enumerate(recordings[1:]):
        spoken = adapter.synthesize([each.text], voice, derive_seed(SEED, "known_voices", index))[0]
        judged.append(Judged(each.text, spoken.audio, spoken.ended))
    scores = judge(judged, recordings, known, name, adapter.sample_rate_hz)
    assert scores.voice_id is not None
    figures = {"mcd_db": scores.mcd_db, "sentence_id": scores.sentence_id, "voice_id": scores.voice_id}
    return {key: round(figure.mean, 3) for key, figure in figures.items()}


def _load(folder: Path, rate: int) -> list[Recording]:
    utterances = sorted(read_recordings(folder).utterances, key=lambda each: each.id)
    return [Recording(each.text, load_clip(each, rate, TAIL_SEC).samples) for each in utterances]


if __name__ == "__main__":
    run_script(main)
