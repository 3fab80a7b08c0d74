"""The places of the faults: made once, copied for each."""

from pathlib import Path

import pytest

from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.scripts.bad_input.place import Place, Pristine, small
from tests.training.tiny_run import run_train


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path) -> Pristine:
    root = tmp_path_factory.mktemp("pristine")
    made = Pristine(recordings_dir, root / "cache", write_tiny_bundle(root / "model"), root / "run")
    overrides = [*small(made.cache, made.model), f"data.path={made.good}", f"output_dir={made.run}"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_train(monkeypatch, *overrides) == 0
    return made


@pytest.fixture
def place(tmp_path: Path, pristine: Pristine, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    made = Place(tmp_path, pristine, monkeypatch)
    made.fill()
    return made
