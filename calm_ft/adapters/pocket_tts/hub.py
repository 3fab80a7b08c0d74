"""Files of a model, local or on the Hugging Face hub; every way to fail is one sentence with the way out.

Upstream falls back silently to a bundle without voice cloning when the gated one cannot be read
(pocket_tts/models/tts_model.py, `_from_pydantic_config_with_weights`). Its Mimi encoder is all zeros, so
encoding
recordings with it gives rubbish: here the gated file is asked for first, and its absence is said.
"""

import logging
from pathlib import Path

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from pocket_tts.utils.utils import download_if_necessary

from calm_ft.errors import UserError

LOCAL_WAY_OUT = (
    "download the model's folder elsewhere and pass adapter.local_dir=DIR (config.yaml or the released name, "
    "model.safetensors, tokenizer.json or .model)"
)


def is_remote(path: str) -> bool:
    """True for hf:// and http(s):// paths."""
    return path.startswith(("hf://", "http://", "https://"))


def one_line(error: BaseException, max_characters: int = 200) -> str:
    """A library's message without its line breaks, cut to a length that fits into a sentence."""
    return " ".join(str(error).split())[:max_characters].rstrip(".")


def fetch(path: str) -> Path:
    """The local file for a local, hf:// or https:// path.

    Raises UserError where the file is missing, the hub is out of reach, or the repository is gated.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise UserError(f"The model file {path} does not exist: check adapter.model and adapter.local_dir.")
        return Path(path)
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # five retry warnings say less than the sentence below
    try:
        return download_if_necessary(path)
    except GatedRepoError as error:
        repo = "/".join(path.removeprefix("hf://").split("/")[:2])
        raise UserError(
            f"The weights at {path} are gated: accept the terms at https://huggingface.co/{repo}, then log "
            "in with "
            "`hf auth login` (or set HF_TOKEN) and start again."
        ) from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"The Hugging Face hub cannot be reached and {path} is not in its local cache: connect once, or "
            f"{LOCAL_WAY_OUT}."
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(f"The hub has no {path} (or it is private to another login): check the name.") from error
    except Exception as error:  # whatever else: the hub's HTTP client, and its errors, change between versions
        raise UserError(
            f"{path} could not be downloaded ({one_line(error)}): check the path and the connection, or "
            f"{LOCAL_WAY_OUT}."
        ) from error
    finally:
        hub_logger.setLevel(level)
