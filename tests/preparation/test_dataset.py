"""The dataset's folder: what may be written where, people's edits, resumable rows and splits."""

import errno
import json
import os
import time
from dataclasses import replace

import pytest

from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError
from calm_ft.preparation import dataset as folder
from calm_ft.preparation.checks import repeated_texts
from calm_ft.preparation.clips import HeardWord, PreparedClip, Problem
from calm_ft.preparation.dataset import ClipLeftOut, check_places, read_edits
from calm_ft.preparation.reading import Shard
from calm_ft.preparation.results import open_results
from calm_ft.preparation.splits import assign_splits, shares_of
from calm_ft.preparation.workers import Crash, Workers
from tests.preparation.jobs import LONG_SEC, double, end_process_at_three, process_id, sleep_unless_zero


def clip(id: str, text: str = "", source: str = "", start_sec: float = 0.0) -> PreparedClip:
    return PreparedClip(
        id=id,
        path=f"clips/{id}.flac",
        source=source or f"{id}.wav",
        source_start_sec=start_sec,
        source_end_sec=start_sec + 3.0,
        speaker="anna",
        original_text=text or f"text of {id}",
        text=text or f"text of {id}",
        text_from="given",
        duration_sec=3.0,
    )


@pytest.fixture
def places(tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    return recordings, tmp_path / "dataset"


def test_a_new_an_empty_and_an_own_folder_are_accepted(places):
    recordings, dataset = places
    check_places(recordings, dataset)
    dataset.mkdir()
    check_places(recordings, dataset)
    (dataset / "prepare.json").touch()
    (dataset / "notes.txt").touch()
    check_places(recordings, dataset)


def test_a_folder_with_other_files_is_refused(places):
    recordings, dataset = places
    dataset.mkdir()
    (dataset / "thesis.doc").touch()
    with pytest.raises(UserError, match=r"holds other files, such as thesis\.doc"):
        check_places(recordings, dataset)


@pytest.mark.parametrize(("given", "output"), [("a", "a/b"), ("a/b", "a"), ("a", "a"), ("a", "link")])
def test_recordings_and_dataset_inside_each_other_are_refused(tmp_path, given, output):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b")
    with pytest.raises(UserError, match="one inside the other"):
        check_places(tmp_path / given, tmp_path / output)


def test_a_missing_folder_and_a_file_in_the_way_are_named(places):
    recordings, dataset = places
    with pytest.raises(UserError, match="There is no folder"):
        check_places(recordings / "other", dataset)
    dataset.touch()
    with pytest.raises(UserError, match="is a file"):
        check_places(recordings, dataset)


def test_a_full_disk_is_said_in_one_sentence_and_another_fault_is_not_hidden(tmp_path):
    refusal = folder.disk_refusal(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert "No space left on device" in str(refusal)
    with pytest.raises(FileNotFoundError):
        folder.disk_refusal(tmp_path, FileNotFoundError(errno.ENOENT, "gone"))


def test_edits_are_read_from_both_files_and_the_last_correction_counts(tmp_path):
    (tmp_path / "excluded.jsonl").write_text('{"id": "a", "use": true}\n{"id": "b", "use": false}\n')
    (tmp_path / "corrections.jsonl").write_text(
        '{"id": "c", "text": "first"}\n\n{"id": "c", "text": "second", "use": false}\n'
        '{"id": "d", "text": "taken back"}\n{"id": "d", "text": null}\n'
    )
    edits = read_edits(tmp_path)
    assert edits.texts == {"c": "second"}
    assert edits.use == {"a": True, "c": False}


@pytest.mark.parametrize("line", ["no json", '["a"]', '{"use": true}', '{"id": "a", "use": "yes"}'])
def test_a_faulty_edit_is_named_with_file_and_line(tmp_path, line):
    (tmp_path / "excluded.jsonl").write_text('{"id": "a"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"excluded\.jsonl:2"):
        read_edits(tmp_path)


def test_the_manifest_is_read_by_the_format_of_that_name_with_its_words(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.flac").touch()
    words = [HeardWord("good", 0.2, 0.6), HeardWord("morning", 0.55, 1.0)]
    folder.write_rows(tmp_path / "manifest.jsonl", [folder.clip_row(clip("a", "good morning"), words)])
    (utterance,) = read_recordings(tmp_path).utterances
    assert (utterance.text, utterance.speaker) == ("good morning", "anna")
    assert [(word.word, word.start_sec, word.end_sec) for word in utterance.words or ()] == [
        ("good", 0.2, 0.55),
        ("morning", 0.55, 1.0),
    ]


def test_problems_and_the_audio_report_name_what_they_count(tmp_path):
    folder.write_problems(tmp_path, [Problem("one_word", "warning", "a single word", ("a", "b"), "record", ("x", "y"))])
    (row,) = json.loads((tmp_path / "problems.json").read_text())
    assert (row["count"], row["clips"]) == (2, ["a", "b"])
    left_out = [ClipLeftOut("b", "b.wav", "too_long", "40 s", 40.0), ClipLeftOut("c", "c.wav", "silent", "silent")]
    folder.write_audio_report(tmp_path, [clip("a"), replace(clip("d"), problems=("too_short",))], left_out)
    report = (tmp_path / "audio_report.txt").read_text()
    assert "Suitable: 1\n  a (3.0 s)" in report
    assert "Too short, but used: 1\n  d (3.0 s)" in report
    assert "Too long: 1\n  b (40.0 s)" in report
    assert "c: silent" in report


def test_rows_are_found_again_by_what_they_were_made_from(tmp_path):
    with open_results(tmp_path / "work") as results:
        results.write("clip a", "first", {"text": "ä"})
        results.write("clip a", "second", {"text": "ö"})
    with open_results(tmp_path / "work") as results:
        assert results.has("clip a", "second")
        assert not results.has("clip a", "first")
        assert results.read("clip a") == {"text": "ö"}


@pytest.mark.parametrize("lost_bytes", [1, 5, 20])
def test_a_torn_last_line_costs_its_row_alone(tmp_path, lost_bytes):
    with open_results(tmp_path / "work") as results:
        results.write("a", "", {"n": 1})
        results.write("b", "", {"n": 2})
    path = tmp_path / "work/results.jsonl"
    path.write_bytes(path.read_bytes()[:-lost_bytes])
    with open_results(tmp_path / "work") as results:
        assert results.has("a", "")
        assert not results.has("b", "")
        results.write("c", "", {"n": 3})
    with open_results(tmp_path / "work") as results:
        assert [results.read(name)["n"] for name in "ac"] == [1, 3]


def test_a_last_run_reads_the_rows_of_all_shards(tmp_path):
    for number in (1, 2):
        with open_results(tmp_path / "work", f"{number}-of-2") as results:
            results.write(f"clip {number}", "", {"n": number})
    with open_results(tmp_path / "work") as results:
        assert [results.read(f"clip {n}")["n"] for n in (1, 2)] == [1, 2]


def test_two_processes_do_not_write_one_dataset(tmp_path):
    with open_results(tmp_path / "work"), pytest.raises(UserError, match="another process"):
        open_results(tmp_path / "work").__enter__()


def test_every_source_belongs_to_one_shard_and_shares_are_alike():
    shards = [Shard.parse(f"{n}/4") for n in (1, 2, 3, 4)]
    sources = [f"folder/{n}.wav" for n in range(1000)]
    counts = [sum(shard.has(source) for source in sources) for shard in shards]
    assert all(sum(shard.has(source) for shard in shards) == 1 for source in sources)
    assert min(counts) > 200


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "a/b", "-1/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="--shard"):
        Shard.parse(text)


def test_a_crashed_process_costs_its_own_job_alone():
    with Workers(2) as workers:
        done = dict(workers.do(end_process_at_three, range(8)))
        assert dict(workers.do(double, range(3))) == {0: 0, 1: 2, 2: 4}, "others go on with new processes"
    assert {job for job, result in done.items() if isinstance(result, Crash)} == {3}
    assert {job: result for job, result in done.items() if job != 3} == {n: 2 * n for n in range(8) if n != 3}


def test_one_process_is_this_one():
    assert list(Workers(1).do(process_id, range(2))) == [(0, os.getpid()), (1, os.getpid())]


def test_where_the_work_is_broken_off_no_job_is_waited_for():
    def broken_off() -> None:
        with Workers(2) as workers:
            for _ in workers.do(sleep_unless_zero, range(4)):
                raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert time.monotonic() - started < LONG_SEC / 2


def test_one_stage_after_another_runs_in_the_same_processes():
    with Workers(2) as workers:
        first, second = ({id for _, id in workers.do(process_id, range(6))} for _ in range(2))
    assert os.getpid() not in first | second
    assert len(first | second) <= 2


def splits_of(clips, **other) -> dict[str, str]:
    assign_splits(clips, other.get("alike", []), other.get("seed", 0), other.get("not_judging", frozenset()))
    return {each.id: each.split for each in clips}


def test_splits_have_their_shares_and_follow_the_seed_alone():
    clips = [clip(f"c{n}") for n in range(400)]
    first = splits_of(clips)
    counts = {name: list(first.values()).count(name) for name in ("train", "validation", "heldout")}
    assert counts == {"train": 340, "validation": 40, "heldout": 20}
    assert splits_of(clips[::-1]) == first
    assert splits_of(clips, seed=1) != first


def test_splits_stay_when_clips_are_added():
    before = splits_of([clip(f"c{n}") for n in range(400)])
    after = splits_of([clip(f"c{n}") for n in range(440)])
    moved = [id for id, split in before.items() if after[id] != split]
    assert len(moved) <= 8
    assert all("train" in (before[id], after[id]) or before[id] != after[id] for id in moved)


def test_no_sound_no_text_and_no_minute_of_a_recording_is_on_two_sides():
    copies = [clip(f"copy{n}") for n in range(60)]
    repeated = [clip(f"said{n}", f"Sentence {n % 30}.") for n in range(60)]
    long = [clip(f"long{n}", source="hour.wav", start_sec=4.0 * n) for n in range(300)]
    alike = [(f"copy{n}", f"copy{n + 30}") for n in range(30)]
    clips = [*copies, *repeated, *long]
    found = splits_of(clips, alike=alike)
    assert all(found[a] == found[b] for a, b in alike)
    assert all(found[f"said{n}"] == found[f"said{n + 30}"] for n in range(30))
    for minute in range(20):
        assert len({each.split for each in long if each.source_start_sec // 60 == minute}) == 1
    assert {"train", "validation", "heldout"} <= set(found.values())


@pytest.mark.parametrize("seed", range(5))
def test_texts_that_differ_in_case_and_punctuation_alone_are_on_one_side_and_are_named_as_repeated(seed):
    pairs = [(clip(f"a{n}", f"Is it number {n}?"), clip(f"b{n}", f"is it, number {n}")) for n in range(60)]
    clips = [each for pair in pairs for each in pair]
    found = splits_of(clips, seed=seed)
    assert all(found[a.id] == found[b.id] for a, b in pairs)
    assert set(found.values()) == {"train", "validation", "heldout"}
    assert {each.clip for each in repeated_texts(clips)} == set(found)


def test_a_clip_that_ties_two_others_by_sound_and_by_text_keeps_all_three_on_one_side():
    clips = [clip(f"c{n}") for n in range(120)]
    for n in range(0, 120, 3):
        clips[n + 1].text = clips[n].text
    alike = [(f"c{n + 1}", f"c{n + 2}") for n in range(0, 120, 3)]
    found = splits_of(clips, alike=alike)
    assert all(len({found[f"c{n + k}"] for k in range(3)}) == 1 for n in range(0, 120, 3))
    assert set(found.values()) == {"train", "validation", "heldout"}


def test_doubtful_clips_train_and_never_judge():
    clips = [clip(f"c{n}") for n in range(200)]
    doubtful = frozenset(f"c{n}" for n in range(100))
    found = splits_of(clips, not_judging=doubtful)
    assert {found[id] for id in doubtful} == {"train"}
    assert "heldout" in found.values()


@pytest.mark.parametrize("num_clips", [1, 2, 3, 5, 12])
def test_a_small_set_still_trains(num_clips):
    found = splits_of([clip(f"c{n}") for n in range(num_clips)])
    assert list(found.values()).count("train") >= max(1, num_clips - 2)


def test_shares_are_at_least_twenty_clips_once_there_are_enough():
    assert shares_of(200).num_heldout == 20
    assert shares_of(100).num_heldout == 15
    assert shares_of(100_000).num_heldout == 200


def test_a_clip_keeps_its_split_when_its_text_is_corrected():
    clips = [clip(f"c{n}") for n in range(200)]
    before = splits_of(clips)
    corrected = [replace(each, text="Something new.") if each.id == "c5" else each for each in clips]
    assert splits_of(corrected) == before
