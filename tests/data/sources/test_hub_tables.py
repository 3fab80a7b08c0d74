"""Data sets of a hub that a server on this machine plays: what is asked for, what lies on the disk, what fails."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError
from tests.data.sources.local_hub import LocalHub, StoredSet, serve

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ANNA = "hf://datasets/anna/voice"
GROUP_ROWS = 16
READ = (
    "import sys; from calm_ft.data.sources import read_recordings; print(len(read_recordings(sys.argv[1]).utterances))"
)


def wav(number: int) -> bytes:
    file = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(24000) * (0.02 + 0.001 * number))
    soundfile.write(file, samples, 24000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def table(first: int, num_rows: int) -> bytes:
    """A table of clips of 48 kB, some of them by a second speaker, and of as much that no reader of speech needs."""
    rows = [
        {
            "audio": {"bytes": wav(number), "path": f"{number}.wav"},
            "text": f"sentence number {number}",
            "speaker_id": str(number % 2),
            "embedding": np.random.default_rng(number).bytes(60_000),
        }
        for number in range(first, first + num_rows)
    ]
    return written(rows)


def written(rows: list[dict]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=GROUP_ROWS)
    return file.getvalue()


def anna() -> StoredSet:
    return StoredSet(
        {
            "README.md": b"Anna",
            ".gitattributes": b"*",
            "data/test-00000-of-00001.parquet": table(100, 4),
            "data/train-00000-of-00002.parquet": table(0, 40),
            "data/train-00001-of-00002.parquet": table(40, 40),
        }
    )


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub with the set anna/voice, and this user's folders in the test's."""
    with serve(LocalHub({("anna/voice", "main"): anna()})) as hub:
        hub.use(monkeypatch, tmp_path)
        yield hub


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def texts(path: str) -> list[str]:
    return [each.text for each in read_recordings(path).utterances]


def store(folder: Path, stored: StoredSet) -> Path:
    """The set as a download of all its files leaves it."""
    for name, content in stored.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_recordings_are_those_of_the_downloaded_set(hub, tmp_path):
    downloaded = read_recordings(store(tmp_path / "voice", anna()))
    streamed = read_recordings(ANNA)
    assert len(streamed.utterances) == 84
    assert streamed.utterances == downloaded.utterances
    assert streamed.exclusions == downloaded.exclusions == []


def test_no_table_comes_to_the_disk_and_columns_that_are_not_needed_are_not_asked_for(hub, tmp_path):
    sent = hub.sets["anna/voice", "main"].files
    read_recordings(ANNA)
    on_disk = files_below(tmp_path)
    assert {path.suffix for path in on_disk} == {".wav", ".jsonl", ".json", ".lock"}
    assert sum(path.stat().st_size for path in on_disk) < 1.05 * 84 * len(wav(0))
    assert hub.num_bytes(".parquet") < 0.6 * sum(len(each) for each in sent.values())
    hub.sent.clear()
    assert len(read_recordings(ANNA).utterances) == 84
    assert hub.sent == []


@pytest.mark.slow
def test_a_killed_download_goes_on_where_it_was(hub, tmp_path):
    """The process is killed while the second table is on its way."""
    num_all = 84 * len(wav(0))
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.getcwd()}
    hub.wait_after_bytes = num_all // 2
    with subprocess.Popen([sys.executable, "-c", READ, ANNA], env=environment, stdout=subprocess.PIPE) as process:
        assert hub.waits.wait(120)
        process.send_signal(signal.SIGKILL)
    clips = [path for path in files_below(tmp_path / "cache") if path.suffix == ".wav"]
    assert 20 < len(clips) < 80
    assert not any(path.suffix == ".parquet" for path in files_below(tmp_path))
    hub.wait_after_bytes, read_before = float("inf"), len(clips)
    hub.goes_on.set()
    hub.sent.clear()
    recordings = read_recordings(ANNA)
    assert recordings.utterances == read_recordings(store(tmp_path / "voice", anna())).utterances
    one_group = GROUP_ROWS * len(wav(0))
    assert hub.num_bytes() < num_all - read_before * len(wav(0)) + one_group + 3 * 2**16  # and three tables' indices


def test_a_clip_that_was_deleted_is_read_again(hub):
    first = read_recordings(ANNA + "/test").utterances
    first[2].audio_path.unlink()
    assert read_recordings(ANNA + "/test").utterances == first
    assert first[2].audio_path.read_bytes() == wav(102)


def test_a_new_commit_that_leaves_the_tables_alone_downloads_none_of_them(hub):
    read_recordings(ANNA)
    hub.sets["anna/voice", "main"].files["README.md"] = b"Anna, who says more of herself"
    hub.sets["anna/voice", "main"].files["data/train-00002-of-00002.parquet"] = table(90, 3)
    hub.sent.clear()
    assert len(read_recordings(ANNA).utterances) == 87
    assert {name for name, _, _ in hub.sent} == {"data/train-00002-of-00002.parquet"}


@pytest.mark.slow
def test_a_split_a_folder_a_table_and_a_number_of_rows_can_be_taken(hub):
    test, train = [f"sentence number {n}" for n in range(100, 104)], [f"sentence number {n}" for n in range(80)]
    assert texts(ANNA + "/test") == test
    assert {name for name, _, _ in hub.sent} == {"data/test-00000-of-00001.parquet"}
    assert texts(ANNA + "/data") == texts(ANNA + "@main") == [*test, *train]
    assert texts(ANNA + "/data/train-00001-of-00002.parquet") == train[40:]
    assert texts(ANNA + "/data/train") == texts("datasets:anna/voice/train") == train
    assert texts(ANNA + "/train[:50]") == train[:50]
    assert texts(ANNA + "[:6]") == [*test, *train[:2]]


def test_so_many_rows_ask_for_no_more_than_their_row_groups(hub):
    assert texts(ANNA + "/train[:10]") == [f"sentence number {n}" for n in range(10)]
    assert hub.num_bytes() < (GROUP_ROWS + 1) * len(wav(0)) + 2**16
    hub.sent.clear()
    assert len(texts(ANNA + "/train[:20]")) == 20
    assert hub.num_bytes() < (GROUP_ROWS + 1) * len(wav(0)) + 2**16


def test_configurations_are_those_of_the_card(hub):
    files = {"a/train.parquet": table(0, 2), "b/x.parquet": table(2, 2), "b/y.parquet": table(4, 2)}
    configs = [
        {"config_name": "clean", "data_files": "a/*.parquet"},
        {
            "config_name": "other",
            "data_files": [{"split": "train", "path": "b/x*"}, {"split": "dev", "path": ["b/y*"]}],
        },
    ]
    stored = hub.sets["anna/voice", "main"] = StoredSet(files, {"configs": configs})
    assert len(texts(ANNA + "/other")) == 4
    assert texts(ANNA + "/other/dev") == ["sentence number 4", "sentence number 5"]
    with pytest.raises(UserError, match="has several configurations: add one of /clean, /other to its name"):
        read_recordings(ANNA)
    with pytest.raises(UserError, match="has no part 'test': add one of /clean, /other"):
        read_recordings(ANNA + "/test")
    stored.card["configs"][0]["default"] = True
    assert texts(ANNA) == texts(ANNA + "/train") == ["sentence number 0", "sentence number 1"]


def test_a_set_that_is_no_table_is_read_as_the_hub_converted_it(hub):
    hub.sets["anna/voice", "main"] = StoredSet({"all.tar.gz": b"x", "voice.py": b""})
    with pytest.raises(
        UserError, match=r"neither tables .* nor audio files, found \.gz, \.py, and the hub keeps no parquet"
    ):
        read_recordings(ANNA)
    converted = {"de/partial-train/0000.parquet": table(0, 2), "en/test/0000.parquet": table(2, 2)}
    hub.sets["anna/voice", "refs/convert/parquet"] = StoredSet(converted)
    assert texts(ANNA + "/de/train") == texts(ANNA + "/de") == ["sentence number 0", "sentence number 1"]
    assert texts(ANNA + "@refs/convert/parquet/en") == ["sentence number 2", "sentence number 3"]
    with pytest.raises(UserError, match="add one of /de, /en to its name"):
        read_recordings(ANNA)


def test_audio_that_rows_name_by_its_path_is_downloaded_file_by_file(hub):
    rows = [
        {"file_name": "clips/a.wav", "text": "from the folder of the table"},
        {"file_name": "b.wav", "text": "from a folder that it lies in"},
        {"file_name": "c.wav", "text": "from nowhere"},
    ]
    files = {"data/train.parquet": written(rows), "data/clips/a.wav": wav(1), "audio/b.wav": wav(2), "more.wav": wav(3)}
    hub.sets["anna/voice", "main"] = StoredSet(files)
    recordings = read_recordings(ANNA)
    assert [each.audio_path.read_bytes() for each in recordings.utterances] == [wav(1), wav(2)]
    assert [(each.path, each.reason) for each in recordings.exclusions] == [
        (f"{ANNA}/data/train.parquet:3", "there is no audio file 'c.wav' in the set")
    ]
    assert "more.wav" not in {name for name, _, _ in hub.sent}


def test_a_set_of_single_files_is_fetched_without_archives_or_one_folder_of_it(hub):
    files = {"metadata.csv": b"file_name,text\na/1.wav,one\nb/2.wav,two\n", "b.zip": b"zip"}
    files |= {"a/1.wav": wav(1), "a/1.txt": b"one", "b/2.wav": wav(2), "b/2.txt": b"two"}
    hub.sets["anna/voice", "main"] = StoredSet(files)
    assert texts(ANNA + "/b") == ["two"]
    assert {name for name, _, _ in hub.sent} == {"b/2.wav", "b/2.txt"}
    with pytest.raises(UserError, match=r"set of single files; .* a folder can be taken, .* found a, b"):
        read_recordings(ANNA + "/train[:3]")
    hub.sets["anna/voice", "main"].files = {name: each for name, each in files.items() if not name.endswith(".txt")}
    assert texts(ANNA) == ["one", "two"]
    assert not any(name.endswith(".zip") for name, _, _ in hub.sent)


def test_arrow_tables_of_save_to_disk_are_streamed_too(hub, tmp_path):
    content = pyarrow.BufferOutputStream()
    rows = pyarrow.Table.from_pylist(parquet.read_table(io.BytesIO(table(0, 40))).to_pylist())
    with pyarrow.ipc.new_stream(content, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=10)
    stored = StoredSet({"train/data-00000-of-00001.arrow": content.getvalue().to_pybytes(), "train/cache-1.arrow": b""})
    hub.sets["anna/voice", "main"] = stored
    assert read_recordings(ANNA + "/train").utterances == read_recordings(store(tmp_path / "voice", stored)).utterances
    assert {path.suffix for path in files_below(tmp_path / "cache")} == {".wav", ".jsonl", ".json", ".lock"}


def test_a_gated_and_a_missing_set_and_one_without_audio_are_refused_in_one_sentence(hub):
    hub.sets["anna/voice", "main"].gated = True
    with pytest.raises(
        UserError, match=r"are gated: accept the terms at https://huggingface.co/datasets/anna/voice, then"
    ):
        read_recordings(ANNA)
    with pytest.raises(UserError, match=r"The hub has no hf://datasets/anna/none, or it is private: .*hf auth login"):
        read_recordings("hf://datasets/anna/none")
    hub.sets["anna/voice", "main"] = StoredSet({"a.parquet": written([{"question": "why", "text": "so"}])})
    with pytest.raises(
        UserError, match=r"voice/a.parquet has the columns question, text; a data set needs one of audio"
    ):
        read_recordings(ANNA)
    hub.sets["anna/voice", "main"] = StoredSet({"a.parquet": b"PAR1 junk PAR1"})
    with pytest.raises(UserError, match=r"anna/voice/a.parquet cannot be read"):
        read_recordings(ANNA)
    for name in ("hf://datasets/squad", ANNA + "[10:20]", ANNA + "/train[:10%]"):
        with pytest.raises(UserError, match="names no data set of the hub; give hf://datasets/OWNER/NAME"):
            read_recordings(name)
    hub.sets["anna/voice", "main"] = anna()
    with pytest.raises(UserError, match=r"data\.format=ljspeech does not read"):
        read_recordings(ANNA + "/test", format="ljspeech")


def test_without_the_hub_what_was_read_is_read_again_and_the_rest_refused_in_one_sentence(hub, monkeypatch):
    import huggingface_hub.constants as constants

    before = read_recordings(ANNA + "/test").utterances
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.sets.clear()
    assert read_recordings(ANNA + "/test").utterances == before
    for name in (ANNA + "/train", "hf://datasets/bert/voice"):
        with pytest.raises(UserError, match=r"hub cannot be reached and .*hf download (anna|bert)/voice") as refusal:
            read_recordings(name)
        assert str(refusal.value).count("\n") == 0


def test_a_full_disk_is_one_sentence_and_what_is_there_is_kept(hub, tmp_path):
    """A limit on the size of files stands for the disk: it lets clips of 48 kB through, and none of 96 kB."""
    resource = pytest.importorskip("resource")
    longer = io.BytesIO()
    soundfile.write(longer, np.zeros(48000), 24000, format="WAV", subtype="PCM_16")
    last = written([{"audio": {"bytes": longer.getvalue(), "path": None}, "text": "longer"}])
    hub.sets["anna/voice", "main"] = StoredSet({"a.parquet": table(0, 20), "b.parquet": last})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
        with pytest.raises(
            UserError, match=r"recordings cannot be written \(File too large\); make room, or set XDG_CACHE"
        ):
            read_recordings(ANNA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    hub.sent.clear()
    assert len(read_recordings(ANNA).utterances) == 21
    assert {name for name, _, _ in hub.sent} == {"b.parquet"}
    assert not any(path.name.startswith(".") for path in files_below(tmp_path))


def test_progress_is_shown_in_megabytes_of_what_is_left_and_in_clips_where_their_number_is_given(
    hub, monkeypatch, capsys
):
    monkeypatch.setattr("calm_ft.progress.LINE_INTERVAL_SEC", 0.0)
    read_recordings(ANNA + "/train[:20]")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("downloading anna/voice: 16/20 [")
    assert "<" in lines[0]
    read_recordings(ANNA + "/train")
    lines = capsys.readouterr().err.splitlines()
    num_mb = sum(-(-len(each) // 10**6) for name, each in anna().files.items() if "train" in name)
    assert lines[-1].startswith(f"downloading anna/voice, MB: {num_mb}/{num_mb} [")
    assert len(lines) > 3
    read_recordings(ANNA + "/train")
    assert capsys.readouterr().err == ""
