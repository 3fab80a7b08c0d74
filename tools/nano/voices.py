"""Who speaks: the held-out voices, the FlowLM's 24 voices, and many more made of espeak-ng's variants.

`HELD_OUT_VARIANTS` stand in no training list: Annie is the demo voice, f5 and klatt4 judge zero-shot
cloning.
"""

import random
from collections.abc import Callable
from typing import Any

from calm_ft.randomness import derive_seed
from tools.nano.espeak import EspeakVoice, list_variants

DEMO_VOICE = EspeakVoice("Annie", "Annie")
ZERO_SHOT_VOICES = (EspeakVoice("f5", "f5"), EspeakVoice("klatt4", "klatt4"))
HELD_OUT_VARIANTS = frozenset({"Annie", "f5", "klatt4"})

# Effects rather than people: whispers, choruses of robots, and near copies at another speed.
_EFFECT_VARIANTS = frozenset(
    {"AnxiousAndy", "Demonic", "Tweaky", "UniRobot", "anikaRobot", "croak", "fast", "whisper", "whisperf"}
    | {"robosoft"}
    | {f"robosoft{number}" for number in range(2, 9)}
)

_US, _GB, _SCOTS, _RP, _CARIBBEAN, _NYC = "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc"
CODEC_ACCENTS = (_US, _GB, _SCOTS, _RP, _CARIBBEAN, _NYC, "en-gb-x-gbclan", "en-gb-x-gbcwmd")

MAX_TRACT_CHANGE = 0.12
OTHER_ACCENT_SHARE = 0.5

FLOW_LM_VOICES = (
    EspeakVoice("f1", "f1"),
    EspeakVoice("f2", "f2"),
    EspeakVoice("f3", "f3", _GB, 55, 55, 165),
    EspeakVoice("f4", "f4", _US, 45, 50, 175),
    EspeakVoice("belinda", "belinda"),
    EspeakVoice("linda", "linda", _GB, 52, 45, 170),
    EspeakVoice("alicia", "Alicia"),
    EspeakVoice("andrea", "Andrea", _US, 50, 50, 160),
    EspeakVoice("steph", "steph", _US, 55, 60, 175),
    EspeakVoice("aunty", "aunty", _RP, 45, 50, 165),
    EspeakVoice("anika", "anika", _US, 50, 50, 155),
    EspeakVoice("grandma", "grandma", _SCOTS, 50, 50, 165),
    EspeakVoice("alex", "Alex"),
    EspeakVoice("andy", "Andy"),
    EspeakVoice("denis", "Denis", _GB, 50, 50, 165),
    EspeakVoice("michael", "Michael"),
    EspeakVoice("reed", "Reed"),
    EspeakVoice("adam", "adam", _US, 45, 45, 175),
    EspeakVoice("david", "david", _GB, 55, 55, 175),
    EspeakVoice("john", "john"),
    EspeakVoice("m3", "m3"),
    EspeakVoice("m7", "m7", _SCOTS, 45, 45, 170),
    EspeakVoice("max", "max", _US, 60, 50, 170),
    EspeakVoice("storm", "Storm", _RP, 40, 50, 165),
)


def codec_variants() -> list[str]:
    """The espeak variants that the codec hears: all that sound like people, less the held-out ones."""
    return [name for name in list_variants() if name not in _EFFECT_VARIANTS | HELD_OUT_VARIANTS]


def make_codec_voices(num_settings: int, *, seed: int) -> list[EspeakVoice]:
    """Every codec variant with `num_settings` random accents, pitches, ranges and rates."""

    def draw(rng: random.Random) -> dict[str, Any]:
        pitch, pitch_range, rate = rng.randint(20, 85), rng.randint(20, 80), rng.randint(135, 205)
        return {"accent": rng.choice(CODEC_ACCENTS), "pitch": pitch, "pitch_range": pitch_range, "rate_wpm": rate}

    return _random_voices(num_settings, seed, "codec_voice", draw)


def make_many_voices(num_settings: int, *, seed: int) -> list[EspeakVoice]:
    """Every codec variant with `num_settings` random accents, pitches, ranges, rates and vocal tracts.

    Voices from which a FlowLM learns to follow a prompt: the more there are, the more of them lie near a new one.
    """

    def draw(rng: random.Random) -> dict[str, Any]:
        pitch, pitch_range, rate = rng.randint(20, 80), rng.randint(20, 80), rng.randint(140, 195)
        tract = round(1 + rng.uniform(-MAX_TRACT_CHANGE, MAX_TRACT_CHANGE), 2)
        accent = rng.choice(CODEC_ACCENTS) if rng.random() < OTHER_ACCENT_SHARE else _US
        return {"accent": accent, "pitch": pitch, "pitch_range": pitch_range, "rate_wpm": rate, "tract": tract}

    return _random_voices(num_settings, seed, "many_voices", draw)


def _random_voices(
    num_settings: int, seed: int, stream: str, draw: Callable[[random.Random], dict[str, Any]]
) -> list[EspeakVoice]:
    return [
        EspeakVoice(
            f"{variant.replace(' ', '_')}-{setting}",
            variant,
            **draw(random.Random(derive_seed(seed, f"{stream}.{variant}", setting))),
        )
        for variant in codec_variants()
        for setting in range(num_settings)
    ]


_BY_NAME = {voice.name: voice for voice in FLOW_LM_VOICES}

# The voice that shows what tuning costs the others, and seven more for a voice to be told from.
BASE_VOICE = _BY_NAME["belinda"]
JUDGING_VOICES = tuple(_BY_NAME[name] for name in ("alicia", "f2", "f4", "belinda", "linda", "adam", "reed", "david"))

# Mixed into tuning so that they are not forgotten: of the 16 voices that judge nothing, the eight with the lowest
# validation residual of the untuned base, lowest first (benchmarks/known_voices.py).
REPLAY_VOICES = tuple(_BY_NAME[name] for name in ("denis", "alex", "steph", "max", "f1", "m3", "storm", "john"))
