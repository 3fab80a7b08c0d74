"""Recordings as a user has them, and one finished run that several tests look at."""

from pathlib import Path

import pytest

from tests.training.tiny_run import copy_short_clips, run_train


@pytest.fixture(scope="session")
def recordings_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_short_clips(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny(cache_dir: Path) -> list[str]:
    """Overrides that make any run take seconds and leave the user's own folders alone."""
    return [
        f"data.cache_dir={cache_dir}",
        "data.max_batch_size=2",
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "trainer.log_every_n_steps=1",
        "logger=csv",
        "evaluation.num_sentences=1",
        "evaluation.every_n_steps=null",
    ]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path, tiny: list[str]) -> Path:
    """The folder of a run that came to its end; not to be changed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_train(monkeypatch, *tiny, f"data.path={recordings_dir}", f"output_dir={run}") == 0
    return run


@pytest.fixture(scope="session")
def lora_run(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path, tiny: list[str]) -> Path:
    """The folder of a finished run of LoRA at a rate that is heard; not to be changed."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        overrides = ["experiment=lora", f"data.path={recordings_dir}", f"output_dir={folder}", "optimizer.lr=1e-2"]
        assert run_train(monkeypatch, *tiny, *overrides) == 0
    return folder
