"""Import and load upstream packages without their messages, and without lasting changes to logging and threads."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def quiet_and_unchanged() -> Iterator[None]:
    """Silence upstream while it is imported or loaded, and restore logging, warnings and torch's number of threads.

    Upstream calls `logging.info`, which gives the root logger a handler: from then on every library would be heard.
    """
    threads, disabled = torch.get_num_threads(), logging.root.manager.disable
    handlers = list(logging.root.handlers)
    logging.disable(max(logging.INFO, disabled))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers
        torch.set_num_threads(threads)
