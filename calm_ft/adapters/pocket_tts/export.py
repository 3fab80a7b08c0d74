"""An export: a folder that the stock package loads strictly and plays from any working directory.

Upstream takes the paths in a yaml relative to the working directory, so an export holds absolute ones;
`relocate` writes them anew after a move and `push_to_hub` as hf:// paths. Frozen tensors are written bit for
bit as they are.
"""

import os
import shutil
import tempfile
from pathlib import Path

import safetensors.torch
import yaml
from huggingface_hub import HfApi
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState
from pocket_tts.utils.config import Config

from calm_ft.adapters.pocket_tts.hub import fetch, is_remote, one_line
from calm_ft.adapters.pocket_tts.loading import TOKENIZER_NAMES
from calm_ft.adapters.pocket_tts.voice import save_voice
from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError

WEIGHTS, VOICE, CONFIG, CARD = "model.safetensors", "voice.safetensors", "config.yaml", "README.md"
EXPORTED = {WEIGHTS, VOICE, CONFIG, CARD, *TOKENIZER_NAMES}


def write_bundle(tts: TTSModel, directory: Path, voice: ModelState, base_model: str) -> None:
    """Write config.yaml, model.safetensors, tokenizer.*, voice.safetensors and README.md.

    The folder appears under its name only when it is whole; an export that was there before is replaced by
    it.
    Raises UserError where `directory` holds anything that is not an export, is the folder of the base model,
    or cannot be written.
    """
    directory = directory.resolve()
    _check_target(directory, tts.config)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
            staging = Path(scratch) / "new"
            staging.mkdir()
            _write_files(tts, staging, directory, voice, base_model)
            _swap(staging, directory, Path(scratch) / "old")
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"The export cannot be written to {directory} ({one_line(error)}): make room or choose another folder."
        ) from error


def _check_target(directory: Path, config: Config) -> None:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file: choose an empty or new folder for the export.")
    found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    others = [name for name in found if name not in EXPORTED]
    if others or (found and CONFIG not in found):
        raise UserError(
            f"{directory} holds other files ({(others or found)[0]}): choose an empty or new folder for the export."
        )
    weights = (config.weights_path, config.flow_lm.weights_path, config.mimi.weights_path)
    if any(path and not is_remote(path) and Path(path).resolve().parent == directory for path in weights):
        raise UserError(f"{directory} holds the base model of this one: choose another folder for the export.")


def _swap(staging: Path, directory: Path, old: Path) -> None:
    """Put the new folder in the place of the old one, and the old one back if that fails."""
    if directory.exists():
        os.replace(directory, old)
    try:
        os.replace(staging, directory)
    except BaseException:
        if old.exists():
            os.replace(old, directory)
        raise


def _write_files(tts: TTSModel, staging: Path, directory: Path, voice: ModelState, base_model: str) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tts.state_dict().items()}
    safetensors.torch.save_file(state, staging / WEIGHTS, metadata={"format": "pt"})
    tokenizer = fetch(tts.config.flow_lm.lookup_table.tokenizer_path)
    tokenizer_name = "tokenizer.json" if tokenizer.suffix == ".json" else "tokenizer.model"
    shutil.copyfile(tokenizer, staging / tokenizer_name)
    save_voice(voice, staging / VOICE)
    config = tts.config.model_copy(deep=True)
    config.weights_path_without_voice_cloning = None
    config.flow_lm.weights_path = config.mimi.weights_path = None
    _write_config(staging, config.model_dump(mode="json"), str(directory), tokenizer_name)
    (staging / CARD).write_text(_card(directory, base_model), encoding="utf-8")
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
        staging = stage_for_hub(directory, repo, Path(scratch) / "export")
        try:
            api = HfApi()
            api.create_repo(repo, exist_ok=True, private=True)
            api.upload_folder(repo_id=repo, folder_path=str(staging))
        except Exception as error:  # the hub's HTTP client, and its errors, change between versions
            raise UserError(
                f"The export could not be pushed to {repo} ({one_line(error)}): log in with `hf auth "
                "login`, check the "
                "name user/repo and the connection; the local export is untouched."
            ) from error
    return f"hf://{repo}/{CONFIG}"


def stage_for_hub(directory: Path, repo: str, staging: Path) -> Path:
    """A copy of an export with hf:// paths in its config and card.

    Raises UserError for a name that is not user/repo and a folder that is not an export.
    """
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UserError(f"--hub takes user/repo, not {repo!r}.")
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


def _card(directory: Path, base_model: str) -> str:
    base = base_model if is_remote(base_model) else Path(base_model).name  # nobody else has this machine's folders
    return f"""# A fine-tuned Pocket TTS voice

Base model: {base}. Made with calm_ft. Plays with the stock `pocket-tts` package:

```sh
pocket-tts generate --config "{directory}/{CONFIG}" --voice "{directory}/{VOICE}" \\
    --text "Hello there." --output-path hello.wav
```

- `{WEIGHTS}`: the whole model; every tensor that was not trained is that of the base, bit for bit.
- `{VOICE}`: the tuned voice as a prompt state, made with these weights; a wav file works in its place.
- Paths in `{CONFIG}` are absolute, because the package takes relative ones from the working directory; after
  moving the folder run `python scripts/export.py FOLDER --relocate`.

Speak only in voices whose owners agreed to it. The base model's licence applies to these weights.
"""
