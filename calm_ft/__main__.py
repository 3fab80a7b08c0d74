"""All commands under one name: calm-ft train, calm-ft evaluate, ..."""

import runpy
import sys

from calm_ft.commands import COMMANDS, PROGRAM
from calm_ft.errors import UserError, run_script


def main() -> None:
    """Run the command that the first argument names with the arguments behind it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        raise UserError(f"There is no command {name}: choose one of {', '.join(COMMANDS)}.")
    del sys.argv[1]
    # As `python -m calm_ft.NAME` does, so that Lightning starts the other processes of a run in the same way.
    runpy.run_module(f"calm_ft.{name}", run_name="__main__", alter_sys=True)


def usage() -> str:
    """One line a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...", "", *lines, "", f"{PROGRAM} COMMAND --help says what it takes."])


def program() -> None:
    """The console script."""
    run_script(main)


if __name__ == "__main__":
    program()
