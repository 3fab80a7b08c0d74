"""The command prepare: its exit codes and sentences, what it prints, and what a SIGKILL leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.preparation.dataset import WORK
from scripts import prepare as script
from tests.data.sources.local_hub import LocalHub, StoredSet, serve, table_of
from tests.docs.pages import blocks
from tests.scripts.run_script import run

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "calm_ft/assets/demo_voice/train"


def copy_demo(folder: Path, num_clips: int) -> Path:
    folder.mkdir()
    for audio in sorted(DEMO.glob("*.ogg"))[:num_clips]:
        shutil.copy(audio, folder)
        shutil.copy(audio.with_suffix(".txt"), folder)
    return folder


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def recordings(tmp_path):
    return copy_demo(tmp_path / "recordings", 4)


def error_of(monkeypatch, capsys, *arguments) -> str:
    """The one sentence on stderr of a command that ends with code 2."""
    assert run(monkeypatch, script, *arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_folder_becomes_a_dataset_and_the_next_commands_are_named(recordings, tmp_path, monkeypatch, capsys):
    dataset = tmp_path / "my dataset"
    assert run(monkeypatch, script, recordings, "--output-dir", dataset, "--language", "en") == 0
    said = capsys.readouterr().out
    assert "4 clips" in said
    assert "report.html" in said
    assert f"'data.path={dataset}'" in said
    assert (dataset / "manifest.jsonl").exists()


def test_a_set_of_the_hub_becomes_a_dataset_and_its_clips_are_named_by_their_rows(tmp_path, monkeypatch, capsys):
    content = table_of(sorted(DEMO.glob("*.ogg"))[:4])
    dataset = tmp_path / "dataset"
    with serve(LocalHub({("anna/voice", "main"): StoredSet({"data/train.parquet": content})})) as hub:
        hub.use(monkeypatch, tmp_path)
        name = "hf://datasets/anna/voice/train[:3]"
        assert run(monkeypatch, script, name, "--output-dir", dataset, "--language", "en") == 0
    assert "3 clips" in capsys.readouterr().out
    kept = rows_of(dataset / "manifest.jsonl") + rows_of(dataset / "heldout.jsonl")
    assert sorted(each["source"] for each in kept) == [f"data/train/00000{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--tokenizer", "nowhere.model", "nowhere.model cannot be read"),
        ("--tokenizer", str(Path(__file__)), "is no tokenizer that can be loaded"),
        ("--language", "english", "--language english is no ISO 639 code"),
        ("--max-sec", "2", "--max-sec 2 should be a number of seconds from 3 to 30"),
        ("--max-sec", "nan", "--max-sec nan should be a number of seconds from 3 to 30"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(recordings, tmp_path, monkeypatch, capsys, option, value, said):
    arguments = (recordings, "--output-dir", tmp_path / "dataset", option, value)
    assert said in error_of(monkeypatch, capsys, *arguments)
    assert not (tmp_path / "dataset").exists()


def test_what_is_lost_is_said_last_with_its_length_and_a_way_on(recordings, tmp_path, monkeypatch, capsys):
    samples, rate_hz = soundfile.read(recordings / "000.ogg")
    soundfile.write(recordings / "interview.wav", np.tile(samples, 50), rate_hz)
    arguments = (recordings, "--output-dir", tmp_path / "dataset", "--transcribe", "none", "--num-processes", 1)
    assert run(monkeypatch, script, *arguments) == 0
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if "have no text" in line]
    assert "2.2 minutes" in line
    assert "--transcribe" in line
    problems = [line for line in said if line.startswith(("note", "warning", "LEFT OUT"))]
    assert problems[-2:] == [line, problems[-1]]
    assert problems[-1].startswith("LEFT OUT in all: 1 clips, 2.2 minutes")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{tmp}/nowhere", "--output-dir", "{tmp}/dataset"], "There is no folder"),
        (["{tmp}/empty", "--output-dir", "{tmp}/dataset"], "is empty"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/other"], "holds other files, such as thesis.doc"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/recordings/dataset"], "one inside the other"),
        (["{tmp}/recordings", "--output-dir", "{tmp}"], "one inside the other"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/other/thesis.doc"], "is a file"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/dataset", "--loudness", "loud"], "--loudness loud"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/dataset", "--shard", "9/8"], "--shard 9/8"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/dataset", "--num-processes", "0"], "--num-processes 0"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/dataset", "--format", "xml"], "xml is unknown"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/dataset", "--speakers", "all"], "all is unknown"),
        (["{tmp}/recordings", "--output-dir", "{tmp}/dataset", "--transcribe", "ears"], "no recogniser 'ears'"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_code_2(recordings, tmp_path, monkeypatch, capsys, arguments, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.doc").touch()
    given = [each.format(tmp=tmp_path) for each in arguments]
    assert sentence in error_of(monkeypatch, capsys, *given)
    assert (tmp_path / "other/thesis.doc").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_one_sentence(recordings, tmp_path, monkeypatch, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    said = error_of(monkeypatch, capsys, recordings, "--output-dir", tmp_path / "locked/dataset")
    assert "permission denied" in said


def test_a_disk_that_fills_up_is_one_sentence_and_what_is_done_is_kept(recordings, tmp_path, monkeypatch, capsys):
    """A limit on the size of files stands for a full disk: the system refuses writes in the same way."""
    resource = pytest.importorskip("resource")
    arguments = (recordings, "--output-dir", tmp_path / "dataset", "--language", "en")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
        said = error_of(monkeypatch, capsys, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "cannot be written" in said
    assert run(monkeypatch, script, *arguments) == 0
    assert len(rows_of(tmp_path / "dataset/manifest.jsonl") + rows_of(tmp_path / "dataset/heldout.jsonl")) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_goes_on_and_makes_nothing_again(tmp_path):
    recordings = copy_demo(tmp_path / "recordings", 60)
    command = [sys.executable, str(ROOT / "scripts/prepare.py"), str(recordings), "--language", "de"]
    command += ["--num-processes", "2", "--output-dir"]
    dataset, undisturbed = tmp_path / "dataset", tmp_path / "undisturbed"
    clips, deadline = dataset / "clips", time.monotonic() + 240
    process = subprocess.Popen([*command, str(dataset)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (clips.is_dir() and len(list(clips.glob("[!.]*"))) >= 12) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = [
        row["row"]["path"] for row in rows_of_whole(dataset / "work/results.jsonl") if row["name"].startswith("clip ")
    ]
    assert 0 < len(done) < 60
    made = {path: (dataset / path).stat().st_mtime_ns for path in done}
    for folder in (dataset, undisturbed):
        subprocess.run([*command, str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    assert {path: (dataset / path).stat().st_mtime_ns for path in done} == made
    assert sorted(rows_of(dataset / "manifest.jsonl"), key=str) == sorted(
        rows_of(undisturbed / "manifest.jsonl"), key=str
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_and_says_how_it_goes_on(tmp_path, number):
    recordings = copy_demo(tmp_path / "recordings", 60)
    command = [sys.executable, str(ROOT / "scripts/prepare.py"), str(recordings), "--language", "de"]
    command += ["--num-processes", "2", "--output-dir", str(tmp_path / "dataset")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    results, deadline = tmp_path / "dataset" / WORK / "results.jsonl", time.monotonic() + 240
    while not (results.exists() and b'"clip ' in results.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from there" in said


def rows_of_whole(path: Path) -> list[dict]:
    """The rows of a file of which the last line may be torn."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
def test_the_jobs_of_the_data_page_prepare_the_shares_in_two_processes_and_join_them(tmp_path):
    copy_demo(tmp_path / "my_recordings", 8)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (example,) = [block for block in blocks(ROOT / "docs/data.md", "python") if "import submitit" in block]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, env=environment, check=True)
    dataset = tmp_path / "my_dataset"
    shares = [rows_of(dataset / WORK / f"results.{number}-of-2.jsonl") for number in (1, 2)]
    assert all(any(row["name"].startswith("clip ") for row in rows) for rows in shares)
    clips = rows_of(dataset / "manifest.jsonl") + rows_of(dataset / "heldout.jsonl")
    assert {row["id"] for row in clips} == {f"{number:03}" for number in range(8)}
