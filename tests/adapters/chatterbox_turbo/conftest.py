"""The tiny Turbo, and clips encoded by it."""

from pathlib import Path

import pytest

from calm_ft.adapters.chatterbox_turbo.adapter import ChatterboxTurboAdapter
from calm_ft.config import build, compose_config, plain
from calm_ft.data.dataset import Example
from calm_ft.data.prepare import EncodedUtterance
from tests.adapters import contract
from tests.adapters.recordings import write_speechlike


def make_turbo(experiment: str = "chatterbox_turbo_t3", **settings: object) -> ChatterboxTurboAdapter:
    """The tiny model as an experiment configures it, with other settings of the adapter."""
    configured = plain(compose_config([f"experiment={experiment}", "adapter=chatterbox_turbo_tiny"]))["adapter"]
    return build({**configured, **settings})


@pytest.fixture
def turbo() -> ChatterboxTurboAdapter:
    return make_turbo()


@pytest.fixture(scope="session")
def turbo_clips(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedUtterance]:
    """Three clips of unequal lengths, encoded by the tiny model of seed 0."""
    return contract.encoded(make_turbo(), tmp_path_factory.mktemp("turbo_clips"))


@pytest.fixture
def turbo_examples(turbo_clips: list[EncodedUtterance]) -> list[Example]:
    """Each prompted by the next, the last one by none."""
    return contract.examples(turbo_clips)


@pytest.fixture
def turbo_voice_file(tmp_path: Path) -> Path:
    return write_speechlike(tmp_path / "voice.wav", 6.0, 24_000, seed=5)
