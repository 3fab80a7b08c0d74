"""What voice activity, the figures of sound and the likeness of clips find in recordings with known truth.

Long files: an edge of a pause of 0.3 s or more is found where a span of speech begins or ends within 0.1 s of it, and
an edge that was found is true where the clean sound has one (of a pause of 0.15 s or more) as near. A word is cut where
a clip's end lies in clean sound less than 30 dB under the loud frames of its prompt. Faults: a clip is found where its
own kind is named; a clean clip is a false alarm where any kind is. Times are of one process.

    python -m benchmarks.preparation_data --output-dir untidy
    python -m benchmarks.preparation_sound untidy --output preparation_sound.json
"""

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import measuring
from benchmarks.preparation_data import RATE_HZ, SOUND_FAULTS, prompts
from calm_ft.atomic_file import write_text
from calm_ft.errors import run_script
from calm_ft.metrics.speaker import voice_embedding
from calm_ft.preparation.sound.conditioning import Conditioning, condition
from calm_ft.preparation.sound.likeness import duplicate_groups, fingerprint, voice_outliers
from calm_ft.preparation.sound.measures import faults, measure
from calm_ft.preparation.sound.voice_activity import clip_spans, speech_spans
from calm_ft.progress import Progress

TOLERANCE_SEC = 0.1
JUDGED_KINDS = [*SOUND_FAULTS, "too_short", "too_long"]
HEARD_CUT_DB = 30.0


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="what benchmarks.preparation_data wrote")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    given = parser.parse_args()
    speech_spans(np.zeros(RATE_HZ), RATE_HZ)  # load the models outside of the times
    voice_embedding(np.random.default_rng(0).normal(size=2 * RATE_HZ) * 0.1, RATE_HZ)
    figures = {"long": long_files(given.folder / "long"), "clips": single_clips(given.folder)}
    for name, row in figures["long"].items():
        print(name, row)
    for name, row in figures["clips"].items():
        print(name, row)
    write_text(given.output, json.dumps(figures, indent=1) + "\n")


def long_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Language -> edges found and true, words cut, speech lost, and speed."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return {Path(name).stem: long_file(folder / name, rows) for name, rows in truth.items()}


def long_file(path: Path, truth: dict[str, Any]) -> dict[str, Any]:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    started = time.perf_counter()
    spans = speech_spans(samples, rate_hz)
    clips = clip_spans(samples, rate_hz, spans)
    seconds = time.perf_counter() - started
    speech = np.array(truth["speech"])
    found = np.array([[span.start_sec, span.end_sec] for span in spans])
    true_edges, some_true_edges = edges_of_pauses(speech, 0.3), edges_of_pauses(speech, 0.15)
    found_edges = edges_of_pauses(found, 0.3)
    cuts = sorted({edge for clip in clips for edge in (clip.start_sec, clip.end_sec)})
    lengths_sec = [clip.duration_sec for clip in clips]
    lost_sec = sum(max(0.0, end - start - covered(start, end, clips)) for start, end in speech)
    return {
        "minutes": round(len(samples) / rate_hz / 60, 1),
        "edges": len(true_edges[0]) * 2,
        "recall": round(share_near(true_edges, found), 4),
        "precision": round(share_near(found_edges, np.stack(some_true_edges, 1)), 4),
        "clips": len(clips),
        "clip_sec_p5_p50_p95": np.round(np.percentile(lengths_sec, [5, 50, 95]), 2).tolist(),
        "under_2_sec": sum(length < 2 for length in lengths_sec),
        "over_20_sec": sum(length > 20 for length in lengths_sec),
        "words_cut": words_cut(cuts, truth["prompts"], path.stem),
        "speech_lost_sec": round(float(lost_sec), 2),
        "x_real_time": round(len(samples) / rate_hz / seconds),
    }


def edges_of_pauses(spans: np.ndarray, least_sec: float) -> tuple[np.ndarray, np.ndarray]:
    """The starts and the ends [N] of speech beside pauses of at least `least_sec` between spans [M, 2]."""
    is_pause = spans[1:, 0] - spans[:-1, 1] >= least_sec
    return spans[1:, 0][is_pause], spans[:-1, 1][is_pause]


def share_near(edges: tuple[np.ndarray, np.ndarray], spans: np.ndarray) -> float:
    """The share of starts and ends that have a start or end of the spans [M, 2] within the tolerance."""
    near = [np.abs(spans[:, column][None] - edges[column][:, None]).min(axis=1) <= TOLERANCE_SEC for column in range(2)]
    return float(np.concatenate(near).mean())


def covered(start_sec: float, end_sec: float, clips: list[Any]) -> float:
    return sum(max(0.0, min(end_sec, clip.end_sec) - max(start_sec, clip.start_sec)) for clip in clips)


def words_cut(cuts: list[float], rows: list[dict[str, Any]], language: str) -> int:
    """How many cuts lie where the clean prompt is loud, 10 ms to both sides."""
    sounds = {prompt.name: prompt.samples for prompt in prompts(language)}
    starts = np.array([row["start_sec"] for row in rows])
    num_cut = 0
    for cut_sec in cuts:
        row = rows[max(0, int(np.searchsorted(starts, cut_sec)) - 1)]
        samples = sounds[row["name"]]
        at = round((cut_sec - row["start_sec"]) * RATE_HZ)
        part = samples[max(0, at - RATE_HZ // 100) : max(0, at + RATE_HZ // 100)]
        if part.size:
            frames = np.square(samples[: samples.size // 80 * 80]).reshape(-1, 80).mean(axis=1)
            num_cut += bool(np.mean(np.square(part)) > np.percentile(frames, 90) * 10 ** (-HEARD_CUT_DB / 10))
    return num_cut


def single_clips(folder: Path) -> dict[str, Any]:
    """Kind -> clips found; false alarms by kind; duplicates, voices and speed."""
    truth = json.loads((folder / "faults.json").read_text(encoding="utf-8"))
    kinds: dict[str, list[str]] = {}
    prints, voices = {}, {}
    seconds: Counter[str] = Counter()
    total_sec = 0.0
    with Progress("measuring", len(truth), unit="clip") as progress:
        for name in truth:
            samples, rate_hz = soundfile.read(folder / "faults" / name, dtype="float32", always_2d=True)
            total_sec += len(samples) / rate_hz
            mono = np.nan_to_num(samples[:, 0])
            spans = timed(seconds, "voice activity", speech_spans, mono / max(1.0, np.abs(mono).max()), rate_hz)
            kinds[name] = [kind for kind, _ in faults(timed(seconds, "figures", measure, samples, rate_hz, spans))]
            timed(seconds, "conditioning", condition, mono, rate_hz, Conditioning(), spans)
            prints[name] = timed(seconds, "fingerprints", fingerprint, mono, rate_hz)
            if truth[name]["fault"] in (None, "other_voice", "third_voice"):
                voices[name] = timed(seconds, "voices", voice_embedding, mono, rate_hz)
            progress.update()
    voice_sec = sum(soundfile.info(folder / "faults" / name).duration for name in voices)
    speed = {stage: round((voice_sec if stage == "voices" else total_sec) / spent) for stage, spent in seconds.items()}
    return {
        **found_by_kind(truth, kinds),
        **duplicates(truth, duplicate_groups(prints)),
        **other_voices(truth, voices),
        "x_real_time": speed,
    }


def timed(seconds: Counter[str], stage: str, function: Any, *arguments: Any) -> Any:
    started = time.perf_counter()
    result = function(*arguments)
    seconds[stage] += time.perf_counter() - started  # type: ignore[assignment]
    return result


def found_by_kind(truth: dict[str, Any], kinds: dict[str, list[str]]) -> dict[str, Any]:
    of_kind = defaultdict(list)
    for name, row in truth.items():
        of_kind[row["fault"]].append(name)
    clean = of_kind[None]
    return {
        "found": {
            kind: f"{sum(kind in kinds[n] for n in of_kind[kind])}/{len(of_kind[kind])}" for kind in JUDGED_KINDS
        },
        "named_otherwise": {
            kind: dict(Counter(other for n in of_kind[kind] for other in kinds[n] if other != kind))
            for kind in JUDGED_KINDS
        },
        "false_alarms": f"{sum(bool(kinds[name]) for name in clean)}/{len(clean)}",
        "false_alarms_by_kind": dict(Counter(kind for name in clean for kind in kinds[name])),
    }


def duplicates(truth: dict[str, Any], groups: list[tuple[str, ...]]) -> dict[str, Any]:
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    original_of = {name: row["of"] for name, row in truth.items() if row["of"]}
    found = Counter(
        truth[name]["fault"]
        for name, original in original_of.items()
        if group_of.get(name, -1) == group_of.get(original)
    )
    planted = Counter(truth[name]["fault"] for name in original_of)
    wrong = 0
    for group in groups:
        wrong += len({original_of.get(name, name) for name in group}) > 1
    return {"duplicates": {kind: f"{found[kind]}/{planted[kind]}" for kind in planted}, "wrong_groups": wrong}


def other_voices(truth: dict[str, Any], voices: dict[str, np.ndarray]) -> dict[str, Any]:
    outliers = voice_outliers(voices, dict.fromkeys(voices, "speaker"))
    judged = Counter(truth[name]["fault"] or "clean" for name, voice in voices.items() if voice.any())
    found = Counter(truth[name]["fault"] or "clean" for name in outliers)
    return {"voices": {kind: f"{found[kind]}/{judged[kind]}" for kind in judged}}


if __name__ == "__main__":
    run_script(main)
