"""From the hub, a folder or a seed to loaded networks, checked before anything is encoded.

Upstream loads S3Gen without strictness (chatterbox/tts.py, `from_local`); here only the two buffers that upstream
itself computes may be missing.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from calm_ft.adapters.chatterbox.files import (
    CONDITIONALS,
    FULL_WIDTH,
    REQUIRED_FILES,
    S3GEN_WEIGHTS,
    T3_WEIGHTS,
    TINY,
    TINY_WIDTH,
    TOKENIZER,
    VOICE_ENCODER,
    t3_width,
)
from calm_ft.adapters.chatterbox.models import ChatterboxModels, full_size
from calm_ft.adapters.chatterbox.tiny import TOKENIZER_FILE as TINY_TOKENIZER
from calm_ft.adapters.chatterbox.tiny import tiny_models
from calm_ft.adapters.hub import hub_faults, one_line
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.errors import UserError

COMPUTED_BUFFERS = {"tokenizer._mel_filters", "tokenizer.window"}
WAY_OUT = f"download its files elsewhere and pass adapter.local_dir=DIR ({', '.join(REQUIRED_FILES)})"


def load_models(model: str, local_dir: str | None, seed: int = 0) -> ChatterboxModels:
    """Networks of a local folder, of the hub's repository `model`, or, for the model "tiny", of the seed; on the CPU.

    Raises UserError where a file is missing, damaged, out of reach or of another model.
    """
    if local_dir is None and model == TINY:
        return tiny_models(seed)
    files = _local_files(local_dir) if local_dir is not None else _hub_files(model)
    build = _architecture(files[T3_WEIGHTS])
    with quiet_and_unchanged():
        try:
            models = build(files[TOKENIZER])
        except Exception as error:  # tokenizers raises bare exceptions, upstream asserts
            raise UserError(
                f"{files[TOKENIZER]} is not the tokenizer of Chatterbox ({one_line(error)}): fetch it again."
            ) from error
    models.files = files
    _load(models.voice_encoder, files[VOICE_ENCODER])
    _load(models.t3, files[T3_WEIGHTS])
    _load(models.s3gen, files[S3GEN_WEIGHTS], may_lack=COMPUTED_BUFFERS)
    return models


def _local_files(local_dir: str) -> dict[str, Path]:
    folder = Path(local_dir).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"adapter.local_dir={local_dir} is not a folder: pass the folder that holds Chatterbox's files."
        )
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"adapter.local_dir={local_dir} lacks {', '.join(missing)}: it must hold {', '.join(REQUIRED_FILES)} "
            "of the English Chatterbox."
        )
    names = [*REQUIRED_FILES, *([CONDITIONALS] if (folder / CONDITIONALS).is_file() else [])]
    return {name: folder / name for name in names}


def _hub_files(repo: str) -> dict[str, Path]:
    files = {}
    for name in (*REQUIRED_FILES, CONDITIONALS):
        with hub_faults(f"hf://{repo}/{name}", repo, WAY_OUT):
            files[name] = Path(hf_hub_download(repo_id=repo, filename=name))
    return files


def _architecture(t3_file: Path) -> Callable[[Path], ChatterboxModels]:
    """The builder that fits the weights, by the width of their embeddings.

    Raises UserError for a damaged file and for another model than the English one.
    """
    try:
        width = t3_width(t3_file)
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(t3_file, error)) from error
    if width == FULL_WIDTH:
        return full_size
    if width == TINY_WIDTH:
        return _tiny_with
    raise UserError(
        f"{t3_file} is no English Chatterbox (its embeddings have {width} channels): pass the folder of one."
    )


def _tiny_with(tokenizer_file: Path) -> ChatterboxModels:
    models = tiny_models(seed=0)
    if tokenizer_file.read_bytes() != TINY_TOKENIZER.read_bytes():
        raise ValueError("the tiny model has one of its own")
    models.tokenizer_file = tokenizer_file
    return models


def _load(module: nn.Module, path: Path, may_lack: set[str] | None = None) -> None:
    """Strictly, but for buffers that upstream computes."""
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(path, error)) from error
    _check_names(module, path, state, may_lack or set())
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(_other_model(path, one_line(error).partition(": ")[2])) from error


def _check_names(module: nn.Module, path: Path, state: Mapping[str, torch.Tensor], may_lack: set[str]) -> None:
    own = module.state_dict().keys()
    missing, unknown = sorted(own - state.keys() - may_lack), sorted(state.keys() - own)
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise UserError(_other_model(path, what))


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged or cut short ({one_line(error, 120)}): fetch the file again."


def _other_model(path: Path, what: str) -> str:
    return f"{path} does not fit the English Chatterbox ({what[:160]}): fetch the files of one release together."
