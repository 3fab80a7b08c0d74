"""From a model's name to a loaded stock `TTSModel`, checked before anything is encoded.

A model is named by a released config name, a local yaml or folder, or an hf:// yaml. Upstream takes the paths in a
yaml relative to the working directory; here they are relative to the yaml's own folder, as people expect.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

num_threads = torch.get_num_threads()
from pocket_tts.models.tts_model import TTSModel  # noqa: E402
from pocket_tts.utils.config import CONFIGS_DIR, Config  # noqa: E402

torch.set_num_threads(num_threads)  # importing tts_model sets it to one

from pydantic import ValidationError  # noqa: E402
from safetensors import SafetensorError  # noqa: E402

from calm_ft.adapters.pocket_tts.hub import fetch, is_remote  # noqa: E402
from calm_ft.errors import UserError  # noqa: E402

NANO_DIR = Path(__file__).parents[2] / "assets" / "nano"
TOKENIZER_NAMES = ("tokenizer.json", "tokenizer.model")


def released_configs() -> dict[str, str]:
    """Released config name -> type of its flow head ("lsd", "flow_matching", "drifting", "pointwise")."""
    return {
        path.stem: yaml.safe_load(path.read_text())["flow_lm"]["flow"].get("type", "lsd")
        for path in sorted(CONFIGS_DIR.glob("*.yaml"))
    }


def trainable_configs() -> list[str]:
    """Released configs whose heads this project trains."""
    return [name for name, head in released_configs().items() if head in ("lsd", "flow_matching")]


def load_config(model: str, local_dir: str | None) -> Config:
    """The model's config with every local path made absolute.

    Raises UserError for an unknown name, a missing or invalid file, and a head without time conditions.
    """
    raw, folder = _read_raw_config(model, local_dir)
    try:
        config = Config(**raw)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"The model config of {model} is not a Pocket TTS config: {where}: {first['msg']}.") from error
    head = config.flow_lm.flow.type
    if head not in ("lsd", "flow_matching"):
        raise UserError(
            f"The flow head of {model} is of the one-step type {head!r} without time conditions, which flow matching "
            f"and LSD cannot train: use one of {', '.join(trainable_configs())}."
        )
    if folder is not None:
        _make_paths_absolute(config, folder)
    if local_dir is not None:
        _use_local_files(config, Path(local_dir))
    return config


def load_tts(config: Config, origin: str | None = None) -> TTSModel:
    """A stock model with voice cloning, strictly loaded, on the CPU.

    Raises UserError where files are missing, gated, damaged or of another shape, and where the Mimi encoder is empty.
    """
    for path in (config.weights_path, config.flow_lm.weights_path, config.mimi.weights_path):
        if path is not None:
            fetch(path)
    if config.weights_path is None and config.flow_lm.weights_path is None:
        raise UserError("The model config names no weights: set weights_path in its yaml.")
    fetch(config.flow_lm.lookup_table.tokenizer_path)
    threads = torch.get_num_threads()
    logging.disable(logging.INFO)  # upstream logs through the root logger, which would set up a handler for everybody
    try:
        with _as_yaml(config) as path:
            tts = TTSModel.load_model(config=path)
    except (SafetensorError, RuntimeError, AssertionError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The weights {config.weights_path} do not fit their config or are damaged ({reason}): "
            "fetch the folder again, or pass the config that they were made with."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
        torch.set_num_threads(threads)
    if origin is not None:
        tts.origin = CONFIGS_DIR / f"{origin}.yaml"
    _check_voice_cloning(tts, str(config.weights_path))
    return tts


def _check_voice_cloning(tts: TTSModel, weights: str) -> None:
    if not tts.has_voice_cloning or not any(bool(p.any()) for p in tts.mimi.encoder.parameters()):
        raise UserError(
            f"The bundle {weights} is the one without voice cloning (its Mimi encoder is all zeros), so recordings "
            "cannot be encoded: accept the terms at https://huggingface.co/kyutai/pocket-tts, log in with "
            "`hf auth login`, and use the bundle with voice cloning."
        )


def _read_raw_config(model: str, local_dir: str | None) -> tuple[dict, Path | None]:
    """(yaml content, folder its relative paths are relative to)."""
    if local_dir is not None and not Path(local_dir).is_dir():
        raise UserError(f"adapter.local_dir={local_dir} is not a folder: pass the folder that holds the model's files.")
    if local_dir is not None and (Path(local_dir) / "config.yaml").is_file():
        path = Path(local_dir) / "config.yaml"
    elif model in released_configs():
        path = CONFIGS_DIR / f"{model}.yaml"
    elif is_remote(model):
        path = fetch(model)
    elif Path(model).is_dir():
        path = Path(model) / "config.yaml"
    else:
        path = Path(model)
    if not path.is_file():
        raise UserError(
            f"There is no Pocket TTS model {model!r}: adapter.model takes a yaml file, a folder with config.yaml, "
            f"an hf://user/repo/config.yaml, or one of {', '.join(trainable_configs())}."
        )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable yaml file: {' '.join(str(error).split())[:160]}.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not a Pocket TTS config: it holds no sections flow_lm and mimi.")
    return raw, None if path.parent == CONFIGS_DIR else path.parent


def _make_paths_absolute(config: Config, folder: Path) -> None:
    def absolute(path: str) -> str:
        return path if is_remote(path) or Path(path).is_absolute() else str((folder / path).resolve())

    table = config.flow_lm.lookup_table
    table.tokenizer_path = absolute(table.tokenizer_path)
    for section in (config, config.flow_lm, config.mimi):
        if section.weights_path is not None:
            section.weights_path = absolute(section.weights_path)


def _use_local_files(config: Config, folder: Path) -> None:
    """Point a released config at the files of a local folder."""
    weights = folder / "model.safetensors"
    tokenizers = [folder / name for name in TOKENIZER_NAMES if (folder / name).is_file()]
    if not weights.is_file() or not tokenizers:
        raise UserError(
            f"adapter.local_dir={folder} lacks {'model.safetensors' if not weights.is_file() else 'a tokenizer'}: it "
            "must hold model.safetensors and tokenizer.json or tokenizer.model."
        )
    config.weights_path = str(weights.resolve())
    config.weights_path_without_voice_cloning = None
    config.flow_lm.weights_path = config.mimi.weights_path = None
    config.flow_lm.lookup_table.tokenizer_path = str(tokenizers[0].resolve())
    config.flow_lm.lookup_table.tokenizer = "tokenizers" if tokenizers[0].suffix == ".json" else "sentencepiece"


@contextlib.contextmanager
def _as_yaml(config: Config) -> Iterator[Path]:
    """The config as a temporary yaml file, since stock loading takes nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        yield path
