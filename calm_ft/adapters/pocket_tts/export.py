"""An export: a folder that the stock package loads strictly and plays from any working directory.

Upstream takes the paths in a yaml relative to the working directory, so an export holds absolute ones;
`relocate` writes them anew after a move and `push_to_hub` as hf:// paths. Frozen tensors are written bit for
bit as they are, or rounded to bfloat16 or float16 as all weights are, which stock loads into float32.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import yaml
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState
from pocket_tts.utils.config import Config
from torch import Tensor

from calm_ft.adapters.export_folder import check_target, write_folder
from calm_ft.adapters.hub import check_repo_name, is_remote, upload
from calm_ft.adapters.pocket_tts.loading import CARD, TOKENIZER_NAMES, fetch
from calm_ft.adapters.pocket_tts.synthesis import save_voice
from calm_ft.adapters.reduced import state_in
from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError
from calm_ft.hub_faults import one_line

WEIGHTS, VOICE, CONFIG = "model.safetensors", "voice.safetensors", "config.yaml"
EXPORTED = {WEIGHTS, VOICE, CONFIG, CARD, *TOKENIZER_NAMES}


@dataclass(frozen=True)
class Card:
    """What an export's README.md says of it: what it was tuned from, its language, and whether it can be guided.

    dtype: of the weights in its file.
    """

    base_model: str
    language: str
    has_null_branch: bool
    dtype: torch.dtype = torch.float32


def write_bundle(tts: TTSModel, directory: Path, voice: ModelState, card: Card) -> None:
    """Write config.yaml, model.safetensors, tokenizer.*, voice.safetensors and README.md.

    The folder appears under its name only when it is whole; an export that was there before is replaced by
    it.
    Raises UserError where `directory` holds anything that is not an export, is the folder of the base model,
    or cannot be written.
    """
    directory = directory.resolve()
    config = tts.config
    weights = (config.weights_path, config.flow_lm.weights_path, config.mimi.weights_path)
    check_target(directory, EXPORTED, CONFIG, [Path(path) for path in weights if path and not is_remote(path)])
    text = _text_of(card, directory)
    state = state_in(card.dtype, tts)
    write_folder(directory, lambda staging: _write_files(tts, state, staging, directory, voice, text))


def _write_files(
    tts: TTSModel, state: Mapping[str, Tensor], staging: Path, directory: Path, voice: ModelState, card: str
) -> None:
    safetensors.torch.save_file(dict(state), staging / WEIGHTS, metadata={"format": "pt"})
    tokenizer = fetch(tts.config.flow_lm.lookup_table.tokenizer_path)
    tokenizer_name = "tokenizer.json" if tokenizer.suffix == ".json" else "tokenizer.model"
    shutil.copyfile(tokenizer, staging / tokenizer_name)
    save_voice(voice, staging / VOICE)
    config = tts.config.model_copy(deep=True)
    config.weights_path_without_voice_cloning = None
    config.flow_lm.weights_path = config.mimi.weights_path = None
    _write_config(staging, config.model_dump(mode="json"), str(directory), tokenizer_name)
    (staging / CARD).write_text(card, encoding="utf-8")
    for path in staging.iterdir():
        path.chmod(0o644)  # safetensors makes its files private


def _write_config(folder: Path, config: dict, prefix: str, tokenizer_name: str) -> None:
    config["weights_path"] = f"{prefix}/{WEIGHTS}"
    config["flow_lm"]["lookup_table"]["tokenizer_path"] = f"{prefix}/{tokenizer_name}"
    write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def relocate(directory: Path) -> None:
    """Point an export's config and card at the place where the folder now lies.

    Raises UserError where the folder is not an export, a file of it is missing, or it cannot be written.
    """
    directory = directory.resolve()
    try:
        _point_to(directory, str(directory))
    except OSError as error:
        raise UserError(f"{directory} cannot be written ({one_line(error)}): check its permissions.") from error


def push_to_hub(directory: Path, repo: str) -> str:
    """Upload an export whose config names hf:// paths; returns the hf:// path of its config.

    The local export keeps its own paths. Raises UserError without a login or a connection.
    """
    with tempfile.TemporaryDirectory() as scratch:
        upload(stage_for_hub(directory, repo, Path(scratch) / "export"), repo)
    return f"hf://{repo}/{CONFIG}"


def stage_for_hub(directory: Path, repo: str, staging: Path) -> Path:
    """A copy of an export with hf:// paths in its config and card.

    Raises UserError for a name that is not user/repo and a folder that is not an export.
    """
    check_repo_name(repo)
    _read_export(directory)
    shutil.copytree(directory, staging)
    _point_to(staging, f"hf://{repo}")
    return staging


def _point_to(folder: Path, prefix: str) -> None:
    """Write another prefix for the old one into an export's config and card."""
    config, tokenizer_name = _read_export(folder)
    old_prefix = config["weights_path"].removesuffix(f"/{WEIGHTS}")
    if (folder / CARD).is_file():
        card = (folder / CARD).read_text(encoding="utf-8")
        write_text(folder / CARD, card.replace(f'"{old_prefix}/', f'"{prefix}/'))
    _write_config(folder, config, prefix, tokenizer_name)


def _read_export(directory: Path) -> tuple[dict, str]:
    tokenizers = [name for name in TOKENIZER_NAMES if (directory / name).is_file()]
    missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if missing or not tokenizers:
        what = ", ".join(missing) or "the tokenizer"
        raise UserError(f"{directory} is not an export ({what} is missing): export the run again.")
    try:
        config = yaml.safe_load((directory / CONFIG).read_text(encoding="utf-8"))
        return Config(**config).model_dump(mode="json"), tokenizers[0]
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UserError(f"{directory / CONFIG} is damaged ({one_line(error)}): export the run again.") from error


def _words_of(dtype: torch.dtype) -> str:
    if dtype == torch.float32:
        return "every tensor that was not trained is that of the base, bit for bit"
    return f"its weights are stored in {str(dtype).removeprefix('torch.')}, and loaded and played in float32"


def _text_of(card: Card, directory: Path) -> str:
    # Nobody else has this machine's folders.
    base = card.base_model if is_remote(card.base_model) else Path(card.base_model).name
    return f"""---
language: {card.language}
null_branch: {str(card.has_null_branch).lower()}
---

# A fine-tuned Pocket TTS voice

Base model: {base}. Made with calm_ft. Plays with the stock `pocket-tts` package:

```sh
pocket-tts generate --config "{directory}/{CONFIG}" --voice "{directory}/{VOICE}" \\
    --text "Hello there." --output-path hello.wav
```

- `{WEIGHTS}`: the whole model; {_words_of(card.dtype)}.
- `{VOICE}`: the tuned voice as a prompt state, made with these weights; a wav file works in its place.
- Paths in `{CONFIG}` are absolute, because the package takes relative ones from the working directory; after
  moving the folder run `python -m calm_ft.export FOLDER --relocate`.

Speak only in voices whose owners agreed to it. The base model's licence applies to these weights.
"""
