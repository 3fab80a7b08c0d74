"""Speak a text with an export, a run, or a released model."""

import argparse
from pathlib import Path

from calm_ft.commands import quick_imports, words_of
from calm_ft.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(prog=" ".join(words_of("synthesize")), description=__doc__)
    parser.add_argument(
        "model", help="an export's or run's folder, a yaml, an hf:// yaml, a released config name, or chatterbox"
    )
    parser.add_argument("--text", required=True)
    parser.add_argument(
        "--voice",
        help="audio file, voice.safetensors, conds.pt, or the name of a voice of the library or of an upstream one "
        "(default: the export's)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the wav file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--temperature",
        type=float,
        help="Pocket TTS: variance of the noise; Chatterbox: of T3's softmax (default: the model's)",
    )
    parser.add_argument(
        "--num-steps", type=int, help="flow steps (default: Pocket TTS 1 a frame, Chatterbox 10 a text)"
    )
    parser.add_argument(
        "--cfg-coef",
        type=float,
        help="guidance, where the model has a null branch: 1 is none, 2 is usual for 24-layer Pocket TTS models "
        "(default: the model's)",
    )
    parser.add_argument("--lora", type=Path, help="a run's lora.safetensors, to be folded into the base model")
    parser.add_argument(
        "--quantize", action="store_true", help="play with int8 weights, which takes less time at the released sizes"
    )
    arguments = parser.parse_args()
    with quick_imports():
        from calm_ft.runs import synthesize_to_file, written_line  # late: torch takes seconds, --help none

    print(written_line(synthesize_to_file(**vars(arguments)), arguments.output))


if __name__ == "__main__":
    run_script(main)
