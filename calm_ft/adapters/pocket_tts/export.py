"""An export: a folder that the stock package loads strictly and plays from any working directory.

Upstream takes the paths in a yaml relative to the working directory, so an export holds absolute ones; `relocate`
writes them anew after a move and `push_to_hub` as hf:// paths. Frozen tensors are written bit for bit as they are.
"""

import os
import shutil
import tempfile
from pathlib import Path

import safetensors.torch
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.modules.stateful_module import ModelState

from calm_ft.adapters.pocket_tts.hub import fetch
from calm_ft.adapters.pocket_tts.voice import save_voice
from calm_ft.errors import UserError

WEIGHTS, VOICE, CONFIG, CARD = "model.safetensors", "voice.safetensors", "config.yaml", "README.md"


def write_bundle(tts: TTSModel, directory: Path, voice: ModelState, base_model: str) -> None:
    """Write config.yaml, model.safetensors, tokenizer.*, voice.safetensors and README.md.

    The folder appears under its name only when it is whole; an export that was there before is replaced by it.
    Raises UserError where `directory` holds anything that is not an export.
    """
    directory = directory.absolute()
    if directory.exists() and any(directory.iterdir()) and not (directory / CONFIG).is_file():
        raise UserError(f"{directory} holds other files: choose an empty or new folder for the export.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        _write_files(tts, staging, directory, voice, base_model)
        os.chmod(staging, 0o755)
        if directory.exists():
            shutil.rmtree(directory)
        os.replace(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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


def _write_config(folder: Path, config: dict, prefix: str, tokenizer_name: str) -> None:
    config["weights_path"] = f"{prefix}/{WEIGHTS}"
    config["flow_lm"]["lookup_table"]["tokenizer_path"] = f"{prefix}/{tokenizer_name}"
    temporary = folder / f".{CONFIG}.tmp"
    temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(temporary, folder / CONFIG)


def relocate(directory: Path) -> None:
    """Point an export's config at the place where the folder now lies.

    Raises UserError where the folder is not an export or a file of it is missing.
    """
    directory = directory.absolute()
    config, tokenizer_name = _read_export(directory)
    _write_config(directory, config, str(directory), tokenizer_name)


def push_to_hub(directory: Path, repo: str) -> str:
    """Upload an export whose config names hf:// paths; returns the hf:// path of its config.

    The local export keeps its own paths. Raises UserError without a login or a connection.
    """
    directory = directory.absolute()
    with tempfile.TemporaryDirectory() as scratch:
        staging = stage_for_hub(directory, repo, Path(scratch) / "export")
        try:
            api = HfApi()
            api.create_repo(repo, exist_ok=True, private=True)
            api.upload_folder(repo_id=repo, folder_path=str(staging))
        except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
            raise UserError(
                f"The export could not be pushed to {repo} ({' '.join(str(error).split())[:160]}): log in with "
                "`hf auth login`, check the name user/repo and the connection; the local export is untouched."
            ) from error
    return f"hf://{repo}/{CONFIG}"


def stage_for_hub(directory: Path, repo: str, staging: Path) -> Path:
    """A copy of an export with hf:// paths in its config and card."""
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UserError(f"--hub takes user/repo, not {repo!r}.")
    config, tokenizer_name = _read_export(directory)
    shutil.copytree(directory, staging)
    _write_config(staging, config, f"hf://{repo}", tokenizer_name)
    card = (staging / CARD).read_text(encoding="utf-8")
    (staging / CARD).write_text(card.replace(str(directory), f"hf://{repo}"), encoding="utf-8")
    return staging


def _read_export(directory: Path) -> tuple[dict, str]:
    tokenizers = [name for name in ("tokenizer.json", "tokenizer.model") if (directory / name).is_file()]
    missing = [name for name in (CONFIG, WEIGHTS) if not (directory / name).is_file()]
    if missing or not tokenizers:
        raise UserError(f"{directory} is not an export: {', '.join(missing) or 'the tokenizer'} is missing; export the run again.")
    return yaml.safe_load((directory / CONFIG).read_text(encoding="utf-8")), tokenizers[0]


def _card(directory: Path, base_model: str) -> str:
    return f"""# A fine-tuned Pocket TTS voice

Base model: {base_model}. Made with calm_ft. Plays with the stock `pocket-tts` package:

```sh
pocket-tts generate --config {directory}/{CONFIG} --voice {directory}/{VOICE} --text "Hello there." --output-path hello.wav
```

- `{WEIGHTS}`: the whole model; every tensor that was not trained is that of the base, bit for bit.
- `{VOICE}`: the tuned voice as a prompt state, made with these weights; a wav file works in its place.
- Paths in `{CONFIG}` are absolute, because the package takes relative ones from the working directory; after moving the
  folder run `python scripts/export.py FOLDER --relocate`.

Speak only in voices whose owners agreed to it. The base model's licence applies to these weights.
"""
