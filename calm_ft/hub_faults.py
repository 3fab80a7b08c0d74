"""What can fail in a download from the Hugging Face hub, in one sentence that says what to do."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from calm_ft.errors import UserError


def one_line(error: BaseException, max_characters: int = 200) -> str:
    """A library's message without its line breaks, cut to a length that fits into a sentence."""
    return " ".join(str(error).split())[:max_characters].rstrip(".")


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Within the context the hub's client keeps its warnings to itself: five retries say less than one sentence."""
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub_logger.setLevel(level)


@contextmanager
def hub_faults(path: str, repo: str, way_out: str, kind: str = "weights") -> Iterator[None]:
    """Within the context, failures of a download become one sentence.

    Args:
        path: what is downloaded, as the user named it.
        repo: user/name, whose page holds the terms; with `datasets/` before it for recordings.
        way_out: what to do where the hub is out of reach.
        kind: what `path` holds, in the plural.

    Raises UserError where the file is missing, the hub is out of reach, or the repository is gated.
    """
    try:
        with quiet_hub():
            yield
    except UserError:
        raise
    except GatedRepoError as error:
        raise UserError(
            f"The {kind} at {path} are gated: accept the terms at https://huggingface.co/{repo}, then log in with "
            "`hf auth login` (or set HF_TOKEN) and start again."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise UserError(
            f"The Hugging Face hub cannot be reached and {path} is not in its local cache: connect once, or {way_out}."
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"The hub has no {path}, or it is private: check the name, or log in with `hf auth login` (or set "
            "HF_TOKEN)."
        ) from error
    except Exception as error:  # whatever else: the hub's HTTP client, and its errors, change between versions
        raise UserError(
            f"{path} could not be downloaded ({one_line(error)}): check the path and the connection, or {way_out}."
        ) from error
