"""The evaluation of the embedded model: the same noise for all, nothing said or measured twice, one result."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calm_ft.evaluation.evaluator import NO_BASE, Evaluator, Protocol
from calm_ft.metrics.audio_io import read_wav_bytes
from calm_ft.metrics.base import Measurement, SpeechClip
from calm_ft.metrics.distortion import Distortion
from calm_ft.report.result import BASE, CODEC, REFERENCE, TUNED, parse_result, read_result, read_utterances
from tests.evaluation.conftest import (
    NUM_AT_STEPS,
    NUM_SEEDS,
    NUM_SENTENCES,
    Evaluated,
    listen,
    nano,
    protocol,
)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def smaller(p: Protocol, num_sentences: int) -> Protocol:
    """The first sentences once, in the tuned voice alone."""
    no_voices = replace(p.base_voices, voices=[])
    return replace(
        p, texts=p.texts[:num_sentences], recordings=p.recordings[:num_sentences], num_seeds=1, base_voices=no_voices
    )


def another(evaluated: Evaluated, protocol: Protocol, folder: Path) -> Evaluator:
    """A later evaluation by metrics that are loaded already; it may take over what was said and measured."""
    evaluator = Evaluator(protocol, folder, [evaluated.evaluator.folder])
    evaluator.__dict__["available"] = evaluated.evaluator.available
    return evaluator


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_base_and_tuned_model_speak_with_the_same_noise_and_each_clip_with_its_own(evaluated: Evaluated) -> None:
    assert set(evaluated.said_by_base) == set(evaluated.said_by_tuned)
    seeds = {seed for _, seed in evaluated.said_by_base}
    num_own, num_in_base_voices = NUM_SENTENCES * NUM_SEEDS, 1
    assert len(seeds) == num_own + num_in_base_voices
    base, tuned = (evaluated.evaluator.own_clips(system) for system in (BASE, TUNED))
    assert [each.text for each in base] == [each.text for each in tuned] == evaluated.evaluator.protocol.texts
    assert all(first.wav != second.wav for first, second in zip(base, tuned, strict=True))


def test_a_clip_is_what_the_model_says_of_it_alone_with_its_noise(evaluated: Evaluated) -> None:
    p = evaluated.evaluator.protocol
    voice = evaluated.base.load_voice(p.voice)
    seeds = dict(evaluated.said_by_base[:NUM_AT_STEPS])
    for clip in evaluated.evaluator.own_clips(BASE, NUM_AT_STEPS):
        alone = evaluated.base.synthesize([clip.text], voice, seeds[clip.text])[0].audio[:4800]
        kept = read_wav_bytes(clip.wav)[:4800]  # later on, what was rounded differently has grown
        np.testing.assert_allclose(kept, np.clip(alone, -1, 1), rtol=0, atol=2e-4)


def test_what_was_said_is_not_said_again_neither_here_nor_in_another_folder(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    adapter = nano()
    said = listen(adapter)
    folder = evaluated.evaluator.folder
    for again in (Evaluator(evaluated.evaluator.protocol, folder), Evaluator(protocol(adapter), tmp_path, [folder])):
        num_clips = again.speak(adapter, BASE)
        assert num_clips == NUM_SENTENCES * NUM_SEEDS + 1
        assert again.own_clips(BASE) == evaluated.evaluator.own_clips(BASE)
    assert said == []
    one_more = Evaluator(replace(protocol(adapter, NUM_SENTENCES + 1), num_seeds=1), tmp_path)
    one_more.speak(adapter, BASE)
    assert [text for text, _ in said] == one_more.protocol.texts[NUM_SENTENCES:]


@pytest.mark.parametrize("change", ["weights", "seed", "prompt"])
def test_what_other_weights_noise_or_prompt_would_say_is_said_anew(
    change: str, evaluated: Evaluated, tmp_path: Path
) -> None:
    adapter, p = nano(), smaller(evaluated.evaluator.protocol, 1)
    if change == "weights":
        adapter.flow_lm.bos_emb.add_(0.01)
    elif change == "seed":
        p = replace(p, seed=1)
    else:
        p = replace(p, voice=sorted(p.voice.parent.glob("*.ogg"))[0])
    said = listen(adapter)
    other = Evaluator(p, tmp_path, [evaluated.evaluator.folder])
    other.speak(adapter, BASE)
    assert len(said) == 1
    assert other.own_clips(BASE)[0].wav != evaluated.evaluator.own_clips(BASE)[0].wav


def test_a_step_keeps_nothing_and_says_the_same_as_the_same_weights_said_before(evaluated: Evaluated) -> None:
    evaluator = evaluated.evaluator
    before = files_in(evaluator.folder)
    said = listen(evaluated.base)
    for _ in range(2):
        clips = evaluator.speak_step(evaluated.base, "step", NUM_AT_STEPS)
        assert [each.wav for each in clips] == [each.wav for each in evaluator.own_clips(BASE, NUM_AT_STEPS)]
        assert {each.system for each in clips} == {"step"}
    assert len(said) == 2 * NUM_AT_STEPS
    assert files_in(evaluator.folder) == before
    scores = evaluator.score_step(clips)
    of_base = [each for each in evaluated.scored if each.spoken in evaluator.own_clips(BASE, NUM_AT_STEPS)]
    assert scores.means["mcd_db"] == pytest.approx(np.mean([each.metrics["mcd_db"] for each in of_base]))
    assert scores.counts["mcd_db"] == NUM_AT_STEPS
    assert {"runaway", "silent", "truncated", "cer", "voice_identified"} <= scores.means.keys()
    assert scores.missing.keys().isdisjoint(scores.means)


def test_the_result_has_every_system_and_the_recordings_get_full_marks(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert list(result.systems) == [REFERENCE, CODEC, BASE, TUNED]
    reference = result.systems[REFERENCE]
    assert (reference.mean("mcd_db"), reference.mean("sentence_identified")) == (0.0, 1.0)
    assert reference.mean("duration_ratio") == 1.0
    assert 0 < result.systems[CODEC].mean("mcd_db") < result.systems[BASE].mean("mcd_db")  # type: ignore[operator]
    assert result.systems[REFERENCE].counts["utterances"] == NUM_SENTENCES
    assert result.systems[BASE].counts["utterances"] == NUM_SENTENCES * NUM_SEEDS
    assert result.against_base.keys() == {TUNED}
    assert result.against_base[TUNED]["mcd_db"].n == NUM_SENTENCES
    assert (result.run, result.step) == ("a run", 7)
    assert result.protocol["asr"] == "nano_asr"
    assert result.protocol["chance_sentence_identified"] == 1 / NUM_SENTENCES
    assert "out of reach" in result.missing["speaker_similarity_wavlm"]
    assert "utmos" not in result.missing  # opinion scores were not asked for


def test_times_are_measured_and_not_compared(evaluated: Evaluated) -> None:
    for system in (BASE, TUNED):
        assert evaluated.result.systems[system].metrics["rtf"].n == 1  # one sentence is timed here
        assert (evaluated.result.systems[system].rtf or 0) > 0
    difference = evaluated.result.against_base[TUNED]["rtf"]
    assert (difference.better, difference.doubt) == (None, evaluated.result.doubts["rtf"])
    assert len(evaluated.result.timing["conditions"]) == 1


def test_the_voice_is_identified_for_the_tuned_and_for_base_voices(evaluated: Evaluated) -> None:
    result = evaluated.result
    assert result.systems[REFERENCE].mean("voice_identified") == 1.0
    assert result.systems[TUNED].metrics["voice_identified"].n == NUM_SENTENCES
    base_voices = result.base_voices
    assert (base_voices.names, base_voices.num_clips) == (["f2"], 2)
    assert list(base_voices.systems) == [REFERENCE, BASE, TUNED]
    assert base_voices.systems[REFERENCE].mean("voice_identified") == 1.0
    assert base_voices.systems[REFERENCE].mean("mcd_db") == 0.0
    assert base_voices.systems[REFERENCE].mean("speaker_similarity_resemblyzer") > 0.7  # type: ignore[operator]
    assert base_voices.systems[BASE].metrics["voice_identified"].n == 1
    assert "sentence_identified" not in base_voices.systems[BASE].metrics


def test_without_other_voices_voice_identification_is_missing_with_the_reason(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    p = replace(evaluated.evaluator.protocol, other_voices=dict, recogniser="none", prompt=None)
    missing = Evaluator(p, tmp_path).available.missing
    assert "set evaluation.base_voices" in missing["voice_identified"]
    assert "no speech recogniser was asked for" in missing["wer"]
    assert "pass one as --voice" in missing["speaker_similarity_resemblyzer"]


def test_the_result_comes_back_from_its_file_as_it_was(evaluated: Evaluated) -> None:
    assert parse_result(json.loads(evaluated.result.to_json())) == evaluated.result
    assert read_result(evaluated.evaluator.folder) == evaluated.result
    rows = read_utterances(evaluated.evaluator.folder)
    assert [(row.system, row.voice, row.index, row.seed, row.text) for row in rows] == [
        (each.spoken.system, each.spoken.voice, each.spoken.index, each.spoken.seed, each.spoken.text)
        for each in evaluated.scored
    ]
    for row, each in zip(rows, evaluated.scored, strict=True):
        assert (evaluated.evaluator.folder / row.audio).read_bytes() == each.spoken.wav
        assert row.metrics == each.metrics


def test_a_second_evaluation_measures_nothing_again_and_finds_the_same(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    measure = Distortion._measure

    def counted(metric: Distortion, clip: SpeechClip) -> Measurement:
        measured.append(clip)
        return measure(metric, clip)

    monkeypatch.setattr(Distortion, "_measure", counted)
    again = another(evaluated, evaluated.evaluator.protocol, tmp_path)
    for adapter, system in ((evaluated.base, BASE), (evaluated.tuned, TUNED)):
        again.speak(adapter, system)
    again.hear_codec(evaluated.tuned)
    result, _ = again.result("a run", step=7)
    assert result == evaluated.result
    assert measured == []


def test_without_a_base_or_a_codec_the_rest_is_said_with_the_reasons(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = another(evaluated, evaluated.evaluator.protocol, tmp_path)
    alone.speak(evaluated.tuned, TUNED)
    monkeypatch.setattr(evaluated.tuned, "reconstruct", lambda audio: None)
    alone.hear_codec(evaluated.tuned)
    result, _ = alone.result("an export")
    assert list(result.systems) == [REFERENCE, TUNED]
    assert result.against_base == {}
    assert result.missing["against_base"] == NO_BASE
    assert "has no codec" in result.missing["codec"]
    assert result.systems[TUNED] == evaluated.result.systems[TUNED]


def test_runaway_speech_of_the_tuned_model_is_warned_of_and_casts_doubt_on_the_distance(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    evaluator = another(evaluated, replace(evaluated.evaluator.protocol, num_seeds=1), tmp_path)
    evaluator.speak(evaluated.base, BASE)
    evaluator.speak(evaluated.tuned, TUNED)
    evaluator._spoken[TUNED] = [replace(each, ended=each.voice is not None) for each in evaluator._spoken[TUNED]]
    result, _ = evaluator.result("a run")
    assert any("3 of 3 clips of the tuned model: speech did not end" in line for line in result.warnings)
    assert "did not end" in result.doubts["mcd_db"]
    assert result.against_base[TUNED]["mcd_db"].better is None
    # What cannot be judged by in the tuned voice judges in no other.
    assert result.base_voices.against_base[TUNED]["mcd_db"].doubt == result.doubts["mcd_db"]


def test_runaway_speech_in_base_voices_casts_doubt_on_their_distance_alone(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    evaluator = another(evaluated, evaluated.evaluator.protocol, tmp_path)
    evaluator.speak(evaluated.base, BASE)
    evaluator.speak(evaluated.tuned, TUNED)
    evaluator._spoken[TUNED] = [replace(each, ended=each.voice is None) for each in evaluator._spoken[TUNED]]
    result, _ = evaluator.result("a run")
    assert "did not end" not in str(result.against_base[TUNED]["mcd_db"].doubt)
    assert "did not end" in str(result.base_voices.against_base[TUNED]["mcd_db"].doubt)


def test_clips_that_no_system_says_any_more_are_forgotten(evaluated: Evaluated, tmp_path: Path) -> None:
    for num_sentences in (NUM_SENTENCES, 2):
        evaluator = another(evaluated, smaller(evaluated.evaluator.protocol, num_sentences), tmp_path)
        evaluator.speak(evaluated.base, BASE)
        evaluator.write(*evaluator.result("a run"))
    assert len(list((tmp_path / "spoken").glob("*.wav"))) == 2
    assert len(list((tmp_path / "audio").glob("*.wav"))) == 2 + 2  # of the recordings and of the base
