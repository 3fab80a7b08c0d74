"""A bundle in the shape of a released Pocket TTS, without its weights: for speed and memory, not for listening.

Architecture and sizes are read from the config that the installed stock package ships; the weights are random, and the
tokenizer is trained on generated sentences to the released number of pieces.
"""

from pathlib import Path
from typing import Any

import safetensors.torch
import tokenizers
import torch
import yaml
from pocket_tts.models.mimi import build_mimi
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.utils.config import CONFIGS_DIR, Config
from torch import nn

from calm_ft.adapters.pocket_tts.fresh import initialize_flow_lm
from tools.nano.sentences import make_sentences

RELEASED = {6: "english_2026-10", 24: "english_2026-09_24l"}
NUM_SENTENCES = 4000
SEED = 0


def write_released_shape(folder: Path, num_layers: int) -> Path:
    """config.yaml, model.safetensors (float32) and tokenizer.json with 6 or 24 layers; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((CONFIGS_DIR / f"{RELEASED[num_layers]}.yaml").read_text(encoding="utf-8"))
    del config["weights_path_without_voice_cloning"]
    config["weights_path"] = "model.safetensors"
    table = config["flow_lm"]["lookup_table"]
    table["tokenizer_path"] = "tokenizer.json"
    _write_tokenizer(folder / "tokenizer.json", table["n_bins"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    table["tokenizer_path"] = str((folder / "tokenizer.json").absolute())
    safetensors.torch.save_file(_random_state(config), folder / "model.safetensors")
    return folder


def _write_tokenizer(path: Path, num_pieces: int) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=num_pieces, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(make_sentences(NUM_SENTENCES, seed=SEED, stream="released_shape"), trainer)
    assert tokenizer.get_vocab_size() == num_pieces
    tokenizer.save(str(path))


def _random_state(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    parsed = Config(**config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        tts = TTSModel._from_pydantic_config(parsed, 0.3, 1, None, -4.0, None)
        tts.mimi = build_mimi(parsed.mimi)
    shape = (parsed.flow_lm.transformer.d_model, parsed.mimi.quantizer.dimension)
    tts.flow_lm.speaker_proj_weight = nn.Parameter(torch.zeros(shape))
    initialize_flow_lm(tts.flow_lm, SEED)
    return {name: tensor.contiguous() for name, tensor in tts.state_dict().items()}
