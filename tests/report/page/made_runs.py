"""Run folders made by hand: what training writes, and on top of it what an evaluation writes.

The clips are the demo voice's recordings, which for the base and tuned systems are cut short and made quieter, and the
figures are drawn from a fixed generator; means and intervals are computed from them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from tests.conftest import DEMO_TRAIN

TEXTS = (
    'Is 3 < 5 & 7 > 6? "Yes," said <b>Björn</b>.',
    "It's 20 °C in Łódź — naïve, isn't it?",
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the sea shore.",
    "Please call Stella.",
    "<script>alert(1)</script>",
    "We meet at nine o'clock.",
    "Nothing else matters.",
)
METRICS = {
    "wer": ("rate", "lower", 0.2),
    "mcd_db": ("dB", "lower", 7.0),
    "speaker_similarity_resemblyzer": ("cosine", "higher", 0.6),
}
RTF = {"mean": 0.2, "low": 0.1, "high": 0.3, "median": 0.2, "n": 2, "unit": "s/s", "direction": "lower"}
MISSING = {"utmos": "the weights were not found in /home/someone/.cache/utmos: pass evaluation.utmos=PATH"}
STEP_OF_QUALITY = {"reference": 1.0, "codec": 0.9, "base": 0.0, "tuned": 0.5}
_RATE_HZ = 16_000


def make_run(folder: Path, num_sentences: int = 2, number: int = 0, **record: Any) -> Path:
    """A finished run that was not evaluated; `record` goes over what run.json says."""
    samples, export = folder / "samples", folder / "export"
    samples.mkdir(parents=True)
    export.mkdir()
    (export / "model.safetensors").write_bytes(bytes(100_000 * (number + 1)))
    content = {
        "status": "finished",
        "seed": 0,
        "model": "Pocket TTS /home/someone/my models/nano (6 layers)",
        "data_fingerprint": "d" * 24,
        "validation_fingerprint": "e" * 24,
        "num_train_clips": 100,
        "train_sec": 250.0,
        "num_trained_parameters": 100_000 * 3**number,
        "num_parameters": 2_700_000,
        "training_sec": 10.0 + 5 * number,
        "num_steps": 60,
        "checkpoint_step": 60,
        "figures": _figures(num_sentences),
    }
    config = {
        "experiment_name": f"experiment_{number}",
        "adapter": {"model": "/home/someone/my models/nano"},
        "strategy": {"_target_": "calm_ft.finetuning.strategy.LastNLayers", "num_layers": 2},
    }
    (folder / "run.json").write_text(json.dumps(content | record))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [f"{step},{1 + number / 10 + 1 / (step + 1)},,0.25" for step in range(0, 60, 10)]
    (folder / "metrics.csv").write_text(
        "\n".join(["step,train/loss,val/residual,train/step_sec", *rows, "60,nan,0.6,"])
    )
    for index, recording in enumerate(sorted(DEMO_TRAIN.glob("*.ogg"))[:num_sentences]):
        audio = soundfile.read(recording)[0]
        clips = {"reference": audio, "base": audio[: audio.size // 2], "tuned": audio * (0.5 + 0.1 * number)}
        for system, clip in clips.items():
            soundfile.write(samples / f"{system}_{index:02d}.wav", clip, _RATE_HZ)
    return folder


def _figures(num_sentences: int) -> dict[str, Any]:
    score = {"mcd_db": {"mean": 7.5, "standard_error": 0.5}, "voice_id": None, "num_sentences": num_sentences}
    columns = {f"{system}, tuned voice": score | {"num_silent": 0, "num_not_ended": 1} for system in ("base", "tuned")}
    return {"scores": columns, "extra": {"validation residual": {"tuned, tuned voice": 0.65}}}


def add_evaluation(run: Path, texts: Sequence[str] = TEXTS, number: int = 0) -> Path:
    """Evaluation files of the run's clips in samples/: reference, codec (its copy), base and tuned."""
    folder = run / "evaluation"
    folder.mkdir()
    rows = list(_utterances(run, folder, texts, number))
    by_system = {system: [row for row in rows if row["system"] == system] for system in STEP_OF_QUALITY}
    metrics = {name: {each: _column(own, each) for each in METRICS} for name, own in by_system.items()}
    summary = {
        "run": run.name,
        "systems": {
            system: {
                "metrics": {name: _metric(name, values) for name, values in metrics[system].items()} | {"rtf": RTF},
                "counts": {"utterances": len(own)}
                | {flag: sum(row["flags"][flag] for row in own) for flag in ("runaway", "silent", "truncated")},
                "rtf": None if system == "reference" else 0.2 + 0.01 * number,
            }
            for system, own in by_system.items()
        },
        "against_base": {
            "tuned": {name: _against(name, metrics["tuned"][name] - metrics["base"][name]) for name in METRICS}
        },
        "missing": MISSING,
        "protocol": {"num_seeds": 1, "model": str(run), "voice": str(run / "samples" / "voice_prompt.wav")},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def _utterances(run: Path, folder: Path, texts: Sequence[str], number: int) -> Iterator[dict[str, Any]]:
    num_sentences = len(list((run / "samples").glob("reference_*.wav")))
    for (system, quality), index in product(STEP_OF_QUALITY.items(), range(num_sentences)):
        random = np.random.default_rng([index, number if system == "tuned" else 99])
        source = run / "samples" / f"{'reference' if system == 'codec' else system}_{index:02d}.wav"
        name = f"audio/{system}_{index:02d}.wav"
        (folder / "audio").mkdir(exist_ok=True)
        (folder / name).write_bytes(source.read_bytes())
        is_runaway = system == "base" and index == 1
        yield {
            "system": system,
            "index": index,
            "seed": 0,
            "text": texts[index],
            "audio": name,
            "metrics": {each: _value(each, quality, random) for each in METRICS} | {"utmos": None},
            "missing": MISSING,
            "flags": {"runaway": is_runaway, "silent": False, "truncated": False},
        }


def _value(name: str, quality: float, random: np.random.Generator) -> float:
    """Speaker similarity differs by noise alone, so that no interval leaves zero out."""
    _, direction, base = METRICS[name]
    gain = {"lower": -0.5, "higher": 0.0}[direction] * quality
    return float(base * (1 + gain + 0.05 * random.normal()))


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([row["metrics"][name] for row in rows])


def _metric(name: str, values: np.ndarray) -> dict[str, Any]:
    unit, direction, _ = METRICS[name]
    mean, half = _mean_and_half(values)
    ends = {"low": mean - half, "high": mean + half, "n": values.size}
    return {"mean": mean, "median": float(np.median(values)), **ends, "unit": unit, "direction": direction}


def _against(name: str, differences: np.ndarray) -> dict[str, Any]:
    mean, half = _mean_and_half(differences)
    sign = 1 if METRICS[name][1] == "higher" else -1
    better = None if abs(mean) <= half else mean * sign > 0
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": differences.size, "better": better}


def _mean_and_half(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(2 * values.std(ddof=1) / np.sqrt(values.size))
