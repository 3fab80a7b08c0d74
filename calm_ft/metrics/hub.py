"""Models from the Hugging Face hub for metrics: from the local cache, else from the hub, else a reason.

A hub out of reach is noticed in seconds: its client alone would try again for half a minute, model by model.
"""

import functools
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

from huggingface_hub import constants, hf_hub_download, snapshot_download

from calm_ft.hub_faults import one_line, quiet_hub
from calm_ft.metrics.base import ModelMissing

_CONNECT_TIMEOUT_SEC = 3.0


def fetch_file(repo: str, name: str) -> Path:
    """One file of a repository. Raises ModelMissing where it is neither cached nor to be had."""
    return fetch(lambda offline: hf_hub_download(repo, name, local_files_only=offline), f"{repo}/{name}")


def fetch_model(repo: str, patterns: list[str]) -> Path:
    """The folder with a repository's files of these patterns; a local folder is taken as it is.

    Raises ModelMissing where it is neither cached nor to be had.
    """
    if Path(repo).is_dir():
        return Path(repo)
    return fetch(lambda offline: snapshot_download(repo, allow_patterns=patterns, local_files_only=offline), repo)


def fetch(download: Callable[[bool], str], what: str) -> Path:
    """Where `download` put `what`; it takes whether it must do without the hub.

    Raises ModelMissing where it is neither cached nor to be had.
    """
    try:
        with quiet_hub():
            with suppress(Exception):  # not cached, whatever the client's error is called in this version
                return Path(download(True))
            if not _hub_answers():
                raise ModelMissing(
                    f"{what} is not in the local cache and the hub is out of reach: connect once to fetch it."
                )
            return Path(download(False))
    except ModelMissing:
        raise
    except Exception as error:  # as above
        raise ModelMissing(f"{what} could not be fetched ({one_line(error)}).") from error


@functools.cache
def _hub_answers() -> bool:
    """Whether the hub, or the proxy that leads to it, takes a connection."""
    if constants.HF_HUB_OFFLINE:
        return False
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlparse(proxy or constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=_CONNECT_TIMEOUT_SEC):
            return True
    except OSError:
        return False
