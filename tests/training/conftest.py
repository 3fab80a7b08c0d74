"""Recordings and their encoded clips, made once."""

from pathlib import Path

import pytest

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from tests.conftest import NANO, default_objective
from tests.training.tiny_run import copy_short_clips, encode


@pytest.fixture(scope="session")
def recordings_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_short_clips(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def clips(recordings_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[EncodedUtterance]:
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    return encode(adapter, recordings_dir, tmp_path_factory.mktemp("cache"))
