"""Build the embedded miniature model and its voices from espeak-ng speech; needs `pip install 'calm_ft[nano]'`.

Stages run in the order corpus, codec, tokenizer, flow_lm (the teacher), student, one_step (its flow head), bundle,
assets, asr (a recogniser of this speech, which needs none of the others). Each keeps what an earlier call finished: a
killed build goes on with the same command.
"""

import argparse
from pathlib import Path

from calm_ft.errors import UserError, run_script

STAGES = ("corpus", "codec", "tokenizer", "flow_lm", "student", "one_step", "bundle", "assets", "asr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True, help="working folder of the build (about 3 GB)")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all", help="run one stage only (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--codec-steps", type=int, default=9000, help="about 0.2 s each on one core (default: 9000)")
    parser.add_argument("--asr-steps", type=int, default=11_000, help="about 0.2 s each on one core (default: 11000)")
    parser.add_argument(
        "--asr-without",
        nargs="*",
        default=[],
        metavar="VARIANT",
        help="espeak-ng voices that the recogniser does not hear: with another --seed, a second judge apart from it",
    )
    parser.add_argument(
        "--assets-dir", type=Path, help="where the stages 'assets' and 'asr' write (default: OUTPUT_DIR/assets)"
    )
    parser.add_argument(
        "train_overrides", nargs="*", help="further settings for scripts/train.py in flow_lm, student and one_step"
    )
    arguments = parser.parse_args()
    if min(arguments.codec_steps, arguments.asr_steps) < 1:
        raise UserError("--codec-steps and --asr-steps must be at least 1.")
    for stage in STAGES if arguments.stage == "all" else (arguments.stage,):
        print(f"stage {stage}", flush=True)
        run_stage(stage, arguments)


def run_stage(stage: str, arguments: argparse.Namespace) -> None:
    from tools.nano import assets, stages  # after the arguments, so that --help answers at once
    from tools.nano.asr_training import AsrRecipe
    from tools.nano.codec_training import CodecRecipe

    assets_dir = arguments.assets_dir or arguments.output_dir / "assets"
    folder, seed = stages.BuildFolder(arguments.output_dir), arguments.seed
    run = {
        "corpus": lambda: stages.build_corpus(folder, seed),
        "codec": lambda: stages.build_codec(folder, CodecRecipe(num_steps=arguments.codec_steps, seed=seed)),
        "tokenizer": lambda: stages.build_tokenizer(folder),
        "flow_lm": lambda: stages.train_flow_lm(folder, seed, arguments.train_overrides),
        "student": lambda: stages.train_student(folder, seed, arguments.train_overrides),
        "one_step": lambda: stages.train_one_step(folder, seed, arguments.train_overrides),
        "bundle": lambda: stages.build_bundle(folder, seed),
        "assets": lambda: assets.write_assets(assets_dir, seed),
        "asr": lambda: stages.build_asr(
            folder,
            AsrRecipe(num_steps=arguments.asr_steps, seed=seed),
            assets_dir / "nano_asr",
            arguments.asr_without,
        ),
    }
    run[stage]()


if __name__ == "__main__":
    run_script(main)
