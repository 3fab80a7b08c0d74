"""Download from and upload to the Hugging Face hub; every failure is one sentence that says what to do."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from calm_ft.errors import UserError


def is_remote(path: str) -> bool:
    """True for hf:// and http(s):// paths."""
    return path.startswith(("hf://", "http://", "https://"))


def one_line(error: BaseException, max_characters: int = 200) -> str:
    """A library's message without its line breaks, cut to a length that fits into a sentence."""
    return " ".join(str(error).split())[:max_characters].rstrip(".")


@contextmanager
def hub_faults(path: str, repo: str, way_out: str) -> Iterator[None]:
    """Within the context, failures of a download become one sentence.

    Args:
        path: what is downloaded, as the user named it; repo: user/name, whose page holds the terms.
        way_out: what to do where the hub is out of reach.

    Raises UserError where the file is missing, the hub is out of reach, or the repository is gated.
    """
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # five retry warnings say less than the sentence below
    try:
        yield
    except UserError:
        raise
    except GatedRepoError as error:
        raise UserError(
            f"The weights at {path} are gated: accept the terms at https://huggingface.co/{repo}, then log in with "
            "`hf auth login` (or set HF_TOKEN) and start again."
        ) from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"The Hugging Face hub cannot be reached and {path} is not in its local cache: connect once, or {way_out}."
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(f"The hub has no {path} (or it is private to another login): check the name.") from error
    except Exception as error:  # whatever else: the hub's HTTP client, and its errors, change between versions
        raise UserError(
            f"{path} could not be downloaded ({one_line(error)}): check the path and the connection, or {way_out}."
        ) from error
    finally:
        hub_logger.setLevel(level)


def check_repo_name(repo: str) -> None:
    """Raises UserError for a name that is not user/repo."""
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UserError(f"--hub takes user/repo, not {repo!r}.")


def upload(folder: Path, repo: str) -> None:
    """Upload a folder to a repository, privately where it is new.

    Raises UserError without a login or a connection.
    """
    try:
        api = HfApi()
        api.create_repo(repo, exist_ok=True, private=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder))
    except Exception as error:  # as above
        raise UserError(
            f"The export could not be pushed to {repo} ({one_line(error)}): log in with `hf auth login`, check the "
            "name user/repo and the connection; the local export is untouched."
        ) from error
