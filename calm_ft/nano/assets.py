"""The demo voice and the judging voices, as ogg + txt pairs.

`demo_voice/train` (about 5 minutes) and `heldout` share no sentence with each other or with the
FlowLM's corpus. `judging_voices/<voice>` hold six clips each, for nearest-voice identification; the base
voice has all sentences of `demo_voice/heldout` and, as its last clip, one more to prompt it with, so that it can be
judged as the demo voice is.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import soundfile

from calm_ft.atomic_file import write_text
from calm_ft.nano.corpus import flow_lm_lines
from calm_ft.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from calm_ft.nano.everyday import EVERYDAY
from calm_ft.nano.voices import BASE_VOICE, DEMO_VOICE, JUDGING_VOICES, ZERO_SHOT_VOICES

NUM_TRAIN_CLIPS = 152
NUM_HELDOUT_CLIPS = 24
NUM_JUDGING_CLIPS = 6
_OGG_QUALITY = 0.6


def write_assets(directory: Path, seed: int) -> None:
    """Write `demo_voice/` and `judging_voices/` anew; the same seed gives the same sentences."""
    taken = {line.text for line in flow_lm_lines(seed)}
    heldout = EVERYDAY.make_sentences(NUM_HELDOUT_CLIPS, seed=seed, stream="heldout", taken=taken)
    train = EVERYDAY.make_sentences(NUM_TRAIN_CLIPS, seed=seed, stream="demo_train", taken=taken | set(heldout))
    candidates = EVERYDAY.make_sentences(20, seed=seed, stream="base_prompt", taken=taken | {*heldout, *train})
    prompt = max(candidates, key=len)
    _write_voice(directory / "demo_voice" / "train", DEMO_VOICE, train)
    _write_voice(directory / "demo_voice" / "heldout", DEMO_VOICE, heldout)
    shutil.rmtree(directory / "judging_voices", ignore_errors=True)
    for voice in (*JUDGING_VOICES, *ZERO_SHOT_VOICES):
        texts = [*heldout, prompt] if voice == BASE_VOICE else heldout[:NUM_JUDGING_CLIPS]
        _write_voice(directory / "judging_voices" / voice.name, voice, texts)


def _write_voice(directory: Path, voice: EspeakVoice, texts: Sequence[str]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for number, text in enumerate(texts):
        path = directory / f"{number:03d}.ogg"
        samples = synthesize(text, voice)
        soundfile.write(
            path, samples, SAMPLE_RATE_HZ, format="OGG", subtype="VORBIS", compression_level=1 - _OGG_QUALITY
        )
        write_text(path.with_suffix(".txt"), text + "\n")
