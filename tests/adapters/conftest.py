"""Fixtures of the adapters' tests: tiny real upstream models, sounds, and examples made of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calm_ft.data.dataset import Example
from calm_ft.data.feature_cache import CacheEntry, FeatureCache, Features
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Utterance, WordTime
from tests.adapters.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A one-layer model with an LSD head; tests that change files copy the folder."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def make_encoded(tmp_path: Path) -> Callable[..., EncodedUtterance]:
    """An encoded utterance with given features, read from a real cache."""
    cache = FeatureCache(tmp_path / "features", "test")

    def make(name: str, features: Features, text: str, words: tuple[WordTime, ...] | None = None):
        num_frames = len(features["latents"])
        if name not in cache:
            cache.write_shard({name: CacheEntry(features, num_frames, num_frames / 12.5)})
        utterance = Utterance(name, Path(f"{name}.wav"), text, words=words)
        return EncodedUtterance(utterance, num_frames, num_frames / 12.5, name, cache)

    return make


@pytest.fixture
def make_example(make_encoded) -> Callable[..., Example]:
    """A row with random latents of the adapter's width, prompted by another such clip."""

    def features(adapter, num_frames: int, rng: torch.Generator) -> dict[str, Tensor]:
        latents = torch.randn(num_frames, adapter.flow_lm.ldim, generator=rng)
        return {"latents": latents, "energy_db": -20 + 10 * torch.randn(num_frames, generator=rng)}

    def make(adapter, name: str, num_frames: int, text: str, num_prompt_frames: int = 0, seed: int = 0):
        rng = torch.Generator().manual_seed(len(name) + 1000 * num_frames)
        target = make_encoded(name, features(adapter, num_frames, rng), text)
        prompt = None
        if num_prompt_frames:
            prompt = make_encoded(f"{name}-prompt", features(adapter, num_prompt_frames, rng), "Prompt.")
        return Example(target, prompt, seed)

    return make


@pytest.fixture
def three_examples(make_example) -> Callable[..., list[Example]]:
    """Rows of unequal lengths, with and without a prompt."""

    def make(adapter) -> list[Example]:
        return [
            make_example(adapter, "long", 21, "A sentence of some length, with a comma.", 19),
            make_example(adapter, "short", 7, "Yes."),
            make_example(adapter, "middle", 12, "Three words here.", 14),
        ]

    return make
