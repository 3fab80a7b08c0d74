"""Which of its voices the embedded base knows best: validation residual and zero-shot speech, voice by voice.

`tools.nano.voices.REPLAY_VOICES` were chosen by it, before anything was tuned. Every voice says the same everyday
sentences, which stand in no shipped folder; each is prompted by another clip of the same voice.

    python -m benchmarks.known_voices --output known_voices.json
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks import measuring
from calm_ft.adapters.base import TTSAdapter
from calm_ft.atomic_file import write_text
from calm_ft.config import compose_config, experiment_from
from calm_ft.data.sources import read_recordings
from calm_ft.errors import run_script
from calm_ft.evaluation.sentences import load_recording
from calm_ft.metrics.base import NotMeasured, SpeechClip
from calm_ft.metrics.distortion import Distortion
from calm_ft.metrics.identification import SentenceIdentified, VoiceIdentified, VoiceReferences
from calm_ft.randomness import derive_seed
from calm_ft.training.datamodule import BatchLimits, validation_loader
from calm_ft.training.residuals import mean_residuals
from calm_ft.training.settings import DataSettings
from tools.nano.assets import everyday_sentences, write_voice
from tools.nano.voices import FLOW_LM_VOICES, JUDGING_VOICES

SEED = 0
CANDIDATES = [voice for voice in FLOW_LM_VOICES if voice not in JUDGING_VOICES]
REPORTED = ("mcd_db", "sentence_identified", "voice_identified")


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    output = parser.parse_args().output
    sentences = everyday_sentences(SEED).unshipped
    with tempfile.TemporaryDirectory() as scratch:
        voices = Path(scratch) / "voices"
        for voice in CANDIDATES:
            write_voice(voices / voice.name, voice, sentences)
        parts = experiment_from(
            compose_config(["adapter=nano", "logger=csv", f"data.cache_dir={Path(scratch) / 'cache'}"])
        )
        rows = measure(parts.adapter_factory().eval(), voices, parts.data)
    figures = {"torch": torch.__version__, "num_sentences": len(sentences), "voices": rows}
    write_text(output, json.dumps(figures, indent=2) + "\n")


def measure(adapter: TTSAdapter, folder: Path, data: DataSettings) -> dict[str, dict[str, float]]:
    """Voice -> its residual and zero-shot scores, lowest residual first; a folder of recordings for each voice."""
    recordings = {each.name: _recordings(each, adapter.sample_rate_hz) for each in sorted(folder.iterdir())}
    known = VoiceReferences.from_clips(
        {name: list(clips.values()) for name, clips in recordings.items()}, adapter.sample_rate_hz
    )
    rows = {}
    for name, clips in recordings.items():
        rows[name] = {"residual": _residual(adapter, folder / name, data)}
        rows[name] |= _speech(adapter, sorted((folder / name).glob("*.ogg"))[0], clips, VoiceIdentified(known, name))
        print(name, rows[name], flush=True)
    return dict(sorted(rows.items(), key=lambda row: row[1]["residual"]))


def _residual(adapter: TTSAdapter, folder: Path, data: DataSettings) -> float:
    clips = measuring.encode_folder(folder, adapter, data)
    limits = BatchLimits(int(data.max_frames_per_batch), data.max_batch_size)
    loader = validation_loader(clips, adapter.prompt_pool(clips), adapter, limits, SEED)
    return round(mean_residuals(adapter, loader, SEED)["residual"], 4)


def _speech(
    adapter: TTSAdapter, prompt: Path, recordings: Mapping[str, np.ndarray], identified: VoiceIdentified
) -> dict[str, float]:
    """Means over all sentences but the prompt's, which comes first; clips without a figure are left out of its mean."""
    rate_hz = adapter.sample_rate_hz
    metrics = (Distortion(), SentenceIdentified(recordings, rate_hz), identified)
    texts = list(recordings)[1:]
    seeds = [derive_seed(SEED, "known_voices", index) for index in range(len(texts))]
    values: dict[str, list[float]] = {name: [] for name in REPORTED}
    for text, said in zip(texts, adapter.synthesize(texts, adapter.load_voice(prompt), seeds), strict=True):
        clip = SpeechClip(np.asarray(said.audio), rate_hz, text, recordings[text])
        measured = {name: value for metric in metrics for name, value in metric.measure(clip).items()}
        for name in REPORTED:
            if not isinstance(value := measured[name], NotMeasured):
                values[name].append(value)
    return {name: round(mean(each), 3) for name, each in values.items()}


def _recordings(folder: Path, sample_rate_hz: int) -> dict[str, Any]:
    """Text -> recording [T], in the order of the files."""
    utterances = sorted(read_recordings(folder).utterances, key=lambda each: each.id)
    return {each.text: np.asarray(load_recording(each, sample_rate_hz)) for each in utterances}


if __name__ == "__main__":
    run_script(main)
