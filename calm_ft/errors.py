"""The one exception that is the user's to mend, and the scripts' outer wrapper around it.

Whatever raises `UserError` says in one sentence what is wrong, where, and how to mend it. The wrapper prints that
sentence and exits with code 2; every other exception is a bug and keeps its traceback (code 1).
"""

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Input that cannot be used: a missing folder, an unknown model name, a negative rate."""


def exit_with(message: str) -> NoReturn:
    """Say one sentence on stderr and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def run_script(main: Callable[[], object]) -> None:
    """Run a script's main function with the exit codes that people and shells rely on."""
    try:
        main()
    except UserError as error:
        exit_with(str(error))
