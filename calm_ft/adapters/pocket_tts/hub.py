"""Files of a Pocket TTS, local or on the Hugging Face hub.

Upstream falls back silently to a bundle without voice cloning when the gated one cannot be read
(pocket_tts/models/tts_model.py, `_from_pydantic_config_with_weights`). Its Mimi encoder is all zeros, so encoding
recordings with it gives rubbish: here the gated file is asked for first, and its absence is said.
"""

from pathlib import Path

from pocket_tts.utils.utils import download_if_necessary

from calm_ft.adapters.hub import hub_faults, is_remote
from calm_ft.errors import UserError

LOCAL_WAY_OUT = (
    "download the model's folder elsewhere and pass adapter.local_dir=DIR (config.yaml or the released name, "
    "model.safetensors, tokenizer.json or .model)"
)


def fetch(path: str) -> Path:
    """The local file for a local, hf:// or https:// path.

    Raises UserError where the file is missing, the hub is out of reach, or the repository is gated.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise UserError(f"The model file {path} does not exist: check adapter.model and adapter.local_dir.")
        return Path(path)
    repo = "/".join(path.removeprefix("hf://").split("/")[:2])
    with hub_faults(path, repo, LOCAL_WAY_OUT):
        return download_if_necessary(path)
