"""What is found of a second voice that speaks at the same time, and how many clean clips are suspected.

Clips are two prompts of one of five voices (Debian's `asterisk-core-sounds-*`, 8 kHz, noise 45 dB under them). A prompt
of another person is mixed in, over the whole clip, for a second or for half a second of its louder parts, 0, 6 or 12 dB
below. The prompts of each voice are halved by a hash of their names: the limits of `preparation/sound/overlap.py` were
chosen on the first half, and the second half judges them. "Other faults" are clips of one voice that are spoilt
otherwise; what is suspected among the reverberant ones is not named by `prepare.py`.

    apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav asterisk-moh-opsound-wav
    python -m benchmarks.preparation_overlap --output preparation_overlap.json
"""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from benchmarks import measuring
from benchmarks.preparation_data import (
    LEVELS_BELOW_DB,
    RATE_HZ,
    SOUND_FAULTS,
    VOICES,
    Planted,
    Prompt,
    Sound,
    pairs,
    prompts,
    with_voice,
)
from calm_ft.atomic_file import write_text
from calm_ft.errors import run_script
from calm_ft.preparation.sound.overlap import overlap_faults, overlap_model, overlap_sec
from calm_ft.progress import Progress

LENGTHS = {"whole clip": None, "1 s": 1.0, "0.5 s": 0.5}
ONE_PERSON = {"en", "es"}  # both voices are Allison Smith's
OTHER_FAULTS = ("noisy", "reverberant", "music", "clipped", "narrow_band")


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument(
        "--per-voice", type=measuring.positive, default=20, help="clips of each voice, level and length"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    results = {"machine": measuring.machine(), "half_1_chose": {}, "half_2_judges": {}}
    overlap_model()
    for number, name in enumerate(("half_1_chose", "half_2_judges")):
        results[name] = measured(number, given.per_voice, np.random.default_rng((given.seed, number)))
        print(name, json.dumps(results[name], indent=1))
    write_text(given.output, json.dumps(results, indent=1) + "\n")


def measured(half: int, per_voice: int, rng: np.random.Generator) -> dict[str, object]:
    """Of each kind of clips how many are suspected, and the speed on one thread."""
    found: dict[str, list[bool]] = defaultdict(list)
    sound_sec = spent_sec = 0.0
    with Progress("measuring", unit="clip") as progress:
        for kind, samples in clips(half, per_voice, rng):
            started = time.process_time()
            seconds = overlap_sec(samples, RATE_HZ)
            spent_sec += time.process_time() - started
            sound_sec += len(samples) / RATE_HZ
            found[kind].append(bool(overlap_faults(seconds, ())))
            progress.update()
    suspected = {kind: f"{sum(hits)}/{len(hits)}" for kind, hits in found.items()}
    return {"suspected": suspected, "minutes": round(sound_sec / 60), "x_real_time": round(sound_sec / spent_sec)}


def clips(half: int, per_voice: int, rng: np.random.Generator) -> Iterator[tuple[str, Sound]]:
    """Kind and samples [T] of every clip of a half."""
    of = {language: [each for each in prompts(language) if is_usable(each, half)] for language in VOICES}
    for language, own in of.items():
        clean = pairs(own, rng)
        for _ in range(5 * per_voice):
            yield "clean", next(clean).samples
        others = [name for name in of if name != language and {name, language} != ONE_PERSON]
        for length, seconds in LENGTHS.items():
            for below_db in LEVELS_BELOW_DB:
                for _ in range(per_voice):
                    second = of[others[rng.integers(len(others))]]
                    mixed = with_voice(next(clean).samples, second, below_db, seconds, rng)
                    yield f"{length}, {below_db:.0f} dB below", mixed
        for fault in OTHER_FAULTS:
            for _ in range(per_voice):
                yield fault, at_8_khz(SOUND_FAULTS[fault](next(clean), rng))


def is_usable(prompt: Prompt, half: int) -> bool:
    in_half = hashlib.sha256(prompt.name.encode()).digest()[0] % 2 == half
    return in_half and 0.8 < len(prompt.samples) / RATE_HZ < 8 and float(np.abs(prompt.samples).max()) > 0.01


def at_8_khz(clip: Planted) -> Sound:
    return clip.samples if clip.rate_hz == RATE_HZ else resample_poly(clip.samples, 1, clip.rate_hz // RATE_HZ)


if __name__ == "__main__":
    run_script(main)
