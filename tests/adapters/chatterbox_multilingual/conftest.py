"""The tiny Chatterbox Multilingual, one deep enough for stock's analyzer, and upstream's own tokenizer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS
from chatterbox.models.tokenizers import MTLTokenizer
from chatterbox.models.tokenizers import tokenizer as upstream
from chatterbox.mtl_tts import ChatterboxMultilingualTTS

from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.tiny import LLAMA_NAME, tiny_t3_config
from calm_ft.adapters.chatterbox_multilingual.adapter import ChatterboxMultilingualAdapter
from calm_ft.adapters.chatterbox_multilingual.models import tiny_models
from calm_ft.config import build, compose_config, plain
from tests.adapters.recordings import write_speechlike

DEEP = "calm_ft_tiny_of_14_layers"
NUM_TEXT_TOKENS = 2454  # by which upstream knows the multilingual model


def make_adapter(experiment: str = "chatterbox_t3", **settings: object) -> ChatterboxMultilingualAdapter:
    """The tiny model as an experiment configures it, with other settings of the adapter."""
    overrides = [f"experiment={experiment}", "adapter=chatterbox_multilingual_tiny"]
    return build({**plain(compose_config(overrides))["adapter"], **settings})


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> ChatterboxMultilingualAdapter:
    """With as many layers, heads and text tokens as the analyzer asks for."""
    builders = replace(ChatterboxMultilingualAdapter.builders, tiny=deep_models)
    monkeypatch.setattr(ChatterboxMultilingualAdapter, "builders", builders)
    return make_adapter(max_speech_tokens=1000)


def deep_models(seed: int) -> ChatterboxModels:
    models, config = tiny_models(seed), tiny_t3_config()
    LLAMA_CONFIGS[DEEP] = {
        **LLAMA_CONFIGS[LLAMA_NAME],
        "num_hidden_layers": 14,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 4,
    }
    config.llama_config_name, config.text_tokens_dict_size = DEEP, NUM_TEXT_TOKENS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        models.t3 = T3(config)
    return models


def upstream_tokenizer(path: Path) -> MTLTokenizer:
    """Upstream's own, without the table of Chinese, for which it asks the hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "ChineseCangjieConverter", lambda _: None)
        return MTLTokenizer(str(path))


def stock(adapter: ChatterboxMultilingualAdapter) -> ChatterboxMultilingualTTS:
    """The stock package around the adapter's networks."""
    (path,) = (path for name, path in adapter.models.tokenizer_files.items() if name.endswith(".json"))
    networks = adapter.t3, adapter.s3gen, adapter.voice_encoder
    return ChatterboxMultilingualTTS(*networks, upstream_tokenizer(path), "cpu")


@pytest.fixture
def voice_file(tmp_path: Path) -> Path:
    return write_speechlike(tmp_path / "voice.wav", 3.0, 24_000, seed=5)
