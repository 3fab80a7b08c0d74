"""Keep voices by name: recordings, with what each system makes of them. Speak only in voices whose owners agreed."""

import argparse
from pathlib import Path

from calm_ft.commands import words_of
from calm_ft.errors import run_script

MODEL_TO_PLAY = "english_2026-10"


def main() -> None:
    parser = argparse.ArgumentParser(prog=" ".join(words_of("voices")), description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|remove|play")
    add = actions.add_parser("add", help="keep recordings under a name")
    add.add_argument("name", help="letters, digits, hyphens, dots and underscores")
    add.add_argument(
        "recordings",
        nargs="+",
        type=Path,
        metavar="RECORDING",
        help="audio files, six to twelve seconds in all; or one voice.safetensors or conds.pt, which its own system "
        "alone can read",
    )
    add.add_argument("--licence", default="", metavar="TEXT", help="under which terms the recordings may be used")
    add.add_argument("--consent", default="", metavar="TEXT", help="who agreed to what, and when")
    add.add_argument("--model", help="make the voice for this model now: what --voice speaks with at first use else")
    add.add_argument("--replace", action="store_true", help="in the place of a voice of that name")
    actions.add_parser("list", help="names, lengths, notes, and the systems that have made each voice")
    remove = actions.add_parser("remove", help="remove one voice with all that was made of it")
    remove.add_argument("name")
    play = actions.add_parser("play", help="speak a text in a voice")
    play.add_argument("name")
    play.add_argument("--text", required=True)
    play.add_argument("--output", type=Path, required=True, help="the wav file to write")
    play.add_argument(
        "--model",
        default=MODEL_TO_PLAY,
        help=f"what speaks, as synthesize takes it (default: {MODEL_TO_PLAY}, which is downloaded)",
    )
    play.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Late: torch takes seconds, --help none.
    from calm_ft.runs import voices

    if arguments.action == "add":
        lines = voices.add_voice(
            arguments.name,
            arguments.recordings,
            arguments.licence,
            arguments.consent,
            arguments.model,
            arguments.replace,
        )
    elif arguments.action == "list":
        lines = voices.voice_lines()
    elif arguments.action == "remove":
        lines = voices.remove_voice(arguments.name)
    else:
        lines = voices.play_voice(arguments.name, arguments.text, arguments.model, arguments.output, arguments.seed)
    print("\n".join(lines))


if __name__ == "__main__":
    run_script(main)
