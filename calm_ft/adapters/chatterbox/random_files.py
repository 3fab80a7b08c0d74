"""Files of the English Chatterbox at its full size with random weights: where costs and loading are to be measured.

What they speak is noise; the released weights are on the hub.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from calm_ft.adapters.chatterbox.models import full_size
from calm_ft.adapters.chatterbox.system import S3GEN_WEIGHTS, T3_WEIGHTS, TOKENIZER, VOICE_ENCODER
from calm_ft.adapters.chatterbox.tiny import TOKEN_SPREAD, TOKENIZER_FILE
from calm_ft.adapters.quiet import quiet_and_unchanged


def write_random_files(folder: Path, seed: int = 0) -> Path:
    """ve, t3_cfg and s3gen.safetensors (3.2 GB) and tokenizer.json; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        models = full_size(TOKENIZER_FILE)
    with torch.no_grad():
        models.s3gen.tokenizer.quantizer._codebook.project_down.weight.mul_(TOKEN_SPREAD)
    for name, network in (
        (VOICE_ENCODER, models.voice_encoder),
        (T3_WEIGHTS, models.t3),
        (S3GEN_WEIGHTS, models.s3gen),
    ):
        save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, folder / name)
    shutil.copyfile(TOKENIZER_FILE, folder / TOKENIZER)
    return folder
