"""What a run is judged by: found, counted and checked before anything is made."""

import shutil
from pathlib import Path

import pytest
import soundfile

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import UserError
from calm_ft.training.judgement import MAX_PROMPT_SEC, TUNED_VOICE, Judgement, JudgingPlan, choose_prompt
from calm_ft.training.judging import JudgedRun
from calm_ft.training.lit_datamodule import Recordings
from calm_ft.training.settings import DataSettings
from tests.training.tiny_run import MAX_DURATION_SEC, TAIL_SEC


@pytest.fixture
def voices_dir(recordings_dir: Path, tmp_path: Path) -> Path:
    """Two other voices of three clips each (the same speaker under other names will do)."""
    clips = sorted(recordings_dir.glob("*.ogg"))
    for name, chosen in (("anna", clips[:3]), ("ben", clips[3:6])):
        (tmp_path / "voices" / name).mkdir(parents=True)
        for clip in chosen:
            shutil.copy(clip, tmp_path / "voices" / name)
            shutil.copy(clip.with_suffix(".txt"), tmp_path / "voices" / name)
    return tmp_path / "voices"


def prepare(
    judgement: Judgement, adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> JudgingPlan:
    data = DataSettings("-", str(tmp_path / "cache"), TAIL_SEC, MAX_DURATION_SEC, 0.1, 200, 2, 0)
    batches = Recordings(adapter, clips[2:], clips[:2], 200, 2, 0, 0)
    return judgement.prepare(judgement.read_sources(), adapter, batches, data, 0)


def test_by_default_the_validation_clips_judge_and_no_voice_is_identified(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> None:
    plan = prepare(Judgement(8, 1), nano_adapter, clips, tmp_path)
    assert [each.text for each in plan.sets[0].recordings] == [clip.utterance.text for clip in clips[:2]]
    assert plan.voices is None
    run = JudgedRun(nano_adapter, plan, tmp_path / "samples", 0)
    run.judge("base")
    assert run.scores["base, tuned voice"].voice_id is None


def test_other_voices_are_told_from_the_tuned_one_and_the_base_voice_is_judged(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], voices_dir: Path, tmp_path: Path
) -> None:
    judgement = Judgement(1, 1, voices_path=str(voices_dir), base_voice="anna")
    plan = prepare(judgement, nano_adapter, clips, tmp_path)
    assert plan.voices is not None
    assert plan.voices.names == (TUNED_VOICE, "anna", "ben")
    assert [each.voice for each in plan.sets] == [TUNED_VOICE, "anna"]


def test_base_and_tuned_get_the_same_noise(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> None:
    plan = prepare(Judgement(1, 1), nano_adapter, clips, tmp_path)
    run = JudgedRun(nano_adapter, plan, tmp_path / "samples", 0)
    assert run.judge("base") == run.judge("tuned")
    assert (tmp_path / "samples" / "base_00.wav").read_bytes() == (tmp_path / "samples" / "tuned_00.wav").read_bytes()


def test_the_prompt_is_the_longest_clip_within_the_limit(clips: list[EncodedUtterance]) -> None:
    prompt = choose_prompt([clip.utterance for clip in clips], 24000)
    longest_sec = max(soundfile.info(clip.utterance.audio_path).duration for clip in clips)
    assert longest_sec - 1 < len(prompt) / 24000 <= MAX_PROMPT_SEC


def test_a_base_voice_that_is_not_there_is_refused_with_those_that_are(voices_dir: Path) -> None:
    with pytest.raises(UserError, match="anna, ben"):
        Judgement(1, 1, voices_path=str(voices_dir), base_voice="carl").read_sources()
