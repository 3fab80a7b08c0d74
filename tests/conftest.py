"""Fixtures shared by all rooms: the embedded model, and recordings in folders as people have them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.config import ASSETS
from calm_ft.flow.interpolant import CosineInterpolant
from calm_ft.flow.loss_weighting import NoWeighting
from calm_ft.flow.noise_sampling import MirroredNoise
from calm_ft.flow.objective import FlowMatching, FlowMatchingWithLSD, Objective
from calm_ft.flow.stop_gradient import FreezeTargetParameters
from calm_ft.flow.time_sampling import LogitNormalTimes

NANO = ASSETS / "nano"
DEMO_TRAIN = ASSETS / "demo_voice" / "train"


def default_objective() -> Objective:
    return FlowMatchingWithLSD(
        CosineInterpolant(), LogitNormalTimes(), NoWeighting(), FreezeTargetParameters(), noise_sampler=MirroredNoise()
    )


def flow_matching_objective() -> Objective:
    """For heads with one time condition, which LSD cannot train."""
    return FlowMatching(CosineInterpolant(), LogitNormalTimes(), NoWeighting(), MirroredNoise())


@pytest.fixture(scope="session", autouse=True)
def no_voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A library of voices of the tests' own, instead of the user's."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("CALM_FT_VOICES", str(tmp_path_factory.mktemp("library") / "voices"))
        yield


@pytest.fixture
def nano_adapter() -> PocketTTSAdapter:
    """The embedded model, loaded anew for each test, since tests train it."""
    return PocketTTSAdapter(str(NANO), default_objective())


@pytest.fixture
def speech_file() -> Path:
    """A real recording of the demo voice."""
    return sorted(DEMO_TRAIN.glob("*.ogg"))[0]
