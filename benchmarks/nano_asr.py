"""How well the embedded world's recogniser hears: character and word error rates, set by set.

No sentence of any set is in the training. Half of the words of "everyday" are in 240 of its clips or more, half of
those of "templates" in 11 or more, and 33 of the 78 words of "free" in none. Speech by the embedded model is zero-shot:
its rates hold the model's own slips too, and say how the recogniser serves, not how well it hears.

    python -m benchmarks.nano_asr --output nano_asr.json
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

import jiwer
import numpy as np
import safetensors.torch
import torch
from rapidfuzz.distance import Levenshtein

from benchmarks.measuring import parser_of
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS, compose_config, experiment_from
from calm_ft.errors import run_script
from calm_ft.metrics.embedded_recogniser import ASSET, EmbeddedASR, spoken_characters
from calm_ft.randomness import derive_seed
from tools.nano.asr_corpus import read_codec
from tools.nano.assets import held_out_sentences
from tools.nano.codec_evaluation import render
from tools.nano.espeak import SAMPLE_RATE_HZ, EspeakVoice, synthesize
from tools.nano.voices import BASE_VOICE, DEMO_VOICE, FLOW_LM_VOICES, JUDGING_VOICES, REPLAY_VOICES, ZERO_SHOT_VOICES

SEED = 0
UNHEARD_VOICES = (DEMO_VOICE, *ZERO_SHOT_VOICES)
KNOWN_TO_NANO = (BASE_VOICE, REPLAY_VOICES[0])
NUM_SPOKEN = 24  # the demo's held-out sentences, which the judges of runs use
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
    output = parser.parse_args().output
    torch.set_num_threads(1)
    recogniser = EmbeddedASR()
    weights = safetensors.torch.load_file(ASSET / "model.safetensors")
    figures = {
        "torch": torch.__version__,
        "num_parameters": sum(weight.numel() for weight in weights.values()),
        "num_bytes": (ASSET / "model.safetensors").stat().st_size,
        "made": json.loads((ASSET / "config.json").read_text(encoding="utf-8"))["made_by"],
        "sets": {**espeak_figures(recogniser), **nano_figures(recogniser)},
    }
    write_text(output, json.dumps(figures, indent=2) + "\n")


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


def nano_figures(recogniser: EmbeddedASR) -> dict[str, dict[str, float]]:
    """Rates on what the embedded model speaks from one clip of a voice.

    `nearest_sentence`: how often what was heard is nearer to the clip's own sentence than to any other of the set.
    """
    adapter = experiment_from(compose_config(["adapter=nano", "logger=csv"])).adapter_factory().eval()
    sentences = held_out_sentences(SEED)["everyday"][:NUM_SPOKEN]
    heard = {
        voice.name: _hear(recogniser, _by_nano(adapter, sentences, _prompt(voice)))
        for voice in (*KNOWN_TO_NANO, *UNHEARD_VOICES)
    }
    groups = {"known voices": KNOWN_TO_NANO, "unheard voices": UNHEARD_VOICES}
    groups |= {voice.name: (voice,) for voice in (*KNOWN_TO_NANO, *UNHEARD_VOICES)}
    rows = {}
    for group, voices in groups.items():
        pairs = [pair for voice in voices for pair in heard[voice.name]]
        rows[f"nano, {group}"] = {
            **_rates(f"nano, {group}", pairs),
            "nearest_sentence": round(mean(_nearest(said, sentences) == text for text, said in pairs), 4),
        }
    return rows


def _nearest(heard: str, sentences: Sequence[str]) -> str:
    return min(sentences, key=lambda text: Levenshtein.distance(spoken_characters(text), heard) / len(text))


def _prompt(voice: EspeakVoice) -> Path:
    if voice == DEMO_VOICE:
        return ASSETS / "demo_voice" / "train" / "000.ogg"
    folder = "judging_voices" if voice in (*JUDGING_VOICES, *ZERO_SHOT_VOICES) else "base_voices"
    return sorted((ASSETS / folder / voice.name).glob("*.ogg"))[-1]


def _spoken_by(voices: Iterable[EspeakVoice], sentences: Sequence[str]) -> list[Clip]:
    return [(text, synthesize(text, voice)) for voice in voices for text in sentences]


def _noisy(clips: Iterable[Clip]) -> list[Clip]:
    rng = np.random.default_rng(SEED)
    noisy = []
    for text, samples in clips:
        level = np.sqrt(np.mean(samples**2)) * 10 ** (-NOISE_DB / 20)
        noisy.append((text, samples + level * rng.standard_normal(len(samples)).astype(np.float32)))
    return noisy


def _by_nano(adapter: PocketTTSAdapter, sentences: Sequence[str], prompt: Path) -> list[Clip]:
    seeds = [derive_seed(SEED, "nano_asr", index) for index in range(len(sentences))]
    spoken = adapter.synthesize(sentences, adapter.load_voice(prompt), seeds)
    return [(text, each.audio.numpy()) for text, each in zip(sentences, spoken, strict=True)]


def _hear(recogniser: EmbeddedASR, clips: Iterable[Clip]) -> list[tuple[str, str]]:
    return [(text, recogniser.transcribe(samples, SAMPLE_RATE_HZ)) for text, samples in clips]


def _rates(name: str, heard: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Error rates over a whole set of (what was to be said, what was heard), both reduced to spoken characters."""
    texts, transcripts = zip(*((spoken_characters(text), spoken_characters(said)) for text, said in heard), strict=True)
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
