"""The tiny Chatterbox, its files, and clips encoded by it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.config import build, compose_config, plain
from calm_ft.data.dataset import Example
from calm_ft.data.prepare import EncodedUtterance
from tests.adapters import contract
from tests.adapters.recordings import write_speechlike


def make_adapter(experiment: str = "chatterbox_t3", **settings: object) -> ChatterboxAdapter:
    """The tiny model as an experiment configures it, with other settings of the adapter."""
    configured = plain(compose_config([f"experiment={experiment}", "adapter=chatterbox_tiny"]))["adapter"]
    return build({**configured, **settings})


@pytest.fixture
def adapter() -> ChatterboxAdapter:
    return make_adapter()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedUtterance]:
    """Three clips of unequal lengths, encoded by the tiny model of seed 0."""
    return contract.encoded(make_adapter(), tmp_path_factory.mktemp("clips"))


@pytest.fixture
def examples(clips: list[EncodedUtterance]) -> list[Example]:
    """Each prompted by the next, the last one by none."""
    return contract.examples(clips)


@pytest.fixture(scope="session")
def session_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model's files, conds.pt among them."""
    folder = tmp_path_factory.mktemp("files")
    voice = write_speechlike(folder / "voice.wav", 3.0, 24_000)
    make_adapter("chatterbox_full").export(folder / "model", voice)
    (folder / "model" / "README.md").unlink()
    return folder / "model"


@pytest.fixture
def files(session_files: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(session_files, tmp_path / "model"))


@pytest.fixture
def voice_file(tmp_path: Path) -> Path:
    return write_speechlike(tmp_path / "voice.wav", 3.0, 24_000, seed=5)


@pytest.fixture
def from_files(files: Path) -> Callable[..., ChatterboxAdapter]:
    """An adapter of the files as they are when it is called."""
    return lambda **settings: make_adapter(local_dir=str(files), **settings)
