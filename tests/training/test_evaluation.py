"""What a run is judged by: found, counted and checked before anything is made."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.data.split import Split
from calm_ft.errors import UserError
from calm_ft.evaluation.evaluator import TUNED_VOICE
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.settings import EvaluationSettings
from calm_ft.finetuning.strategy import HeadOnly
from calm_ft.metrics.recognisers import ENGLISH_ASR, MULTILINGUAL_ASR
from calm_ft.report.result import read_result
from calm_ft.training.datamodule import BatchLimits, EncodedSource, RecordingsDataModule
from calm_ft.training.evaluation import EvaluationPlan, VoiceChoice, plan_evaluation, read_evaluation_sources
from calm_ft.training.module import FineTuning
from calm_ft.training.residuals import FORGETTING_ROW, RunResiduals, mean_residuals
from calm_ft.training.settings import DataSettings
from tests.training.tiny_evaluation import evaluation_of
from tests.training.tiny_run import MAX_DURATION_SEC, TAIL_SEC, adamw

Clips = list[EncodedUtterance]


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


def plan(
    settings: EvaluationSettings,
    adapter: PocketTTSAdapter,
    clips: Clips,
    tmp_path: Path,
    replayed: Sequence[EncodedUtterance] = (),
) -> EvaluationPlan:
    sources = [EncodedSource("voice", Split(clips[2:], clips[:2]), 1.0)]
    if replayed:
        sources.append(EncodedSource("others", Split(list(replayed), list(replayed)), 1.0))
    batches = RecordingsDataModule(adapter, sources, BatchLimits(200, 2), 0, 0)
    data = DataSettings(
        path="-",
        cache_dir=str(tmp_path / "cache"),
        tail_sec=TAIL_SEC,
        max_duration_sec=MAX_DURATION_SEC,
        validation_fraction=0.1,
        max_frames_per_batch=200,
        max_batch_size=2,
        num_workers=0,
    )
    read = read_evaluation_sources(settings)
    return plan_evaluation(settings, read, adapter, batches, data, VoiceChoice(), 0, tmp_path)


def test_by_default_the_validation_clips_judge_and_no_voice_is_identified(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    found = plan(EvaluationSettings(), nano_adapter, clips, tmp_path)
    assert found.protocol is not None
    assert sorted(found.protocol.texts) == sorted(clip.utterance.text for clip in clips[:2])
    assert found.protocol.other_voices() == {}
    assert found.protocol.voice_source == ", ".join(found.prompt.sources)


@pytest.mark.parametrize(
    ("given", "language", "recogniser"), [(None, "de", MULTILINGUAL_ASR), ("en", "en", ENGLISH_ASR)]
)
def test_the_judge_hears_the_models_language_unless_another_is_set(
    given: str | None, language: str, recogniser: str, nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    nano_adapter.language, nano_adapter.embedded_recogniser_fits = "de", False
    protocol = plan(EvaluationSettings(language=given), nano_adapter, clips, tmp_path).protocol
    assert protocol is not None
    assert (protocol.language, protocol.recogniser) == (language, recogniser)


def test_base_voices_are_told_from_the_tuned_one_spoken_in_and_measured(
    nano_adapter: PocketTTSAdapter, clips: Clips, voices_dir: Path, tmp_path: Path
) -> None:
    settings = EvaluationSettings(base_voices=str(voices_dir), base_sentences=1, max_base_voices=1)
    found = plan(settings, nano_adapter, clips, tmp_path)
    assert found.protocol is not None
    assert found.base_voices is not None
    assert list(found.protocol.other_voices()) == [TUNED_VOICE, "anna", "ben"]
    assert [(voice.name, len(voice.references)) for voice in found.protocol.base_voices.voices] == [("anna", 1)]
    assert (found.base_voices.names, found.base_voices.num_clips) == (("anna", "ben"), 6)


def test_forgetting_is_measured_before_and_after(
    nano_adapter: PocketTTSAdapter, clips: Clips, voices_dir: Path, tmp_path: Path
) -> None:
    found = plan(EvaluationSettings(num_sentences=0, base_voices=str(voices_dir)), nano_adapter, clips, tmp_path)
    assert found.protocol is None
    assert found.base_voices is not None
    residuals = RunResiduals(found.base_voices.batches, found.base_voices, 0)
    residuals.measure(nano_adapter, "base")
    with torch.no_grad():
        nano_adapter.flow_lm.flow_net.final_layer.linear.weight.mul_(1.5)
    residuals.measure(nano_adapter, "tuned")
    assert residuals.rows()[FORGETTING_ROW]["tuned"] > residuals.rows()[FORGETTING_ROW]["base"] > 0
    described = residuals.described()["base_voices"]
    assert (described["names"], described["num_clips"]) == (["anna", "ben"], 6)
    assert described["tuned"]["residual"] == residuals.rows()[FORGETTING_ROW]["tuned"]


def test_each_base_clip_is_prompted_by_another_clip_of_its_own_voice(
    nano_adapter: PocketTTSAdapter, clips: Clips, voices_dir: Path, tmp_path: Path
) -> None:
    found = plan(EvaluationSettings(base_voices=str(voices_dir)), nano_adapter, clips, tmp_path)
    assert found.base_voices is not None
    batches = list(found.base_voices.batches)
    ids = sorted(name for batch in batches for name in batch.utterance_ids)
    assert ids == sorted(f"{clip.parent.name}/{clip.stem}" for clip in voices_dir.glob("*/*.ogg"))
    assert all(bool(batch.prompt_mask.any(dim=1).all()) for batch in batches)


def test_replayed_validation_clips_stand_in_where_no_voices_are_given(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    found = plan(EvaluationSettings(), nano_adapter, clips, tmp_path, replayed=clips[:2])
    assert found.base_voices is not None
    assert found.base_voices.num_clips == 2
    assert set(found.prompt.sources) <= {str(clip.utterance.audio_path) for clip in clips[2:]}  # of the tuned voice
    assert mean_residuals(nano_adapter, found.base_voices.batches, 0)["residual"] > 0


def test_without_base_voices_the_record_says_why_there_is_no_forgetting_figure(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    found = plan(EvaluationSettings(), nano_adapter, clips, tmp_path)
    residuals = RunResiduals([], found.base_voices, 0)
    assert found.base_voices is None
    assert FORGETTING_ROW not in residuals.rows()
    assert "evaluation.base_voices" in residuals.described()["base_voices"]["reason"]


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [("nowhere", "base_voices=.*nowhere is not a folder"), ("empty", "base_voices=.*empty holds no folder")],
)
def test_base_voices_that_are_not_there_are_refused(folder: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=sentence):
        read_evaluation_sources(EvaluationSettings(base_voices=str(tmp_path / folder)))


@pytest.mark.slow
def test_a_whole_evaluation_is_the_same_schema_in_memory_and_on_the_disk(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path
) -> None:
    HeadOnly().apply(nano_adapter, 1e-3)
    evaluation = evaluation_of(clips, nano_adapter, tmp_path)
    evaluation.begin(FineTuning(nano_adapter, HeadOnly(), adamw(), 0.9, 0), [], None)
    with torch.no_grad():
        nano_adapter.flow_lm.flow_net.final_layer.linear.weight.mul_(1.01)
    result = evaluation.finish(nano_adapter.eval(), "run", 3, 2, [])
    assert list(result.systems) == ["reference", "codec", "base", "tuned"]
    assert (result.step, result.protocol["num_sentences"]) == (2, 4)
    assert read_result(tmp_path / "evaluation") == result
    base, tuned = (result.systems[name].mean("mcd_db") for name in ("base", "tuned"))
    assert base != tuned  # other weights speak anew
    kept = sorted(path.name for path in (tmp_path / "samples").glob("*_0?.wav"))
    assert kept == sorted(f"{system}_0{index}.wav" for system in ("reference", "base", "tuned") for index in range(4))
    audio, pictures = evaluation.media()
    assert len(audio) == 12
    assert all(path.is_file() for path in (*audio.values(), *pictures.values()))
    assert all(each.mean("cer") is not None for each in result.systems.values())


@pytest.mark.slow
def test_what_the_base_says_is_said_and_measured_by_the_first_of_several_runs_alone(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HeadOnly().apply(nano_adapter, 1e-3)
    weight = nano_adapter.flow_lm.flow_net.final_layer.linear.weight
    said: list[int] = []
    measured: list[str] = []
    synthesize, put = nano_adapter.synthesize, ScoreCache.put

    def synthesize_counted(texts: list[str], *rest: Any) -> Any:
        said.append(len(texts))
        return synthesize(texts, *rest)

    def put_counted(cache: ScoreCache, clip_key: str, *rest: Any) -> None:
        measured.append(clip_key)
        put(cache, clip_key, *rest)

    monkeypatch.setattr(nano_adapter, "synthesize", synthesize_counted)
    monkeypatch.setattr(ScoreCache, "put", put_counted)
    results = []
    for number, factor in enumerate((1.01, 1.02)):
        said.clear()
        measured.clear()
        evaluation = evaluation_of(clips, nano_adapter, tmp_path / str(number), cache_dir=tmp_path / "cache")
        evaluation.begin(FineTuning(nano_adapter, HeadOnly(), adamw(), 0.9, 0), [], None)
        before = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(factor)
        results.append(evaluation.finish(nano_adapter.eval(), "run", 3, 2, []))
        with torch.no_grad():
            weight.copy_(before)
        assert sum(said) == (8, 4)[number]  # base and tuned, then the other tuned model alone
        assert len(set(measured)) == (16, 4)[number]  # recordings and their round trips too
    first, second = (each.systems for each in results)
    assert all(first[name] == second[name] for name in ("reference", "codec", "base"))
    assert first["tuned"] != second["tuned"]
    (shared,) = (tmp_path / "cache" / "evaluation").iterdir()
    assert len(list((shared / "spoken").glob("*.wav"))) == 4
    assert read_result(tmp_path / "1" / "evaluation") == results[1]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_a_line_and_not_the_evaluation(
    nano_adapter: PocketTTSAdapter, clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    HeadOnly().apply(nano_adapter, 1e-3)
    (tmp_path / "cache").write_text("a file, not a folder")
    evaluation = evaluation_of(clips, nano_adapter, tmp_path, cache_dir=tmp_path / "cache")
    evaluation.begin(FineTuning(nano_adapter, HeadOnly(), adamw(), 0.9, 0), [], None)
    result = evaluation.finish(nano_adapter.eval(), "run", 3, 2, [])
    assert "what the base said is not kept for other runs" in capsys.readouterr().err
    assert read_result(tmp_path / "evaluation") == result
