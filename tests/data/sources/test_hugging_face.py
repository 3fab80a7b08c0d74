"""Data sets of Hugging Face: saved tables, parquet, and names of the hub."""

import io

import numpy as np
import pytest
import soundfile

from calm_ft.data.audio import load_clip
from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rows(make_tone):
    """Three clips as the `Audio` feature stores them: one with bytes of its own format each."""

    def content(frequency_hz, format):
        file = io.BytesIO()
        soundfile.write(file, make_tone(1.0, frequency_hz=frequency_hz), 24000, format=format)
        return file.getvalue()

    return [
        {"audio": {"bytes": content(300, "WAV"), "path": "x.wav"}, "sentence": "one", "speaker_id": 7, "locale": "fr"},
        {"audio": {"bytes": content(600, "FLAC"), "path": None}, "sentence": "two", "speaker_id": 8, "locale": None},
        {"audio": {"bytes": content(900, "OGG"), "path": None}, "sentence": "three", "speaker_id": 8, "locale": None},
    ]


def write_arrow(path, rows, kind=pyarrow.ipc.new_stream):
    table = pyarrow.Table.from_pylist(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with kind(str(path), table.schema) as writer:
        writer.write_table(table)


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("train/data-00000-of-00001.arrow", write_arrow),
        ("x.arrow", lambda path, rows: write_arrow(path, rows, pyarrow.ipc.new_file)),
        ("data/train-00000-of-00001.parquet", write_parquet),
    ],
)
def test_clips_inside_tables_become_files_with_their_sound(tmp_path, rows, cache, name, write):
    write(tmp_path / "set" / name, rows)
    (tmp_path / "set/dataset_info.json").write_text("{}")
    write_arrow(tmp_path / "set/train/cache-123.arrow", rows)
    recordings = read_recordings(tmp_path / "set")
    assert recordings.format == "hf_dataset"
    assert [(u.text, u.speaker) for u in recordings.utterances] == [("one", "7"), ("two", "8"), ("three", "8")]
    assert [u.language for u in recordings.utterances] == ["fr", "", ""]
    assert [u.audio_path.suffix for u in recordings.utterances] == [".wav", ".flac", ".ogg"]
    assert all(u.audio_path.is_relative_to(cache) for u in recordings.utterances)
    for utterance, frequency_hz in zip(recordings.utterances, (300, 600, 900), strict=True):
        samples = load_clip(utterance, 24000, 0.0).samples.numpy()
        assert np.abs(np.fft.rfft(samples)).argmax() * 24000 / len(samples) == pytest.approx(frequency_hz, abs=2)
    assert read_recordings(tmp_path / "set" / name).num_speakers == 2


def test_a_second_reading_writes_nothing(tmp_path, rows, cache):
    write_parquet(tmp_path / "set/a.parquet", rows)
    read_recordings(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    read_recordings(tmp_path / "set")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_rows_that_point_to_files_and_faulty_rows(tmp_path, write_clip):
    path = write_clip("set/audio/a.wav")
    rows = [
        {"audio": {"bytes": None, "path": "audio/a.wav"}, "text": "here"},
        {"audio": {"bytes": None, "path": "gone.wav"}, "text": "gone"},
        {"audio": {"bytes": None, "path": None}, "text": "nothing"},
    ]
    write_parquet(tmp_path / "set/a.parquet", rows)
    recordings = read_recordings(tmp_path / "set")
    assert [u.audio_path for u in recordings.utterances] == [path]
    assert [(e.path, e.reason) for e in recordings.exclusions] == [
        (f"{tmp_path}/set/a.parquet:2", "there is no audio file 'gone.wav'"),
        (f"{tmp_path}/set/a.parquet:3", "the row names no audio file"),
    ]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_parquet(path, [{"a": 1, "b": 2}]), "has the columns a, b; a data set needs one of audio"),
        (lambda path: path.write_bytes(b"PAR1 junk"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["a.parquet"])
def test_a_table_that_is_none_is_refused(tmp_path, write, message, name):
    write(tmp_path / name)
    with pytest.raises(UserError, match=message):
        read_recordings(tmp_path)


def test_a_set_of_the_hub_is_read_from_its_cache_and_refused_in_one_sentence_without(tmp_path, rows, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("hf://datasets/anna/voice", "datasets:anna/voice"):
        with pytest.raises(
            UserError, match="hub cannot be reached and hf://datasets/anna/voice is not in its local cache"
        ):
            read_recordings(name)
    stored = tmp_path / "hub/datasets--anna--voice"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs/main").write_text("0" * 40)
    write_parquet(stored / f"snapshots/{'0' * 40}/data/train.parquet", rows)
    assert [u.text for u in read_recordings("hf://datasets/anna/voice").utterances] == ["one", "two", "three"]
