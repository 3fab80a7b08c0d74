"""From a model's name to a loaded stock `TTSModel`, checked before anything is encoded.

A model is named by a released config name, a local yaml or folder, or an hf:// yaml. Upstream takes the paths in a yaml
relative to the working directory; here they are relative to the folder of the yaml, as people expect.

Upstream falls back silently to a bundle without voice cloning when the gated one cannot be read
(pocket_tts/models/tts_model.py, `_from_pydantic_config_with_weights`). Its Mimi encoder is all zeros, so encoding
recordings with it gives rubbish: here the gated file is asked for first, and its absence is said.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.utils.config import CONFIGS_DIR, Config
from pocket_tts.utils.utils import download_if_necessary
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from calm_ft.adapters.hub import is_remote
from calm_ft.adapters.quiet import quiet_and_unchanged
from calm_ft.errors import UserError
from calm_ft.hub_faults import hub_faults, one_line

ASSETS = Path(__file__).parents[2] / "assets"
TOKENIZER_NAMES = ("tokenizer.json", "tokenizer.model")
CARD = "README.md"
# The released models lie in folders `languages/NAME` of the hub, where NAME begins with one of these words.
LANGUAGES = {
    "english": "en",
    "french": "fr",
    "german": "de",
    "spanish": "es",
    "italian": "it",
    "portuguese": "pt",
    "dutch": "nl",
}
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


def is_released(model: str) -> bool:
    """Whether this is the name of a config that upstream ships."""
    return any(path.stem == model for path in CONFIGS_DIR.glob("*.yaml"))


def released_configs() -> dict[str, str]:
    """Released config name -> type of its flow head ("lsd", "flow_matching", "drifting", "pointwise")."""
    return {
        path.stem: yaml.safe_load(path.read_text())["flow_lm"]["flow"].get("type", "lsd")
        for path in sorted(CONFIGS_DIR.glob("*.yaml"))
    }


def trainable_configs() -> list[str]:
    """Released configs whose heads this project trains."""
    return [name for name, head in released_configs().items() if head in ("lsd", "flow_matching")]


def language_of(config: Config) -> str:
    """ISO 639-1 code of a model's language: from the card beside its weights, or its released folder; else English."""
    if found := _on_card(config, "language", "[a-z]{2,3}"):
        return found
    for path in _weights_paths(config):
        released = re.search(r"/languages/([a-z]+)", path or "")
        if released and released.group(1) in LANGUAGES:
            return LANGUAGES[released.group(1)]
    return "en"


def null_branch_on_card(config: Config) -> bool:
    """Whether the card beside a model's weights says that it learned to speak without text and voice too."""
    return _on_card(config, "null_branch", "true") is not None


def _weights_paths(config: Config) -> tuple[str | None, ...]:
    return config.weights_path, config.weights_path_without_voice_cloning, config.flow_lm.weights_path


def _on_card(config: Config, key: str, pattern: str) -> str | None:
    """A value in the front matter of the model card beside local weights, as the hub has it."""
    for path in _weights_paths(config):
        if path is None or is_remote(path) or not (card := Path(path).parent / CARD).is_file():
            continue
        front_matter = re.match(r"---\n(.*?)\n---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(rf"^{key}: *({pattern})$", front_matter.group(1), re.MULTILINE) if front_matter else None
        if found:
            return found.group(1)
    return None


def words_of_miniature() -> frozenset[str]:
    """The words that the embedded model met often, in lower case."""
    return frozenset((ASSETS / "nano" / "words.txt").read_text(encoding="utf-8").split())


def is_miniature(config: Config) -> bool:
    """Whether a model is the embedded one, wherever it lies, or was tuned from it: their codec, which never trains."""
    if config.weights_path is None or is_remote(config.weights_path):
        return False
    try:
        with (
            safe_open(config.weights_path, "pt") as model,
            safe_open(ASSETS / "nano" / "model.safetensors", "pt") as embedded,
        ):
            names, codec = set(model.keys()), [name for name in embedded.keys() if name.startswith("mimi.")]  # noqa: SIM118
            return all(
                name in names and _is_stored(embedded.get_tensor(name), model.get_tensor(name)) for name in codec
            )
    except (OSError, SafetensorError):  # said when the model is loaded
        return False


def _is_stored(tensor: torch.Tensor, stored: torch.Tensor) -> bool:
    """Whether `stored` is the tensor, or the tensor rounded to a smaller type."""
    return torch.equal(tensor.to(stored.dtype), stored)


def load_config(model: str, local_dir: str | None) -> Config:
    """The model's config with every local path made absolute.

    Raises UserError for an unknown name, a missing or invalid file, and a head without time conditions.
    """
    raw, source = _read_raw_config(model, local_dir)
    try:
        config = Config(**raw)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{source} is not a Pocket TTS config ({where}: {first['msg']}): compare it with a config.yaml that works."
        ) from error
    head = config.flow_lm.flow.type
    if head not in ("lsd", "flow_matching"):
        raise UserError(
            f"The flow head of {model} is of the one-step type {head!r} without time conditions, which flow "
            "matching "
            f"and LSD cannot train: use one of {', '.join(trainable_configs())}."
        )
    _make_paths_absolute(config, source)
    if local_dir is not None:
        _use_local_files(config, Path(local_dir))
    return config


def load_tts(config: Config, origin: str | None = None) -> TTSModel:
    """A stock model with voice cloning, strictly loaded, on the CPU.

    Args:
        origin: the released config's name, where it is one: upstream's own voices are found by it.

    Raises UserError where files are missing, gated, damaged or of another shape, and where the Mimi encoder
    is empty.
    """
    if config.weights_path is None and config.flow_lm.weights_path is None:
        raise UserError("The model config names no weights: set weights_path in its yaml.")
    tokenizer_path = config.flow_lm.lookup_table.tokenizer_path
    for path in (config.weights_path, config.flow_lm.weights_path, config.mimi.weights_path, tokenizer_path):
        if path is not None:
            fetch(path)
    try:
        with _as_yaml(config) as path, quiet_and_unchanged():
            tts = TTSModel.load_model(config=path)
    except UserError:
        raise
    except Exception as error:  # a damaged file: safetensors, sentencepiece and tokenizers raise what they like
        raise UserError(
            f"The weights {config.weights_path or config.flow_lm.weights_path} and the tokenizer "
            f"{tokenizer_path} do "
            f"not fit their config or are damaged ({one_line(error)}): fetch the folder again, or pass the "
            "config that "
            "they were made with."
        ) from error
    if origin is not None:
        tts.origin = CONFIGS_DIR / f"{origin}.yaml"
    _check_voice_cloning(tts, str(config.weights_path))
    return tts


def _check_voice_cloning(tts: TTSModel, weights: str) -> None:
    if not any(bool(p.any()) for p in tts.mimi.encoder.parameters()):
        raise UserError(
            f"The bundle {weights} is the one without voice cloning (its Mimi encoder is all zeros), so "
            "recordings "
            "cannot be encoded: accept the terms at https://huggingface.co/kyutai/pocket-tts, log in with "
            "`hf auth login`, and use the bundle with voice cloning."
        )


def _read_raw_config(model: str, local_dir: str | None) -> tuple[dict, str]:
    """(yaml content, the path or hf:// path of the yaml)."""
    if local_dir is not None and not Path(local_dir).is_dir():
        raise UserError(f"adapter.local_dir={local_dir} is not a folder: pass the folder that holds the model's files.")
    if local_dir is not None and (Path(local_dir) / "config.yaml").is_file():
        path = Path(local_dir) / "config.yaml"
    elif is_released(model):
        path = CONFIGS_DIR / f"{model}.yaml"
    elif is_remote(model):
        path = fetch(model)
    elif Path(model).is_dir():
        path = Path(model) / "config.yaml"
    else:
        path = Path(model)
    if not path.is_file():
        raise UserError(
            f"There is no Pocket TTS model {model!r}: adapter.model takes a yaml file, a folder with "
            "config.yaml, "
            f"an hf://user/repo/config.yaml, or one of {', '.join(trainable_configs())}."
        )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is not a readable yaml file ({one_line(error)}): mend it or pass another.") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not a Pocket TTS config, which has sections flow_lm and mimi: pass another yaml.")
    return raw, model if is_remote(model) and local_dir is None else str(path)


def _make_paths_absolute(config: Config, source: str) -> None:
    table = config.flow_lm.lookup_table
    table.tokenizer_path = _beside(source, table.tokenizer_path)
    for section in (config, config.flow_lm, config.mimi):
        if section.weights_path is not None:
            section.weights_path = _beside(source, section.weights_path)


def _beside(source: str, path: str) -> str:
    """A path as the yaml `source` means it. Symbolic links stay: a hub cache's targets have no suffix."""
    if is_remote(path):
        return path
    if source.startswith("hf://"):
        location, at, revision = source.partition("@")
        return f"{location.rsplit('/', 1)[0]}/{path}{at}{revision}"
    if is_remote(source):
        return f"{source.rsplit('/', 1)[0]}/{path}"
    return os.path.abspath(Path(source).parent / path)


def _use_local_files(config: Config, folder: Path) -> None:
    """Point a released config at the files of a local folder."""
    weights = folder / "model.safetensors"
    tokenizers = [folder / name for name in TOKENIZER_NAMES if (folder / name).is_file()]
    if not weights.is_file() or not tokenizers:
        raise UserError(
            f"adapter.local_dir={folder} lacks "
            f"{'model.safetensors' if not weights.is_file() else 'a tokenizer'}: it "
            "must hold model.safetensors and tokenizer.json or tokenizer.model."
        )
    config.weights_path = os.path.abspath(weights)
    config.flow_lm.weights_path = config.mimi.weights_path = None
    config.flow_lm.lookup_table.tokenizer_path = os.path.abspath(tokenizers[0])
    config.flow_lm.lookup_table.tokenizer = "tokenizers" if tokenizers[0].suffix == ".json" else "sentencepiece"


@contextlib.contextmanager
def _as_yaml(config: Config) -> Iterator[Path]:
    """The config as a temporary yaml file, since stock loading takes nothing else.

    Without the second bundle, to which upstream would turn without a word when the first cannot be read.
    Raises UserError where the system's folder for temporary files is full.
    """
    config = config.model_copy(update={"weights_path_without_voice_cloning": None})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        try:
            path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"The folder for temporary files, {folder}, cannot be written ({error.strerror}): free some space "
                "there, or choose another by the variable TMPDIR."
            ) from error
        yield path
