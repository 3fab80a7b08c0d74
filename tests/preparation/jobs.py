"""Jobs that other processes can import."""

import os
import time

LONG_SEC = 100.0


def double(number: int) -> int:
    return 2 * number


def end_process_at_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return 2 * number


def process_id(_: int) -> int:
    return os.getpid()


def sleep_unless_zero(number: int) -> int:
    time.sleep(LONG_SEC if number else 0)
    return number
