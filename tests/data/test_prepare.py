"""Encoding: once per clip, resumable, and every clip that is left out has its reason."""

import dataclasses
import logging
import threading
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch

from calm_ft import progress
from calm_ft.data import prepare
from calm_ft.data.audio import load_clip
from calm_ft.data.utterance import Utterance, WordTime
from calm_ft.errors import UserError
from tests.data.conftest import FrameEnergyEncoder


@pytest.fixture
def decoded(monkeypatch):
    """Paths that were decoded, by the real decoder."""
    paths = []

    def load_and_note(utterance, *arguments):
        paths.append(utterance.audio_path)
        return load_clip(utterance, *arguments)

    monkeypatch.setattr(prepare, "load_clip", load_and_note)
    return paths


def test_features_are_those_that_the_encoder_gives_for_the_prepared_clip(write_utterances, encode, encoder):
    utterances = write_utterances(5)
    encoded = encode(utterances).encoded
    assert [clip.utterance for clip in encoded] == utterances
    for clip in encoded:
        prepared = load_clip(clip.utterance, 24000, 0.1)
        (expected,) = encoder.encode([prepared])
        assert torch.equal(clip.features()["latents"], expected["latents"])
        assert (clip.num_frames, clip.duration_sec) == (len(expected["latents"]), prepared.duration_sec)


def test_a_second_run_neither_decodes_nor_encodes(write_utterances, encode, encoder, decoded):
    utterances = write_utterances(5)
    first = encode(utterances)
    assert (first.num_encoded, first.num_from_cache) == (5, 0)
    assert (encoder.num_clips, len(decoded)) == (5, 5)
    second = encode(utterances)
    assert (second.num_encoded, second.num_from_cache) == (0, 5)
    assert (encoder.num_clips, len(decoded)) == (5, 5)
    for before, after in zip(first.encoded, second.encoded, strict=True):
        assert torch.equal(before.features()["latents"], after.features()["latents"])


def test_moved_files_and_changed_texts_are_still_known(tmp_path, write_utterances, encode, encoder):
    utterances = write_utterances(3)
    encode(utterances)
    (tmp_path / "moved").mkdir()
    paths = [u.audio_path.rename(tmp_path / "moved" / f"{u.id}.wav") for u in utterances]
    moved = [dataclasses.replace(u, audio_path=p, text="other") for u, p in zip(utterances, paths, strict=True)]
    assert encode(moved).num_from_cache == 3
    assert [clip.utterance.text for clip in encode(moved).encoded] == ["other"] * 3


def test_changed_audio_is_encoded_again(write_utterances, write_clip, make_tone, encode):
    utterances = write_utterances(3)
    encode(utterances)
    write_clip("clip01.wav", make_tone(0.9))
    again = encode(utterances)
    assert (again.num_encoded, again.num_from_cache) == (1, 2)


def test_word_times_that_keep_the_head_make_another_clip_of_the_same_file(write_clip, make_tone, encode):
    path = write_clip("a.wav", np.concatenate([np.zeros(48000, np.float32), make_tone(1.0)]))
    plain = encode([Utterance("a", path, "text")]).encoded[0]
    timed = encode([Utterance("a", path, "text", words=(WordTime("text", 2.0, 3.0),))]).encoded[0]
    assert plain.duration_sec == pytest.approx(1.2)
    assert timed.duration_sec == pytest.approx(3.1)


@pytest.mark.parametrize("change", ["weights", "tail"])
def test_whatever_shapes_features_changes_the_fingerprint(write_utterances, encode, encoder, change):
    utterances = write_utterances(2)
    encode(utterances)
    if change == "weights":
        encoder.weights = "second"
    again = encode(utterances, tail_sec=0.1 if change == "weights" else 0.2)
    assert again.num_encoded == 2


def test_the_same_file_under_two_ids_is_encoded_once(write_clip, encode, encoder):
    path = write_clip("a.wav")
    result = encode([Utterance("a", path, "one text"), Utterance("b", path, "another")])
    assert [clip.utterance.id for clip in result.encoded] == ["a", "b"]
    assert encoder.num_clips == result.num_encoded == result.num_from_cache == 1


def test_an_interrupted_run_keeps_what_it_has_encoded(write_utterances, encode, encoder, monkeypatch):
    utterances = write_utterances(6)
    whole_encode = type(encoder).encode

    def interrupted(self, clips):
        if self.num_clips == 4:
            raise KeyboardInterrupt
        return whole_encode(self, clips)

    monkeypatch.setattr(type(encoder), "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode(utterances)
    monkeypatch.setattr(type(encoder), "encode", whole_encode)
    resumed = encode(utterances)
    assert (resumed.num_encoded, resumed.num_from_cache) == (2, 4)


def test_in_several_threads_order_faults_and_an_interruption_are_as_in_one(
    write_utterances, encode, encoder, monkeypatch
):
    utterances = write_utterances(12)
    utterances[5].audio_path.write_bytes(b"no audio")
    whole_encode = type(encoder).encode

    def interrupted(self, clips):
        if self.num_clips >= 8:
            raise KeyboardInterrupt
        return whole_encode(self, clips)

    def load_and_note(utterance, *arguments):
        decoded_in.add(threading.current_thread())
        return load_clip(utterance, *arguments)

    decoded_in: set[threading.Thread] = set()
    monkeypatch.setattr(prepare, "load_clip", load_and_note)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        monkeypatch.setattr(type(encoder), "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            encode(utterances)
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(type(encoder), "encode", whole_encode)
        resumed = encode(utterances)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(num_threads)
    assert [clip.utterance for clip in resumed.encoded] == [each for each in utterances if each is not utterances[5]]
    assert [exclusion.path for exclusion in resumed.exclusions] == [str(utterances[5].audio_path)]
    assert decoded_in == {threading.main_thread()}  # it moves stderr, which belongs to all threads
    assert 0 < resumed.num_from_cache <= 8
    assert resumed.num_from_cache + resumed.num_encoded == 11


def test_the_clips_of_a_truncated_final_shard_are_encoded_again(tmp_path, write_utterances, encode, caplog):
    utterances = write_utterances(5)
    first = encode(utterances)
    last_shard = sorted((tmp_path / "cache").rglob("shard-*.safetensors"))[-1]
    last_shard.write_bytes(last_shard.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        second = encode(utterances)
    assert (second.num_encoded, second.num_from_cache) == (2, 3)
    assert "is damaged" in caplog.text
    for before, after in zip(first.encoded[:3], second.encoded[:3], strict=True):
        assert torch.equal(before.features()["latents"], after.features()["latents"])


def test_shards_hold_as_many_clips_as_asked(tmp_path, write_utterances, encode):
    encode(write_utterances(7))
    assert len(list((tmp_path / "cache").rglob("shard-*.safetensors"))) == 3


def test_bad_clips_are_excluded_with_reasons_and_the_good_ones_train(tmp_path, write_clip, make_tone, encode):
    (tmp_path / "junk.wav").write_bytes(b"junk")
    paths = [
        write_clip("good.wav"),
        write_clip("silent.wav", np.zeros(24000, np.float32)),
        write_clip("none.wav", np.zeros(0, np.float32)),
        write_clip("nan.wav", np.full(24000, np.nan, np.float32)),
        tmp_path / "junk.wav",
        tmp_path / "gone.wav",
        write_clip("long.wav", make_tone(3.0)),
    ]
    result = encode([Utterance(path.stem, path, "text") for path in paths], max_duration_sec=2.0)
    assert [clip.utterance.id for clip in result.encoded] == ["good"]
    assert [exclusion.path for exclusion in result.exclusions] == [str(path) for path in paths[1:]]
    assert [exclusion.reason for exclusion in result.exclusions] == [
        "the audio is silent",
        "the audio has no samples",
        "the audio holds NaN or infinite samples",
        "the audio cannot be read (Format not recognised)",
        "the audio file cannot be opened",
        "the clip lasts 3.1 s, longer than the limit of 2 s",
    ]


def test_a_clip_that_only_silence_makes_long_is_kept(write_clip, make_tone, encode):
    path = write_clip("a.wav", np.pad(make_tone(1.0), (0, 72000)))
    assert encode([Utterance("a", path, "text")], max_duration_sec=2.0).exclusions == []


def test_an_hour_long_file_is_excluded_without_being_decoded(tmp_path, write_clip, encode, decoded):
    path = tmp_path / "hour.flac"
    soundfile.write(path, np.zeros(3600 * 8000, np.int16), 8000)
    result = encode([Utterance("hour", path, "text"), Utterance("a", write_clip("a.wav"), "text")])
    assert "the clip lasts 3600.0 s, longer than the limit of 20 s" in result.exclusions[0].reason
    assert path not in decoded


def test_a_lower_limit_excludes_cached_clips_by_their_stored_duration(write_utterances, encode, decoded):
    utterances = write_utterances(4)
    encode(utterances)
    num_decoded = len(decoded)
    result = encode(utterances, max_duration_sec=0.75)
    assert [clip.utterance.id for clip in result.encoded] == ["clip00", "clip01"]
    assert [e.reason.split(",")[0] for e in result.exclusions] == [
        "the clip lasts 0.8 s",
        "the clip lasts 0.9 s",
    ]
    assert len(decoded) == num_decoded


def test_nothing_usable_is_refused_with_number_and_commonest_reason(write_clip, make_tone, encode):
    utterances = [
        Utterance("s", write_clip("s.wav", np.zeros(24000, np.float32)), "text"),
        Utterance("x", write_clip("x.wav", make_tone(3.0)), "text"),
        Utterance("y", write_clip("y.wav", make_tone(4.0)), "text"),
    ]
    with pytest.raises(UserError, match=r"3 left out, most often because the clip lasts 3.1 s, longer"):
        encode(utterances, max_duration_sec=2.0)
    with pytest.raises(UserError, match="no clip to encode"):
        encode([])


@pytest.mark.parametrize("settings", [{"tail_sec": -0.1}, {"max_duration_sec": 0.0}, {"tail_sec": float("nan")}])
def test_settings_that_no_clip_can_keep_are_refused(write_utterances, encode, settings):
    with pytest.raises(UserError, match="must be at least 0"):
        encode(write_utterances(2), **settings)


@pytest.mark.parametrize("shown", [True, False])
def test_in_a_log_encoding_says_how_many_clips_are_done_and_when_it_ends(
    tmp_path, write_utterances, encoder, monkeypatch, capfd, shown
):
    monkeypatch.setattr(progress, "LINE_INTERVAL_SEC", 0.0)
    prepare.encode_recordings(write_utterances(3), encoder, tmp_path / "cache", 0.1, 20.0, progress=shown)
    lines = capfd.readouterr().err.splitlines()
    encoding = [line for line in lines if line.startswith("encoding: ")]
    assert [line.split(" [")[0] for line in encoding] == ["encoding: 1/3", "encoding: 2/3", "encoding: 3/3"] * shown
    assert (encoding[-1:] or ["[0:00<0:00]"])[0].endswith("[0:00<0:00]")
    assert shown or not lines


def test_a_clip_whose_features_are_not_finite_is_left_out_and_its_neighbours_are_kept(write_utterances, tmp_path):
    class Overflows(FrameEnergyEncoder):
        def encode(self, clips):
            features = super().encode(clips)
            if self.num_clips == 2:
                features[0]["latents"][0] = torch.inf
            return features

    utterances = write_utterances(4)
    done = prepare.encode_recordings(utterances, Overflows(), tmp_path / "cache", 0.1, 20.0, progress=False)
    assert [clip.utterance.id for clip in done.encoded] == ["clip00", "clip02", "clip03"]
    assert [(row.path, row.reason) for row in done.exclusions] == [
        (str(utterances[1].audio_path), "the encoder gives values that are not finite")
    ]


@pytest.fixture
def segments(write_clip, make_tone):
    """Three seconds of one file, each of its own loudness, and the whole file."""
    path = write_clip("long.wav", np.concatenate([make_tone(1.0, amplitude=level) for level in (0.1, 0.2, 0.3)]))
    parts = [Utterance(f"long@{n}", path, "text", start_sec=float(n), end_sec=n + 1.0) for n in range(3)]
    return [*parts, Utterance("long", path, "text")]


def test_each_segment_has_features_of_its_own_and_a_second_run_finds_them(segments, encode, encoder):
    first = encode(segments, tail_sec=0.0)
    assert [clip.duration_sec for clip in first.encoded] == [1.0, 1.0, 1.0, 3.0]
    means = [float(clip.features()["latents"].mean()) for clip in first.encoded[:3]]
    assert means == pytest.approx([0.005, 0.02, 0.045], rel=1e-2)
    second = encode(segments, tail_sec=0.0)
    assert (second.num_encoded, encoder.num_clips) == (0, 4)
    for before, after in zip(first.encoded, second.encoded, strict=True):
        assert torch.equal(before.features()["latents"], after.features()["latents"])


def test_a_file_is_hashed_once_however_many_segments_it_holds(segments, encode, monkeypatch):
    hashed: Counter[str] = Counter()
    file_digest = prepare._file_digest

    def hash_and_note(path):
        hashed[path.name] += 1
        return file_digest(path)

    monkeypatch.setattr(prepare, "_file_digest", hash_and_note)
    encode(segments)
    assert hashed == {"long.wav": 1}


def test_the_limit_of_duration_is_for_the_segment_and_not_for_its_file(segments, encode):
    result = encode(segments, tail_sec=0.0, max_duration_sec=1.5)
    assert [clip.utterance.id for clip in result.encoded] == ["long@0", "long@1", "long@2"]
    assert [e.reason for e in result.exclusions] == ["the clip lasts 3.0 s, longer than the limit of 1.5 s"]


def test_a_segment_that_the_file_does_not_hold_is_excluded_with_the_reason(segments, encode):
    outside = Utterance("outside", segments[0].audio_path, "text", start_sec=5.0, end_sec=6.0)
    (exclusion,) = encode([*segments, outside]).exclusions
    assert exclusion.reason == "the segment from 5.00 to 6.00 s is not within the audio of 3.00 s"
