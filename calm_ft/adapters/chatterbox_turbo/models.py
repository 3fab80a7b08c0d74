"""The networks of Chatterbox Turbo, at full size and at a fiftieth of it, with random weights.

Sources: chatterbox/tts_turbo.py (`ChatterboxTurboTTS.from_local`), chatterbox/models/t3/llama_configs.py.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from chatterbox.models.s3gen import S3Gen
from chatterbox.models.t3 import T3
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
from chatterbox.models.t3.modules.t3_config import T3Config
from chatterbox.models.voice_encoder import VoiceEncoder
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from calm_ft.adapters.chatterbox.files import TINY_WIDTH
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.tiny import TinyS3Gen, write_files
from calm_ft.adapters.chatterbox_turbo.system import TURBO
from calm_ft.adapters.quiet import quiet_and_unchanged

NUM_TEXT_TOKENS, NUM_SPEECH_TOKENS = 50_276, 6_563
MAX_PROMPT_TOKENS = 375  # 15 s
FULL_BACKBONE, TINY_BACKBONE = "GPT2_medium", "calm_ft_tiny_gpt2"
TINY_LAYERS, TINY_POSITIONS = 3, 2048
TINY_TOKENIZER = Path(__file__).parents[2] / "assets" / "chatterbox_turbo_tiny"
TINY_TOKENIZER_FILES = {path.name: path for path in sorted(TINY_TOKENIZER.iterdir())}


def full_size(tokenizer_files: Mapping[str, Path]) -> ChatterboxModels:
    """The released architecture with fresh random weights; the files lie in one folder."""
    tokenizer = _tokenizer(tokenizer_files)
    return ChatterboxModels(
        _t3(FULL_BACKBONE, NUM_TEXT_TOKENS), S3Gen(meanflow=True), VoiceEncoder(), tokenizer, tokenizer_files
    )


def tiny_models(seed: int) -> ChatterboxModels:
    """Random weights as a function of the seed."""
    LLAMA_CONFIGS[TINY_BACKBONE] = {
        **LLAMA_CONFIGS["GPT2_medium"],
        "n_embd": TINY_WIDTH,
        "hidden_size": TINY_WIDTH,
        "n_head": 4,
        "n_layer": TINY_LAYERS,
        "n_positions": TINY_POSITIONS,
        "n_ctx": TINY_POSITIONS,
    }
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        tokenizer = _tokenizer(TINY_TOKENIZER_FILES)
        LLAMA_CONFIGS[TINY_BACKBONE]["vocab_size"] = len(tokenizer)
        networks = _t3(TINY_BACKBONE, len(tokenizer)), TinyS3Gen(meanflow=True), VoiceEncoder()
        return ChatterboxModels(*networks, tokenizer, TINY_TOKENIZER_FILES, is_tiny=True)


def write_random_files(folder: Path, seed: int = 0) -> Path:
    """The full-size model's files (4 GB) with random weights and the tiny tokenizer; returns the folder."""
    with torch.random.fork_rng(devices=[]), quiet_and_unchanged():
        torch.manual_seed(seed)
        models = full_size(TINY_TOKENIZER_FILES)
    return write_files(models, TURBO, folder)


def _t3(backbone: str, num_text_tokens: int) -> T3:
    config = T3Config(text_tokens_dict_size=num_text_tokens)
    config.llama_config_name = backbone
    config.speech_tokens_dict_size = NUM_SPEECH_TOKENS
    config.input_pos_emb = None
    config.speech_cond_prompt_len = MAX_PROMPT_TOKENS
    config.use_perceiver_resampler = False
    config.emotion_adv = False
    return _without_dropout(T3(config))


def _without_dropout(t3: T3) -> T3:
    """GPT-2's own dropout would draw from global random state, and what a row draws would depend on its batch mates."""
    for module in t3.tfmr.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return t3


def _tokenizer(files: Mapping[str, Path]) -> PreTrainedTokenizerBase:
    """As stock reads it from the folder."""
    return AutoTokenizer.from_pretrained(files["tokenizer_config.json"].parent, local_files_only=True)
