"""How well the embedded world's recogniser hears: character and word error rates, set by set.

No sentence of any set is in the training. "everyday", "numbers", "questions" and "names" use words that it heard often,
"rare" words that it heard in a few clips; 28 of the 78 words of "free" are in none. `--recogniser DIR` judges another.

    python -m benchmarks.nano_asr --output nano_asr.json
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import jiwer
import numpy as np
import safetensors.torch
import torch

from benchmarks.measuring import parser_of
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS
from calm_ft.errors import run_script
from calm_ft.metrics.embedded_recogniser import ASSET, EmbeddedASR, spoken_characters
from tools.nano.asr_corpus import read_codec
from tools.nano.assets import held_out_sentences
from tools.nano.codec_evaluation import render
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.everyday import spelled_out
from tools.nano.voices import DEMO_VOICE, FLOW_LM_VOICES, ZERO_SHOT_VOICES

SEED = 0
UNHEARD_VOICES = (DEMO_VOICE, *ZERO_SHOT_VOICES)
NOISE_DB = 15.0

# Plain English that no template made; some of the words stand in the training's lists, many do not.
FREE_SENTENCES = (
    "The rain had stopped before anyone noticed.",
    "Our neighbours grow tomatoes behind the garage.",
    "It takes patience to teach a parrot to whistle.",
    "Nobody expected the winter to last this long.",
    "She poured the coffee and unfolded her newspaper.",
    "A thousand swallows gathered along the telephone wires.",
    "He never explained where the money came from.",
    "The committee postponed its decision until autumn.",
    "Fresh snow muffled every footstep on the pavement.",
    "You could smell the bakery from across the square.",
    "Their youngest daughter studies chemistry in Vienna.",
    "Somebody had scribbled a phone number on the wall.",
)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--recogniser", type=Path, default=ASSET, help="its folder (default: the shipped one)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recogniser = EmbeddedASR(given.recogniser)
    weights = safetensors.torch.load_file(given.recogniser / "model.safetensors")
    figures = {
        "torch": torch.__version__,
        "num_parameters": sum(weight.numel() for weight in weights.values()),
        "num_bytes": (given.recogniser / "model.safetensors").stat().st_size,
        "made": json.loads((given.recogniser / "config.json").read_text(encoding="utf-8"))["made_by"],
        "sets": espeak_figures(recogniser),
    }
    write_text(given.output, json.dumps(figures, indent=2) + "\n")


Clip = tuple[str, np.ndarray]


def espeak_figures(recogniser: EmbeddedASR) -> dict[str, dict[str, float]]:
    """Rates on espeak-ng's speech, as it is, in noise, and through the embedded codec."""
    codec = read_codec(ASSETS / "nano")
    texts = {**held_out_sentences(SEED), "free": list(FREE_SENTENCES)}
    rows: dict[str, dict[str, float]] = {}
    for group, voices, stride in (("known voices", FLOW_LM_VOICES, 3), ("unheard voices", UNHEARD_VOICES, 1)):
        clips = {name: _spoken_by(voices, sentences) for name, sentences in texts.items()}
        few = clips["everyday"][::stride]
        clips |= {"everyday, noise": _noisy(few), "everyday, codec": [(t, render(codec, each)) for t, each in few]}
        for name, spoken in clips.items():
            rows[f"{group}, {name}"] = _rates(f"{group}, {name}", _hear(recogniser, spoken))
    for voice in UNHEARD_VOICES:
        rows[voice.name] = _rates(voice.name, _hear(recogniser, _spoken_by([voice], texts["everyday"])))
    return rows


def _spoken_by(voices: Iterable[EspeakVoice], sentences: Sequence[str]) -> list[Clip]:
    return [(text, synthesize(text, voice)) for voice in voices for text in sentences]


def _noisy(clips: Iterable[Clip]) -> list[Clip]:
    rng = np.random.default_rng(SEED)
    noisy = []
    for text, samples in clips:
        level = np.sqrt(np.mean(samples**2)) * 10 ** (-NOISE_DB / 20)
        noisy.append((text, samples + level * rng.standard_normal(len(samples)).astype(np.float32)))
    return noisy


def _hear(recogniser: EmbeddedASR, clips: Iterable[Clip]) -> list[tuple[str, str]]:
    return [(text, recogniser.transcribe(samples, SAMPLE_RATE_HZ)) for text, samples in clips]


def _rates(name: str, heard: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Error rates over a whole set of (what was to be said, what was heard), both reduced to spoken characters."""
    texts, transcripts = zip(
        *((spoken_characters(spelled_out(text)), spoken_characters(said)) for text, said in heard), strict=True
    )
    rates = {
        "cer": round(jiwer.cer(list(texts), list(transcripts)), 4),
        "wer": round(jiwer.wer(list(texts), list(transcripts)), 4),
        "num_clips": len(texts),
        "num_characters": sum(map(len, texts)),
        "num_words": sum(len(text.split()) for text in texts),
    }
    print(name, rates, flush=True)
    return rates


if __name__ == "__main__":
    run_script(main)
