"""Writes a stock pocket-tts bundle: config.yaml, model.safetensors (fp16) and tokenizer.model, all names
relative.

The folder appears under its name only when it is whole. Weights are stored at half precision, which every
one of them bears (the stock loader copies them into float32 parameters); tensor names are upstream's.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import yaml
from pocket_tts.models.flow_lm import FlowLMModel
from pocket_tts.models.mimi import MimiModel
from pocket_tts.utils.config import Config

from calm_ft.errors import UserError
from calm_ft.randomness import derive_seed
from tools.nano.shape import TOKENIZER_NAME, WEIGHTS_NAME, bundle_config
from tools.nano.tokenizer import num_pieces

CONFIG_NAME = "config.yaml"
WORDS_NAME = "words.txt"


def write_bundle(directory: Path, state: Mapping[str, torch.Tensor], tokenizer: Path) -> Path:
    """Write a bundle from upstream's state dict (`flow_lm.*` and `mimi.*`), and return its config's path.

    Raises UserError where `directory` holds anything but a bundle.
    """
    directory = directory.absolute()
    if directory.exists() and any(directory.iterdir()) and not (directory / CONFIG_NAME).is_file():
        raise UserError(f"{directory} holds other files: choose an empty or new folder for the bundle.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        half = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in state.items()}
        safetensors.torch.save_file(half, staging / WEIGHTS_NAME, metadata={"format": "pt"})
        shutil.copyfile(tokenizer, staging / TOKENIZER_NAME)
        text = yaml.safe_dump(bundle_config(num_pieces(tokenizer)), sort_keys=False, allow_unicode=True)
        (staging / CONFIG_NAME).write_text(text, encoding="utf-8")
        (staging / WEIGHTS_NAME).chmod(0o644)
        staging.chmod(0o755)
        if directory.exists():
            shutil.rmtree(directory)
        os.replace(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory / CONFIG_NAME


def codec_only_state(codec: MimiModel, tokenizer: Path, *, seed: int) -> dict[str, torch.Tensor]:
    """State of a bundle whose codec is trained and whose FlowLM is upstream's fresh initialisation."""
    settings = bundle_config(num_pieces(tokenizer))
    # Upstream's constructor opens the tokenizer, whose relative name counts from the working directory.
    settings["flow_lm"]["lookup_table"]["tokenizer_path"] = str(tokenizer.absolute())
    config = Config(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "fresh_flow_lm"))
        flow_lm = FlowLMModel.from_pydantic_config(
            config.flow_lm,
            latent_dim=config.mimi.quantizer.dimension,
            insert_bos_before_voice=config.flow_lm.insert_bos_before_voice,
        )
        voice_projection = torch.randn(config.flow_lm.transformer.d_model, config.mimi.quantizer.dimension)
    state = {f"flow_lm.{name}": tensor for name, tensor in flow_lm.state_dict().items()}
    state["flow_lm.speaker_proj_weight"] = voice_projection * config.mimi.quantizer.dimension**-0.5
    return state | {f"mimi.{name}": tensor for name, tensor in codec.state_dict().items()}


def read_state(directory: Path) -> dict[str, torch.Tensor]:
    """The state dict of a bundle or of an export.

    Raises UserError when the folder has no weights.
    """
    weights = directory / WEIGHTS_NAME
    if not weights.is_file():
        raise UserError(f"{directory} holds no {WEIGHTS_NAME}: run the stage that writes it first.")
    return safetensors.torch.load_file(weights)
