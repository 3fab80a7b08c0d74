"""Which recording prompts the voice: on real recordings with planted faults, and on made ones."""

import errno
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.adapters.base import TTSAdapter
from calm_ft.config import ASSETS
from calm_ft.data.feature_cache import FeatureCache
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.utterance import Utterance, WordTime
from calm_ft.errors import UserError
from calm_ft.evaluation import voice_prompt
from calm_ft.evaluation.sentences import load_recording
from calm_ft.evaluation.voice_prompt import (
    VoicePrompt,
    best_prompt,
    choose_prompt,
    pause_between,
    prompt_of_recording,
)
from calm_ft.metrics.recording_quality import frame_levels_db
from calm_ft.metrics.speaker import voice_embedding
from tests.conftest import DEMO_TRAIN

RATE_HZ = 16_000
ONE_CLIP = (2.0, 5.0)
Add = Callable[..., EncodedUtterance]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Writes sound [T] or [T, C] as a clip of a speaker."""
    cache = FeatureCache(tmp_path / "features", "none")

    def written(name: str, audio: np.ndarray, speaker: str = "anna", rate_hz: int = RATE_HZ) -> EncodedUtterance:
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, audio, rate_hz, subtype="FLOAT")
        utterance = Utterance(name, path, f"Text of {name}.", speaker)
        key = hashlib.sha256(path.read_bytes()).hexdigest()
        return EncodedUtterance(utterance, 1, len(audio) / rate_hz, key, cache)

    return written


def spoken(index: int) -> np.ndarray:
    """A recording [T] of the demo voice."""
    return soundfile.read(sorted(DEMO_TRAIN.glob("*.ogg"))[index])[0]


def middle_of_a_vowel(audio: np.ndarray) -> int:
    levels_db = frame_levels_db(audio, RATE_HZ)
    third = len(levels_db) // 3
    return round((third + int(np.argmax(levels_db[third : 2 * third]))) * 0.01 * RATE_HZ) + 80


def noisy(audio: np.ndarray) -> np.ndarray:
    level = np.sqrt(np.mean(np.square(audio)))
    return audio + 0.3 * level * np.random.default_rng(0).standard_normal(audio.size)


def of_another(audio: np.ndarray) -> np.ndarray:
    said = soundfile.read(ASSETS / "judging_voices" / "alicia" / "000.ogg")[0]
    return said * np.sqrt(np.mean(np.square(audio)) / np.mean(np.square(said)))


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clipped": lambda audio: np.clip(6 * audio, -np.abs(audio).max(), np.abs(audio).max()),
    "cut at its end": lambda audio: audio[: middle_of_a_vowel(audio)],
    "cut at its start": lambda audio: audio[middle_of_a_vowel(audio) :],
    "one channel silent": lambda audio: np.stack([audio, np.zeros_like(audio)], axis=1),
    "noisy": noisy,
    "of another speaker": of_another,
    "far too quiet": lambda audio: 0.2 * audio,
    "nearly silent": lambda audio: audio * (np.arange(audio.size) % 8000 < 1000),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_planted_in_the_best_clips_is_avoided(fault: str, add: Add) -> None:
    clips = {f"{index:02d}": add(f"{index:02d}", spoken(index)) for index in range(12)}
    planted: list[str] = []
    for _ in range(3):
        prompt = choose_prompt(list(clips.values()), RATE_HZ, (1.0, 5.0))
        (source,) = prompt.sources
        best = Path(source).stem
        assert best not in planted
        clips[best] = add(best, FAULTS[fault](spoken(int(best))))
        planted.append(best)
    assert Path(choose_prompt(list(clips.values()), RATE_HZ, (1.0, 5.0)).sources[0]).stem not in planted


def test_of_short_clips_good_ones_are_joined_until_they_are_long_enough(add: Add) -> None:
    clips = [add(f"{index:02d}", spoken(index)) for index in range(8)]
    for index in range(3):
        clips.append(add(f"bad {index}", noisy(spoken(10 + index))))
    prompt = choose_prompt(clips, RATE_HZ)
    seconds = len(prompt.samples) / RATE_HZ
    assert 6.0 <= seconds < 9.0
    assert len(prompt.sources) > 1
    assert not any("bad" in source for source in prompt.sources)
    names = [Path(source).stem for source in prompt.sources]
    assert prompt.text == " ".join(f"Text of {name}." for name in names)
    parts = [load_recording(clip.utterance, RATE_HZ) for name in names for clip in clips if clip.utterance.id == name]
    torch.testing.assert_close(prompt.samples, torch.cat(parts), rtol=0, atol=1e-4)
    assert "joined" in prompt.reason


def test_one_clip_of_the_usual_length_is_preferred_to_joined_and_to_cut_ones(add: Add) -> None:
    clips = [add(f"short {index}", spoken(index)) for index in range(4)]
    clips.append(add("usual", np.concatenate([spoken(20), spoken(21), spoken(22), spoken(23)])))
    clips.append(add("long", np.concatenate([spoken(index) for index in range(30, 38)])))
    assert [Path(source).stem for source in choose_prompt(clips, RATE_HZ).sources] == ["usual"]


def test_a_long_clip_is_cut_in_a_pause_and_keeps_the_words_before_it(add: Add) -> None:
    gap = np.zeros(RATE_HZ // 2)
    audio = np.concatenate([spoken(0), spoken(1), spoken(2), gap, *(spoken(index) for index in range(3, 9))])
    pause_sec = (len(spoken(0)) + len(spoken(1)) + len(spoken(2)) + len(gap) / 2) / RATE_HZ
    clip = add("long", audio)
    words = (WordTime("before", 1.0, 2.0), WordTime("pause", 3.0, 4.0), WordTime("after", 13.0, 14.0))
    clip = replace(clip, utterance=replace(clip.utterance, words=words))
    prompt = choose_prompt([clip], RATE_HZ)
    assert len(prompt.samples) / RATE_HZ == pytest.approx(pause_sec, abs=0.5)
    assert np.abs(np.asarray(prompt.samples[-400:])).max() < 0.01
    assert prompt.text == "before pause"
    assert choose_prompt([replace(clip, utterance=replace(clip.utterance, words=None))], RATE_HZ).text is None


def test_the_choice_is_the_same_for_every_order_and_says_what_it_is(add: Add) -> None:
    clips = [add(f"{index:02d}", spoken(index)) for index in range(9)]
    first = choose_prompt(clips, RATE_HZ, ONE_CLIP)
    again = choose_prompt(clips[::-1], RATE_HZ, ONE_CLIP)
    assert first.sources == again.sources
    assert torch.equal(first.samples, again.samples)
    described = first.described(RATE_HZ)
    assert described["files"] == list(first.sources)
    assert described["seconds"] == pytest.approx(len(first.samples) / RATE_HZ, abs=0.01)
    assert f"({described['seconds']:.1f} s, speech {described['snr_db']:.0f} dB above" in first.line(RATE_HZ)


def test_speakers_are_told_apart_by_how_much_they_say_and_not_by_how_often(add: Add) -> None:
    clips = [add(f"{index}", spoken(index)[: RATE_HZ // 3], "often") for index in range(3)] + [add("much", spoken(4))]
    assert Path(choose_prompt(clips, RATE_HZ, (1.0, 5.0)).sources[0]).stem == "much"


def test_at_most_forty_clips_of_a_thousand_are_decoded_and_not_the_first_of_the_list(
    add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = add("one", spoken(0))
    clips = [replace(clip, utterance=replace(clip.utterance, id=f"{index:04d}")) for index in range(1000)]
    heard: list[str] = []
    read = voice_prompt.read_samples

    def counted(utterance: Utterance) -> tuple[np.ndarray, int]:
        heard.append(utterance.id)
        return read(utterance)

    monkeypatch.setattr(voice_prompt, "read_samples", counted)
    monkeypatch.setattr(voice_prompt, "voice_embedding", lambda mono, rate_hz: np.ones(4))
    choose_prompt(clips, RATE_HZ, ONE_CLIP)
    assert len(heard) == 40
    assert max(heard) > "0500"


def test_voices_of_clips_are_found_once_and_a_cache_that_cannot_be_written_does_no_harm(
    add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [add(f"{index}", spoken(index)) for index in range(4)] + [add("other", of_another(spoken(4)))]
    with monkeypatch.context() as patched:
        patched.setattr(
            "calm_ft.data.feature_cache.os.replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
        )
        first = choose_prompt(clips, RATE_HZ, ONE_CLIP)
    second = choose_prompt(clips, RATE_HZ, ONE_CLIP)
    monkeypatch.setattr(voice_prompt, "voice_embedding", Mock(side_effect=AssertionError("found once more")))
    third = choose_prompt(clips, RATE_HZ, ONE_CLIP)
    assert first.sources == second.sources == third.sources
    kept = clips[0].cache.folder.parent
    for clip in clips:
        voice = FeatureCache(kept, "voices-resemblyzer-1").read(clip.key)["voice"].numpy()
        np.testing.assert_allclose(voice, voice_embedding(*soundfile.read(clip.utterance.audio_path)), atol=1e-6)
    assert first.reason == second.reason == third.reason


def test_where_no_clip_is_without_fault_the_least_faulty_is_taken_and_the_fault_is_said(add: Add) -> None:
    clips = [add(f"{index}", noisy(spoken(index))) for index in range(3)]
    clips.append(add("worse", FAULTS["clipped"](noisy(spoken(5)))[: middle_of_a_vowel(spoken(5))]))
    prompt = choose_prompt(clips, RATE_HZ, ONE_CLIP)
    assert "worse" not in prompt.sources[0]
    assert "no clip is faultless" in prompt.reason
    assert "dB under the speech" in prompt.reason


def test_clips_that_are_gone_or_silent_are_passed_over_and_named_where_nothing_is_left(add: Add) -> None:
    gone, silent = add("gone", spoken(0)), add("silent", np.zeros(3 * RATE_HZ))
    gone.utterance.audio_path.unlink()
    assert Path(choose_prompt([gone, silent, add("there", spoken(1))], RATE_HZ, ONE_CLIP).sources[0]).stem == "there"
    with pytest.raises(UserError, match=r"(gone|silent).wav cannot be used as a voice prompt"):
        choose_prompt([gone, silent], RATE_HZ)


def test_less_than_a_system_needs_is_refused_and_faulty_clips_are_taken_before_that(add: Add) -> None:
    clips = [add("good", spoken(0)), add("noisy", noisy(spoken(1)))]
    prompt = choose_prompt(clips, RATE_HZ, min_sec=4.0)
    assert len(prompt.sources) == 2
    with pytest.raises(UserError, match=r"at least 9 s is needed, and the clips of anna make only"):
        choose_prompt(clips, RATE_HZ, min_sec=9.0)


def test_of_a_base_voices_recordings_the_longest_usual_one_without_fault_prompts() -> None:
    recordings = [torch.from_numpy(spoken(index)).float() for index in range(4)]
    lengths = [len(each) for each in recordings]
    assert best_prompt(recordings, RATE_HZ, ONE_CLIP) == lengths.index(max(lengths))
    longest = lengths.index(max(lengths))
    recordings[longest] = torch.from_numpy(noisy(recordings[longest].numpy()))
    assert best_prompt(recordings, RATE_HZ, ONE_CLIP) != longest
    assert best_prompt([each.repeat(3) for each in recordings[:2]], RATE_HZ, ONE_CLIP) == lengths[:2].index(
        min(lengths[:2])
    )


def test_a_pause_is_found_where_it_is() -> None:
    audio = np.random.default_rng(0).standard_normal(10 * RATE_HZ)
    audio[round(7.3 * RATE_HZ) : round(7.5 * RATE_HZ)] *= 1e-3
    assert pause_between(torch.from_numpy(audio), RATE_HZ, 6.0, 9.0) / RATE_HZ == pytest.approx(7.4, abs=0.08)


def test_a_recording_that_was_asked_for_is_taken_as_far_as_the_system_hears(
    add: Add, adapter: TTSAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add("asked", np.concatenate([spoken(0), spoken(1)])).utterance.audio_path
    path.with_suffix(".txt").write_text("Both sentences.")
    whole: VoicePrompt = prompt_of_recording(path, adapter)
    assert (whole.text, whole.sources) == ("Both sentences.", (str(path),))
    monkeypatch.setattr(adapter, "max_voice_sec", 1.5)
    cut = prompt_of_recording(path, adapter)
    assert len(cut.samples) == 1.5 * adapter.sample_rate_hz
    assert cut.text is None
    monkeypatch.setattr(adapter, "min_voice_sec", 60.0)
    with pytest.raises(UserError, match="needs 60 s"):
        prompt_of_recording(path, adapter)
