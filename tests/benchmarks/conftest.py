"""One real run of the embedded model, as the studies make them, in small."""

import shutil
from pathlib import Path

import pytest

from benchmarks.studies import BASE_VOICE, JUDGING_VOICES, judged_on
from calm_ft.config import ASSETS
from tests.training.tiny_run import copy_short_clips, run_train


def copy_clips(source: Path, folder: Path, num_clips: int) -> Path:
    folder.mkdir(parents=True)
    for path in sorted(source.glob("*.ogg"))[:num_clips]:
        shutil.copy(path, folder)
        shutil.copy(path.with_suffix(".txt"), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished LoRA run, `full-0`, of two steps, judged in one base voice too; not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    heldout = copy_clips(ASSETS / "demo_voice" / "heldout", folder / "heldout", 3)
    judged = copy_clips(JUDGING_VOICES / BASE_VOICE, folder / BASE_VOICE, 3)
    other = copy_clips(JUDGING_VOICES / "adam", folder / "adam", 2)
    with pytest.MonkeyPatch.context() as monkeypatch:
        code = run_train(
            monkeypatch,
            "experiment=lora",
            "logger=csv",
            "trainer.accelerator=cpu",
            "trainer.max_steps=2",
            "trainer.val_check_interval=2",
            "trainer.log_every_n_steps=1",
            "evaluation.every_n_steps=null",
            f"evaluation.heldout_path={heldout}",
            *judged_on(folder / "judging", judged, {"adam": other}),
            f"data.path={copy_short_clips(folder / 'recordings')}",
            f"data.cache_dir={folder / 'cache'}",
            f"output_dir={folder / 'full-0'}",
        )
    assert code == 0
    return folder
