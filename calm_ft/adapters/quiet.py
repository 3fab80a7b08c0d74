"""Upstream packages as they should load: heard by nobody, leaving logging and threads as they were."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def quiet_and_unchanged() -> Iterator[None]:
    """Upstream logs by `logging.info`, which gives the root logger a handler: every library would be heard.

    Importing or loading may also set torch's threads, and warn of what is deprecated in libraries below it.
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
