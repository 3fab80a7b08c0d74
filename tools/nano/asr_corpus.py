"""What the recogniser of the embedded world hears: espeak-ng's clips, and some of them through the embedded codec.

The clean clips are the FlowLM's 24 voices with many sentences and the codec's many voices with a few; half of the
sentences are everyday ones, as those that the embedded model is judged by. Every fourth clip is there once more,
encoded and decoded by the codec with noise on its latents, as a FlowLM's latents have errors. The embedded model's own
speech is no part of it: a recogniser trained on that would learn to hear what was meant instead of what was said.
"""

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import soundfile
import torch
from pocket_tts.models.mimi import MimiModel
from tqdm import tqdm

from calm_ft.atomic_file import atomic_path
from calm_ft.randomness import make_rng
from tools.nano.assets import reserved_sentences
from tools.nano.bundle import read_state
from tools.nano.codec_forward import decode, encode
from tools.nano.corpus import NUM_CODEC_SETTINGS, Line, two_grammars
from tools.nano.espeak import SAMPLE_RATE_HZ
from tools.nano.everyday import spelled_out
from tools.nano.files import write_json_lines
from tools.nano.shape import build_codec
from tools.nano.voices import FLOW_LM_VOICES, make_codec_voices

CODED_STRIDE = 4
MAX_LATENT_NOISE_STD = 0.7


def asr_lines(seed: int, *, num_each: tuple[int, int] = (200, 12), left_out: Collection[str] = ()) -> list[Line]:
    """The training clips: `num_each` sentences of either grammar by each of the 24 voices, and of the many voices.

    Their numbers are spelled out, for the recogniser writes letters only.

    `left_out` names espeak variants that are not heard, for a second recogniser that is to judge otherwise.
    """
    taken = reserved_sentences(seed=0)
    many_voices = make_codec_voices(NUM_CODEC_SETTINGS, seed=seed)
    lines: list[Line] = []
    for voices, number in zip((FLOW_LM_VOICES, many_voices), num_each, strict=True):
        for voice in voices:
            if voice.variant not in left_out:
                said = two_grammars(voice, number, number, seed=seed, stream="asr", taken=taken)
                spelled = (replace(line, text=spelled_out(line.text)) for line in said)
                lines.extend(line for line in spelled if line.text not in taken)
    return lines


def read_codec(bundle: Path) -> MimiModel:
    """The codec of a bundle folder, in evaluation mode."""
    codec = build_codec()
    prefix = "mimi."
    state = read_state(bundle)
    codec.load_state_dict(
        {name.removeprefix(prefix): tensor.float() for name, tensor in state.items() if name.startswith(prefix)}
    )
    return codec.eval()


def write_coded_corpus(directory: Path, clean: Path, lines: Sequence[Line], codec: MimiModel, seed: int) -> Path:
    """Every `CODED_STRIDE`th clip of the folder `clean` through the codec, and its manifest, whose path is returned.

    Clips that are there already are kept.
    """
    numbers = range(0, len(lines), CODED_STRIDE)
    for number in tqdm(numbers, desc="clips through the codec", disable=not sys.stderr.isatty(), dynamic_ncols=True):
        path = directory / lines[number].path
        if not path.exists():
            _write_coded(clean / lines[number].path, path, codec, seed, number)
    manifest = directory / "manifest.jsonl"
    chosen = (lines[number] for number in numbers)
    rows = ({"path": line.path, "text": line.text, "speaker": line.voice.name} for line in chosen)
    write_json_lines(manifest, rows)
    return manifest


@torch.no_grad()
def _write_coded(source: Path, path: Path, codec: MimiModel, seed: int, number: int) -> None:
    samples = torch.from_numpy(soundfile.read(source, dtype="float32")[0])
    latents = encode(codec, samples.reshape(1, 1, -1))
    rng = make_rng(seed, "asr_latent_noise", number)
    std = MAX_LATENT_NOISE_STD * torch.rand((), generator=rng)
    noisy = latents + std * torch.randn(latents.shape, generator=rng)
    coded = decode(codec, noisy).flatten()[: len(samples)].clamp(-1, 1)
    with atomic_path(path) as partial:
        soundfile.write(partial, coded.numpy(), SAMPLE_RATE_HZ, subtype="PCM_16")
