"""An evaluation's files: written whole, read back, and read of earlier versions."""

import json
from pathlib import Path
from typing import Any

import pytest

from calm_ft.errors import UserError
from calm_ft.evaluation.clips import Scored
from calm_ft.evaluation.records import write_records
from calm_ft.evaluation.score_cache import ScoreCache
from calm_ft.evaluation.scoring import score
from calm_ft.evaluation.summary import compare
from calm_ft.metrics.distortion import Distortion
from calm_ft.report.result import EvaluationResult, read_result, read_utterances
from tests.evaluation.conftest import references, spoken
from tests.metrics.conftest import voiced


def result_of(scored: list[Scored]) -> EvaluationResult:
    return EvaluationResult(
        run="run", systems=compare(scored, Distortion.figures, {}).systems, missing={"wer": "none."}
    )


def test_files_hold_every_clip_and_an_earlier_evaluation_leaves_none_behind(tmp_path: Path) -> None:
    clips = [spoken("tuned", voiced(120), index) for index in range(3)]
    many = score(clips, references(), [Distortion()], {"wer": "none."}, ScoreCache())
    for scored in (many, many[:1]):
        write_records(tmp_path, scored, result_of(scored))
        assert read_result(tmp_path) == result_of(scored)
    (row,) = read_utterances(tmp_path)
    assert (row.system, row.index, row.audio) == ("tuned", 0, "audio/tuned_000_0.wav")
    assert (row.metrics, row.missing, row.flags) == (many[0].metrics, many[0].missing, many[0].flags)
    assert [path.name for path in (tmp_path / "audio").iterdir()] == ["tuned_000_0.wav"]
    assert (tmp_path / row.audio).read_bytes() == clips[0].wav


def test_a_summary_never_speaks_of_clips_that_are_being_replaced(tmp_path: Path) -> None:
    scored = score([spoken("tuned", voiced(120))], references(), [Distortion()], {}, ScoreCache())
    write_records(tmp_path, scored, result_of(scored))
    (tmp_path / "utterances.jsonl").unlink()
    (tmp_path / "utterances.jsonl").mkdir()  # so that writing fails halfway
    with pytest.raises(IsADirectoryError):
        write_records(tmp_path, scored, result_of(scored))
    assert read_result(tmp_path) is None


def figure(mean: float | None, unit: str, direction: str, num: int = 8, seeds: dict[str, Any] | None = None) -> Any:
    ends = dict.fromkeys(("low", "high")) if mean is None else {"low": mean - 0.1, "high": mean + 0.1}
    known = {"unit": unit, "direction": direction, "seeds": seeds}
    return {"mean": mean, "median": mean, **ends, "n": 0 if mean is None else num, **known}


def old_summary(base_voices: dict[str, Any]) -> dict[str, Any]:
    """What was written before the schema had a version: no step, doubts, warnings or notes."""

    def system(mcd: float, cer: float | None, rtf: float | None) -> dict[str, Any]:
        seeds = {"std": 0.1, "low": mcd - 0.1, "high": mcd + 0.1, "num_seeds": 2}
        metrics = {"mcd_db": figure(mcd, "dB", "lower", seeds=seeds), "cer": figure(cer, "rate", "lower")}
        return {
            "metrics": metrics,
            "counts": {"utterances": 16, "runaway": 1, "silent": 0, "truncated": 2},
            "rtf": rtf,
        }

    difference = {"mean": -1.0, "low": -1.5, "high": -0.5, "n": 8, "better": True}
    return {
        "run": "runs/old",
        "systems": {
            "reference": system(0.0, 0.02, None),
            "base": system(8.0, None, 0.7),
            "tuned": system(7.0, 0.2, 0.6),
        },
        "against_base": {"tuned": {"mcd_db": difference, "cer": {**dict.fromkeys(difference), "n": 0}}},
        "missing": {"utmos": "the hub is out of reach."},
        "base_voices": base_voices,
        "timing": {"rule": "each sentence alone", "conditions": ["x86_64"], "measured": None},
        "excluded": [{"path": "a.wav", "reason": "the audio is silent"}],
        "protocol": {"asr": "nano_asr", "num_sentences": 8, "confidence": 0.95},
    }


OLD_BASE_VOICES = [
    {"reason": "no base voices were asked for."},
    {"names": ["f2"], "num_clips": 4, "systems": old_summary({})["systems"], "against_base": {}},
]


@pytest.mark.parametrize("base_voices", OLD_BASE_VOICES, ids=["none", "one"])
def test_a_summary_from_before_versions_is_read(base_voices: dict[str, Any], tmp_path: Path) -> None:
    written = old_summary(base_voices)
    (tmp_path / "summary.json").write_text(json.dumps(written))
    result = read_result(tmp_path)
    assert result is not None
    read = result.model_dump()
    for key in ("run", "missing", "timing", "excluded", "protocol", "systems"):
        assert read[key] == written[key]
    difference = result.against_base["tuned"]["mcd_db"]
    assert (difference.verdict("lower"), difference.doubt) == ("better", None)
    assert result.against_base["tuned"]["cer"].verdict("lower") == ""
    assert (result.step, result.doubts, result.warnings, result.notes) == (None, {}, [], [])
    assert result.base_voices.reason == base_voices.get("reason")
    assert result.base_voices.names == base_voices.get("names", [])


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        ("", "Expecting value"),
        ('{"run": "a", ', "Expecting"),
        ("[]", "it is no JSON object"),
        ('{"systems": {}}', "run: Field required"),
        ('{"run": "a"}', "systems: Field required"),
        ('{"run": "a", "systems": {"tuned": {"metrics": {}}}}', "systems.tuned.counts"),
        ('{"run": "a", "systems": {"tuned": {"metrics": {}, "counts": {}, "rtf": NaN}}}', "systems.tuned.rtf"),
        ('{"run": "a", "systems": {}, "schema_version": 3}', "its schema_version is 3, which a later version"),
    ],
)
def test_a_damaged_summary_is_one_sentence_with_its_place(damaged: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(damaged)
    with pytest.raises(UserError, match=rf"{tmp_path}/summary.json is damaged \({fault}.*\): evaluate the run again."):
        read_result(tmp_path)


def test_a_summary_that_is_no_text_is_damaged_and_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    (tmp_path / "summary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is damaged"):
        read_result(tmp_path)


@pytest.mark.parametrize("damaged", [None, "{}\n", '{"system": '])
def test_damaged_clips_are_one_sentence_with_their_place(damaged: str | None, tmp_path: Path) -> None:
    if damaged is not None:
        (tmp_path / "utterances.jsonl").write_text(damaged)
    with pytest.raises(UserError, match=rf"{tmp_path}/utterances.jsonl is damaged"):
        read_utterances(tmp_path)
