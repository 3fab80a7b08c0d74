"""What a run is judged by: found, counted and checked before anything is made."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from calm_ft.evaluation.judge import Judged
from calm_ft.training.judgement import MAX_PROMPT_SEC, TUNED_VOICE, Judgement, JudgingPlan, choose_prompt
from calm_ft.training.judging import FORGETTING_ROW, JudgedRun
from rich.console import Console

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.split import Split
from calm_ft.errors import UserError
from calm_ft.randomness import derive_seed
from calm_ft.training import judging
from calm_ft.training.datamodule import BatchLimits, EncodedSource, Recordings
from calm_ft.training.residuals import mean_residuals
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
    judgement: Judgement,
    adapter: PocketTTSAdapter,
    clips: list[EncodedUtterance],
    tmp_path: Path,
    extra_base: Sequence[EncodedUtterance] = (),
) -> JudgingPlan:
    batches = Recordings(adapter, [EncodedSource("voice", Split(clips[2:], clips[:2]), 1.0)], BatchLimits(200, 2), 0, 0)
    data = DataSettings("-", str(tmp_path / "cache"), TAIL_SEC, MAX_DURATION_SEC, 0.1, 200, 2, 0)
    return judgement.prepare(judgement.read_sources(), adapter, batches, data, 0, extra_base)


def report(run: JudgedRun) -> tuple[dict[str, Any], str]:
    """The figures, and what the terminal shows."""
    shown = io.StringIO()
    return run.report(Console(file=shown, width=120)), " ".join(shown.getvalue().split())


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


def test_each_sentence_is_judged_as_it_is_spoken_alone_with_noise_of_its_repeat_and_place(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(Judgement(2, 2), nano_adapter, clips, tmp_path)
    judged: list[Judged] = []
    monkeypatch.setattr(judging, "judge", lambda spoken, *_: judged.extend(spoken))
    run = JudgedRun(nano_adapter, plan, tmp_path / "samples", 0)
    run.judge("base")
    voice = nano_adapter.load_voice(run.voice_prompt)
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for place, said in zip(places, judged, strict=True):
        text = plan.sets[0].recordings[place[1]].text
        alone = nano_adapter.synthesize([text], voice, derive_seed(0, "judging", *place))[0]
        assert said.text == text
        begun = slice(0, 4800)  # later on, what was rounded differently has grown
        torch.testing.assert_close(torch.as_tensor(said.audio)[begun], alone.audio[begun], rtol=0, atol=1e-4)
    for index in range(2):
        kept, rate_hz = soundfile.read(tmp_path / "samples" / f"base_{index:02d}.wav")
        assert rate_hz == nano_adapter.sample_rate_hz
        torch.testing.assert_close(torch.from_numpy(kept).float(), judged[index].audio, rtol=0, atol=1e-4)


def test_the_prompt_is_the_longest_clip_within_the_limit(clips: list[EncodedUtterance]) -> None:
    prompt = choose_prompt([clip.utterance for clip in clips], 24000)
    longest_sec = max(soundfile.info(clip.utterance.audio_path).duration for clip in clips)
    assert longest_sec - 1 < len(prompt) / 24000 <= MAX_PROMPT_SEC


def test_a_base_voice_that_is_not_there_is_refused_with_those_that_are(voices_dir: Path) -> None:
    with pytest.raises(UserError, match="anna, ben"):
        Judgement(1, 1, voices_path=str(voices_dir), base_voice="carl").read_sources()


def test_forgetting_is_measured_on_each_named_voice_before_and_after(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], voices_dir: Path, tmp_path: Path
) -> None:
    plan = prepare(Judgement(0, 1, base_voices_path=str(voices_dir)), nano_adapter, clips, tmp_path)
    assert plan.base is not None
    assert (plan.base.names, plan.base.num_clips) == (("anna", "ben"), 6)
    run = JudgedRun(nano_adapter, plan, tmp_path / "samples", 0)
    run.judge("base")
    with torch.no_grad():
        nano_adapter.flow_lm.flow_net.final_layer.linear.weight.mul_(1.5)
    run.judge("tuned")
    figures, shown = report(run)
    measured = figures["extra"][FORGETTING_ROW]
    assert measured["base, tuned voice"] == run.base_residuals["base"]["residual"] > 0
    assert measured["tuned, tuned voice"] > measured["base, tuned voice"]
    assert figures["base_voices"]["names"] == ["anna", "ben"]
    assert FORGETTING_ROW in shown


def test_each_base_clip_is_prompted_by_another_clip_of_its_own_voice(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], voices_dir: Path, tmp_path: Path
) -> None:
    judgement = Judgement(1, 1, base_voices_path=str(voices_dir), base_voices=["ben"])
    plan = prepare(judgement, nano_adapter, clips, tmp_path)
    assert plan.base_batches is not None
    batches = list(plan.base_batches)
    ids = sorted(name for batch in batches for name in batch.utterance_ids)
    assert ids == sorted(f"ben/{clip.stem}" for clip in (voices_dir / "ben").glob("*.ogg"))
    assert all(bool(batch.prompt_mask.any(dim=1).all()) for batch in batches)


def test_replayed_validation_clips_stand_in_where_no_path_is_given(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> None:
    plan = prepare(Judgement(1, 1), nano_adapter, clips, tmp_path, extra_base=clips[:3])
    assert plan.base is not None
    assert plan.base.num_clips == 3
    assert mean_residuals(nano_adapter, plan.base.batches, 0)["residual"] > 0


def test_without_base_voices_the_report_says_why_there_is_no_forgetting_figure(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], tmp_path: Path
) -> None:
    plan = prepare(Judgement(1, 1), nano_adapter, clips, tmp_path)
    assert plan.base_batches is None
    run = JudgedRun(nano_adapter, plan, tmp_path / "samples", 0)
    run.judge("base")
    figures, shown = report(run)
    assert "not measured" in figures["base_voices"]["reason"]
    assert FORGETTING_ROW not in figures["extra"]
    assert f"{FORGETTING_ROW}: not measured" in shown


def test_without_sentences_nothing_is_spoken_and_residuals_are_reported(
    nano_adapter: PocketTTSAdapter, clips: list[EncodedUtterance], voices_dir: Path, tmp_path: Path
) -> None:
    judgement = Judgement(0, 1, voices_path=str(voices_dir), base_voice="anna")
    run = JudgedRun(nano_adapter, prepare(judgement, nano_adapter, clips, tmp_path), tmp_path / "samples", 0)
    run.judge("base")
    run.judge("tuned")
    figures, shown = report(run)
    assert figures["scores"] == {}
    assert set(figures["extra"]["validation residual"]) == {
        f"{system}, {voice}" for system in ("base", "tuned") for voice in (TUNED_VOICE, "anna")
    }
    assert "MCD" not in shown.partition("What these figures")[0]
    assert run.pictures == {}
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["voice_prompt.wav"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base_voices_path": "{here}/nowhere"}, "base_voices_path=.*nowhere is not a folder"),
        ({"base_voices_path": "{here}/empty"}, "base_voices_path=.*empty holds no folder"),
        ({"base_voices_path": "{here}/voices", "base_voices": ["carl"]}, "carl, which .* lacks: .*anna, ben"),
        ({"base_voices_path": "{here}/voices", "base_voices": []}, "base_voices is empty"),
    ],
)
def test_base_voices_that_are_not_there_are_refused(
    settings: dict[str, Any], sentence: str, voices_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    placed = {**settings, "base_voices_path": settings["base_voices_path"].format(here=tmp_path)}
    with pytest.raises(UserError, match=sentence):
        Judgement(1, 1, **placed).read_sources()
