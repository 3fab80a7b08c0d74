"""The shipped assets: small, paired with texts, with judging sentences that nothing trained on."""

from pathlib import Path

import pytest
import soundfile

from tools.nano import assets
from tools.nano.assets import NUM_HELDOUT_CLIPS, NUM_REPLAY_CLIPS, write_assets
from tools.nano.corpus import codec_lines, flow_lm_lines
from tools.nano.voices import BASE_VOICE, JUDGING_VOICES, REPLAY_VOICES, ZERO_SHOT_VOICES

ASSETS = Path(__file__).parents[3] / "calm_ft" / "assets"


def _texts(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.txt"))]


def test_the_assets_are_below_17_mb_and_the_demo_voice_below_5():
    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert size(ASSETS) < 17e6
    assert size(ASSETS / "demo_voice") < 5e6
    assert size(ASSETS / "base_voices") < 3.2e6
    assert size(ASSETS / "nano") < 9e6


def test_every_clip_has_its_text_and_can_be_heard():
    clips = sorted(ASSETS.rglob("*.ogg"))
    assert len(clips) > 200
    assert all(clip.with_suffix(".txt").read_text(encoding="utf-8").strip() for clip in clips)
    for clip in clips[::20]:
        samples, rate = soundfile.read(clip)
        assert rate == 16_000
        assert abs(samples).max() > 0.1


def test_the_demo_voice_has_about_five_minutes_and_24_more_sentences_that_nothing_trained_on():
    train, heldout = _texts(ASSETS / "demo_voice" / "train"), _texts(ASSETS / "demo_voice" / "heldout")
    durations_sec = [soundfile.info(path).duration for path in (ASSETS / "demo_voice" / "train").glob("*.ogg")]
    assert 4.5 * 60 < sum(durations_sec) < 5.5 * 60
    assert len(set(heldout)) == NUM_HELDOUT_CLIPS
    corpus = {line.text for line in [*flow_lm_lines(0), *codec_lines(0)]}
    assert not set(heldout) & set(train)
    assert not set(heldout) & corpus
    assert not set(train) & corpus


def test_the_base_voice_holds_the_held_out_sentences_and_a_prompt_and_the_others_six_clips():
    heldout = _texts(ASSETS / "demo_voice" / "heldout")
    voices = {path.name: _texts(path) for path in (ASSETS / "judging_voices").iterdir()}
    assert set(voices) == {voice.name for voice in (*JUDGING_VOICES, *ZERO_SHOT_VOICES)}
    base = voices.pop(BASE_VOICE.name)
    assert base[:-1] == heldout
    assert base[-1] not in heldout
    assert all(texts == heldout[:6] for texts in voices.values())


def test_base_voices_to_replay_judge_nothing_and_say_what_nothing_else_says():
    voices = {path.name: _texts(path) for path in (ASSETS / "base_voices").iterdir()}
    assert set(voices) == {voice.name for voice in REPLAY_VOICES}
    assert not set(REPLAY_VOICES) & {*JUDGING_VOICES, *ZERO_SHOT_VOICES}
    assert all(len(texts) == NUM_REPLAY_CLIPS for texts in voices.values())
    said = [text for texts in voices.values() for text in texts]
    assert len(set(said)) == len(said)
    others = {text for path in ASSETS.rglob("*/") if path.name not in voices for text in _texts(path)}
    assert len(others) > 150
    assert not set(said) & others
    assert not set(said) & {line.text for line in flow_lm_lines(0)}


@pytest.mark.slow
def test_the_assets_stage_writes_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(assets, "JUDGING_VOICES", (BASE_VOICE,))  # the whole takes longer
    write_assets(tmp_path, seed=0)
    base_voices = [f"base_voices/{voice.name}" for voice in REPLAY_VOICES]
    for folder in ("demo_voice/train", "demo_voice/heldout", f"judging_voices/{BASE_VOICE.name}", *base_voices):
        assert _texts(tmp_path / folder) == _texts(ASSETS / folder)
        ours, shipped = (soundfile.info(root / folder / "000.ogg").duration for root in (tmp_path, ASSETS))
        assert ours == pytest.approx(shipped, abs=0.1)
