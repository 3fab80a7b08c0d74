"""Upload to the Hugging Face hub; every failure is one sentence that says what to do."""

from pathlib import Path

from huggingface_hub import HfApi

from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line


def is_remote(path: str) -> bool:
    """True for hf:// and http(s):// paths."""
    return path.startswith(("hf://", "http://", "https://"))


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
