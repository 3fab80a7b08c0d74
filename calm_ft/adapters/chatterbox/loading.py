"""From the hub, a folder or a seed to loaded networks, checked before anything is encoded.

Upstream loads the English S3Gen without strictness (chatterbox/tts.py, `from_local`); here only the two buffers that
upstream itself computes may be missing. It loads those of the other models strictly, and so they are loaded here.
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from calm_ft.adapters.chatterbox.files import FULL_WIDTH, TINY, TINY_WIDTH, Release, t3_width
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.errors import UserError
from calm_ft.hub_faults import hub_faults, one_line

COMPUTED_BUFFERS = frozenset({"tokenizer._mel_filters", "tokenizer.window"})


@dataclass(frozen=True)
class Builders:
    """How the networks of a release are made.

    Args:
        full_size: with random weights, and the tokenizer of the files that are given by their names; tiny: the same at
            small size, as a function of a seed.
        tiny_tokenizer: the files of the tiny model's tokenizer, by their names.
        s3gen_may_lack: what upstream's loading does not ask for.
    """

    full_size: Callable[[Mapping[str, Path]], ChatterboxModels]
    tiny: Callable[[int], ChatterboxModels]
    tiny_tokenizer: Mapping[str, Path]
    s3gen_may_lack: frozenset[str] = frozenset()

    def tiny_with(self, tokenizer_files: Mapping[str, Path]) -> ChatterboxModels:
        """The tiny model. Raises ValueError for the tokenizer of another one."""
        models = self.tiny(0)
        for name, own in self.tiny_tokenizer.items():
            if name not in tokenizer_files or tokenizer_files[name].read_bytes() != own.read_bytes():
                raise ValueError("the tiny model has one of its own")
        models.tokenizer_files = tokenizer_files
        return models


def load_models(
    release: Release, builders: Builders, model: str, local_dir: str | None, seed: int = 0
) -> ChatterboxModels:
    """Networks of a local folder, of the hub's repository `model`, or, for the model "tiny", of the seed; on the CPU.

    Raises UserError where a file is missing, damaged, out of reach or of another model.
    """
    if local_dir is None and model == TINY:
        return builders.tiny(seed)
    files = _local_files(release, local_dir) if local_dir is not None else _hub_files(release, model)
    build = _architecture(release, builders, files[release.t3])
    tokenizer = {name: files[name] for name in release.tokenizer_files if name in files}
    with quiet_and_unchanged():
        try:
            models = build(tokenizer)
        except Exception as error:  # tokenizers raises bare exceptions, upstream asserts
            raise UserError(
                f"{files[release.tokenizer[0]]} is not the tokenizer of {_bare(release)} ({one_line(error)}): fetch it "
                "again."
            ) from error
    models.files = files
    _load(release, models.voice_encoder, files[release.voice_encoder])
    _load(release, models.t3, files[release.t3])
    _load(release, models.s3gen, files[release.s3gen], builders.s3gen_may_lack)
    return models


def _bare(release: Release) -> str:
    return release.title.removeprefix("the ")


def _local_files(release: Release, local_dir: str) -> dict[str, Path]:
    folder = Path(local_dir).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"adapter.local_dir={local_dir} is not a folder: pass the folder that holds Chatterbox's files."
        )
    missing = [name for name in release.required if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"adapter.local_dir={local_dir} lacks {', '.join(missing)}: it must hold {', '.join(release.required)} "
            f"of {release.title}."
        )
    names = [*release.required, *(name for name in release.optional if (folder / name).is_file())]
    return {name: folder / name for name in names}


def _hub_files(release: Release, repo: str) -> dict[str, Path]:
    way_out = f"download its files elsewhere and pass adapter.local_dir=DIR ({', '.join(release.required)})"
    files = {}
    for name in (*release.required, *release.optional):
        with hub_faults(f"hf://{repo}/{name}", repo, way_out):
            try:
                files[name] = Path(hf_hub_download(repo_id=repo, filename=name))
            except EntryNotFoundError:
                if name in release.required:
                    raise
    return files


def _architecture(
    release: Release, builders: Builders, t3_file: Path
) -> Callable[[Mapping[str, Path]], ChatterboxModels]:
    """The builder that fits the weights, by the width of their embeddings.

    Raises UserError for a damaged file and for another model.
    """
    try:
        width = t3_width(t3_file)
    except (SafetensorError, OSError) as error:
        raise UserError(_damaged(t3_file, error)) from error
    if width == FULL_WIDTH:
        return builders.full_size
    if width == TINY_WIDTH:
        return builders.tiny_with
    raise UserError(f"{t3_file} is no {_bare(release)} (its embeddings have {width} channels): pass the folder of one.")


def _load(release: Release, module: nn.Module, path: Path, may_lack: frozenset[str] = frozenset()) -> None:
    """Strictly, but for buffers that upstream computes."""
    try:
        state = _read(path)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(_damaged(path, error)) from error
    _check_names(release, module, path, state, may_lack)
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(_other_model(release, path, one_line(error).partition(": ")[2])) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name, of a safetensors file or of one of torch's own that holds nothing else."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_names(
    release: Release, module: nn.Module, path: Path, state: Mapping[str, Tensor], may_lack: frozenset[str]
) -> None:
    own = module.state_dict().keys()
    missing, unknown = sorted(own - state.keys() - may_lack), sorted(state.keys() - own)
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise UserError(_other_model(release, path, what))


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged or cut short ({one_line(error, 120)}): fetch the file again."


def _other_model(release: Release, path: Path, what: str) -> str:
    return f"{path} does not fit {release.title} ({what[:160]}): fetch the files of one release together."
