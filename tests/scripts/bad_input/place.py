"""Where a fault is set up: a copy of good recordings, a model of a handful of channels, and a finished run of both."""

import json
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from calm_ft.training.resume import read_checkpoint
from tests.training.tiny_run import run_train

NUM_STEPS = 2
Tree = dict[Path, bytes | None]


@dataclass(frozen=True)
class Pristine:
    """What every place is a copy of; not to be changed."""

    good: Path
    cache: Path
    model: Path
    run: Path


@dataclass(frozen=True)
class Place:
    """One test's own folders.

    good: recordings; here: an empty folder; cache: their features; run: the default output_dir, which is not there yet.
    """

    root: Path
    pristine: Pristine
    monkeypatch: pytest.MonkeyPatch

    @property
    def good(self) -> Path:
        return self.root / "good"

    @property
    def here(self) -> Path:
        return self.root / "here"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def fill(self) -> None:
        shutil.copytree(self.pristine.good, self.good)
        shutil.copytree(self.pristine.cache, self.cache)
        self.here.mkdir()

    def interrupted_run(self) -> None:
        """The pristine run in `run`, as if a signal had ended it after its last step."""
        shutil.copytree(self.pristine.run, self.run)
        record = self.run / "run.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "interrupted"}))

    def train(self, *overrides: str) -> int:
        """scripts/train.py with these overrides in the place of the usual ones; returns its exit code."""
        given = [self.filled_in(each) for each in overrides]
        taken = {each.partition("=")[0].lstrip("+~") for each in given}
        usual = [*small(self.cache, self.pristine.model), f"data.path={self.good}", f"output_dir={self.run}"]
        kept = [each for each in usual if each.partition("=")[0] not in taken]
        try:
            return run_train(self.monkeypatch, *kept, *given)
        finally:
            limit_file_size(None)

    def filled_in(self, override: str) -> str:
        for name in ("good", "here", "run"):
            override = override.replace(f"{{{name}}}", str(getattr(self, name)))
        return override

    def tree(self) -> Tree:
        """Every path below the root with its content."""
        return {path: path.read_bytes() if path.is_file() else None for path in self.root.rglob("*")}

    def facts(self) -> dict:
        return json.loads((self.run / "run.json").read_text())

    def steps(self) -> list[int]:
        """The steps of the checkpoints, all of which can be read."""
        return sorted(read_checkpoint(path)["global_step"] for path in self.run.glob("checkpoints/step-*.ckpt"))


def small(cache: Path, model: Path) -> list[str]:
    """Overrides by which a run takes less than a second."""
    return [
        "adapter=pocket_tts",
        f"adapter.model={model}",
        f"data.cache_dir={cache}",
        "data.max_batch_size=2",
        "trainer.accelerator=cpu",
        f"trainer.max_steps={NUM_STEPS}",
        "trainer.log_every_n_steps=1",
        "checkpoint.every_n_steps=1",
        "evaluation.num_sentences=0",
        "logger=csv",
    ]


def limit_file_size(num_bytes: int | None) -> None:
    """From here on no file of this process can grow over this size, as on a disk that is full; None: there is room."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if num_bytes is None else num_bytes, hard))
