"""The commands of the pages, run in their order in a folder as a user has it, on the embedded model for a few steps."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from calm_ft.config import ASSETS
from tests.conftest import NANO
from tests.data.sources.local_hub import LocalHub, StoredSet, serve, table_of
from tests.docs.pages import README, ROOT, Command, blocks, commands
from tests.scripts.run_script import run
from tests.training.tiny_run import copy_short_clips, run_train

NOT_RUN = {
    "make ": "CI runs it",
    "hf ": "it asks for a token",
    "hydra/launcher=": "tests/scripts/test_sweeps.py has jobs in other processes",
    "import submitit": "tests/scripts/test_prepare.py has the shares in two processes",
    "trainer.strategy=ddp": "tests/scripts/test_data_parallel.py has several processes",
    "--hub": "it would upload",
    "faster-whisper:": "without a download it measures what --asr none does",
    "--asr moonshine": "tests/metrics/test_recognisers.py has it, where its package can be had",
    "--asr openai/": "without a download it measures what --asr none does",
    "data.format=ljspeech": "the recordings here are pairs",
    "adapter.local_dir=DIR": "the weights are not at hand",
    **dict.fromkeys(("runs/chatterbox", "runs/turbo", "runs/french"), "the weights are not at hand"),
}
"""What a line, or a block of Python, may hold that is not run here, and why."""
TINY = [
    "data.max_batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "logger=csv",
    "evaluation.num_sentences=1",
    "evaluation.base_voices=null",
]
FEWER = {"evaluate": ["--num-sentences", "1", "--num-seeds", "1"], "compare": ["--sentences", "1"]}
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("data", "training", "evaluation", "sweeps", "chatterbox")]
PAGES.append(ROOT / "docs" / "adding_a_system.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's commands were run: recordings, other voices, and the finished run runs/mine."""
    folder = tmp_path_factory.mktemp("user")
    copy_short_clips(folder / "my_recordings")
    copy_short_clips(folder / "more", 2)
    shutil.copy(min((folder / "my_recordings").glob("*.ogg")), folder / "my_recordings" / "000.ogg")
    shutil.copy(min((folder / "my_recordings").glob("*.txt")), folder / "my_recordings" / "000.txt")
    for voice in ("adam", "alicia"):
        shutil.copytree(ASSETS / "judging_voices" / voice, folder / "other_voices" / voice)
    with pytest.MonkeyPatch.context() as monkeypatch:
        _run_all(README, folder, monkeypatch)
    for name in ("a", "b"):
        shutil.copytree(folder / "runs" / "mine", folder / "runs" / name)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub on this machine with the set that the pages name, of the demo's voice."""
    clips = sorted((ASSETS / "demo_voice" / "train").glob("*.ogg"))
    files = {"train.parquet": table_of(clips[:8]), "SPLIT.parquet": table_of(clips[8:16])}
    data_files = [{"split": Path(name).stem, "path": name} for name in files]
    card = {"configs": [{"config_name": "CONFIGURATION", "data_files": data_files, "default": True}]}
    with serve(LocalHub({("OWNER/NAME", "main"): StoredSet(files, card)})) as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_readmes_commands_leave_a_model_a_page_and_speech(folder: Path) -> None:
    assert (folder / "runs" / "mine" / "export" / "model.safetensors").is_file()
    assert (folder / "runs" / "mine" / "evaluation" / "summary.json").is_file()
    assert (folder / "comparison.html").stat().st_size > 10_000
    assert (folder / "hello.wav").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: Path, folder: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run_all(page, folder, monkeypatch) > 0
    for content in filter(_can_run, blocks(page, "python")):
        exec(compile(content, page.name, "exec"), {})


def _run_all(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run what can be run of a page; returns how many commands that were."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("calm_ft.metrics.hub._hub_answers", lambda: False)
    chosen = [each for each in commands(page) if _can_run(each.line)]
    for command in chosen:
        assert _exit_code(command, folder, monkeypatch) == 0, command.line
    return len(chosen)


def _can_run(code: str) -> bool:
    """Chatterbox's released weights are not at hand; its rehearsal models are."""
    is_released = "experiment=chatterbox" in code and "_tiny" not in code
    return not is_released and not any(sign in code for sign in NOT_RUN)


def _exit_code(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    words = command.words
    if words[0] == "pocket-tts":
        # The stock program can abort at its very end, after it has written its file.
        words[0] = str(Path(sys.executable).with_name(words[0]))
        subprocess.run(words, check=False)
        return 0 if (folder / words[-1]).is_file() else 1
    name, arguments = Path(words[1]).stem, words[2:]
    if name == "train":
        return run_train(monkeypatch, *arguments, *_tiny(command.line, folder))
    return run(monkeypatch, import_module(f"scripts.{name}"), *arguments, *FEWER.get(name, []))


def _tiny(line: str, folder: Path) -> list[str]:
    """Settings that make a run of this command take seconds."""
    tiny = [*TINY, f"data.cache_dir={folder / 'cache'}"]
    tiny.append(f"trainer.max_steps={4 if 'resume=true' in line else 2}")
    tiny.append(f"evaluation.every_n_steps={1 if 'checkpoint.monitor=eval/' in line else 'null'}")
    if "adapter=pocket_tts" in line:
        tiny.append(f"adapter.model={NANO}")
    if "experiment=teacher_then_student" in line:  # the stand-in learns its null branch as the teacher is tuned
        tiny += [f"adapter.student={NANO}", "teacher.trainer.max_steps=2", "teacher.adapter.conditioning_dropout=0.2"]
    if "adapter=chatterbox" in line:
        tiny.append("adapter.max_speech_tokens=80")  # random weights speak to the limit
    if "data=replay" in line:
        tiny.append("data.sources.base_voices.path=other_voices")
    if "hydra/sweeper=optuna" in line:
        tiny.append("hydra.sweeper.n_trials=1")
    return tiny
