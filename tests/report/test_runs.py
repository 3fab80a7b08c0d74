"""What is read of a run's folder, and what is said of one that is damaged."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from calm_ft.errors import UserError
from calm_ft.report.runs import letters, names_of, read_runs
from tests.report.made_result import result
from tests.report.page.made_runs import add_evaluation, make_run


def _cut(name: str) -> Callable[[Path], object]:
    def cut_in_half(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return cut_in_half


def _change(run: Path, name: str, old: str, new: str) -> None:
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new))


SUMMARY, UTTERANCES = "evaluation/summary.json", "evaluation/utterances.jsonl"


def _word_in_old_figures(run: Path) -> None:
    shutil.rmtree(run / "evaluation")
    _change(run, "run.json", "7.5", '"much"')


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run.json": (lambda run: (run / "run.json").unlink(), "is not a run's folder"),
    "half a run.json": (_cut("run.json"), "run.json is damaged"),
    "run.json of bytes": (lambda run: (run / "run.json").write_bytes(b"\xff\xfe"), "not UTF-8"),
    "run.json of a list": (lambda run: (run / "run.json").write_text("[]"), "it is not a JSON object"),
    "half a summary": (_cut(SUMMARY), "summary.json is damaged"),
    "no utterances": (lambda run: (run / UTTERANCES).unlink(), "utterances.jsonl is damaged"),
    "half a line": (_cut(UTTERANCES), "utterances.jsonl is damaged"),
    "a figure in words": (lambda run: _change(run, SUMMARY, '"n": 2', '"n": "two"'), "should be a valid integer"),
    "a figure that is no number": (lambda run: _change(run, SUMMARY, '"n": 2', '"n": NaN'), "summary.json is damaged"),
    "a direction in no words": (lambda run: _change(run, SUMMARY, '"lower"', '"left"'), "'lower', 'higher' or 'none'"),
    "a verdict in words": (lambda run: _change(run, SUMMARY, '"better": true', '"better": "far"'), "valid boolean"),
    "a list for an object": (lambda run: _change(run, UTTERANCES, '"flags": {', '"flags": [], "_": {'), "flags"),
    "no text": (lambda run: _change(run, UTTERANCES, '"text"', '"words"'), "text: Field required"),
    "figures of an earlier version in words": (
        _word_in_old_figures,
        "mcd_db.mean: Input should be a valid number",
    ),
    "configuration of a list": (lambda run: (run / "config.yaml").write_text("- 1"), "config.yaml is damaged"),
    "configuration that is no yaml": (lambda run: (run / "config.yaml").write_text("a: ["), "config.yaml is damaged"),
    "metrics without steps": (lambda run: (run / "metrics.csv").write_text("loss\n1\n"), "no column step"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_one_sentence_that_names_the_file(what: str, run: Path) -> None:
    damage, said = DAMAGE[what]
    damage(run)
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        read_runs([run])
    assert str(run) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_run_and_a_run_given_twice_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match="one or more runs"):
        read_runs([])
    with pytest.raises(UserError, match="given twice"):
        read_runs([run, run.parent / "." / run.name])


def test_curves_hold_finite_numbers_alone(run: Path) -> None:
    (read,) = read_runs([run])
    assert read.curves["train/loss"][-1][0] == 50  # that of step 60 is nan
    assert read.curves["val/residual"] == ((60.0, 0.6),)


def test_a_run_without_an_evaluation_shows_what_its_training_wrote(tmp_path: Path) -> None:
    (read,) = read_runs([make_run(tmp_path / "run", num_sentences=2)])
    assert not read.was_evaluated
    tuned = read.result.systems["tuned"]
    metric = tuned.metrics["mcd_db"]
    assert (metric.mean, metric.n, metric.median, metric.direction) == (7.5, 2, None, "lower")
    assert metric.low == pytest.approx(7.5 - 1.96 * 0.5)
    assert tuned.counts == {"runaway": 1, "silent": 0}
    assert "voice_identified" not in tuned.metrics
    assert read.residuals == {"validation residual": {"tuned": 0.65}}
    assert sorted((each.system, each.index) for each in read.utterances) == [
        (system, index) for system in ("base", "reference", "tuned") for index in (0, 1)
    ]
    assert not any(each.text for each in read.utterances)


def test_a_result_in_run_json_is_read_where_no_evaluation_was_written(tmp_path: Path) -> None:
    made = result(warnings=["3 of 8 clips did not end."])
    residuals = {
        "base": {"residual": 1.4},
        "tuned": {"residual": 1.1},
        "base_voices": {"names": ["f2"], "num_clips": 4, "base": {"residual": 1.2}, "tuned": {"residual": 1.3}},
    }
    folder = make_run(tmp_path / "run", evaluation=made.model_dump(mode="json"), residuals=residuals)
    (read,) = read_runs([folder])
    assert read.was_evaluated
    assert read.result == made
    assert read.residuals == {
        "validation residual": {"base": 1.4, "tuned": 1.1},
        "base voices residual": {"base": 1.2, "tuned": 1.3},
    }


def test_an_evaluation_that_was_interrupted_is_none(run: Path) -> None:
    (run / SUMMARY).unlink()
    assert not read_runs([run])[0].was_evaluated


def test_a_run_that_was_killed_at_its_start_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"status": "running"}))
    (read,) = read_runs([folder])
    assert not read.result.systems
    assert not read.utterances


def test_names_are_as_short_as_tells_runs_apart(tmp_path: Path) -> None:
    assert names_of([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert names_of([Path("/a/run"), Path("/b/run")]) == ["a/run", "b/run"]


def test_base_voices_are_read_as_figures_and_their_clips_are_no_sentences_of_the_run(run: Path) -> None:
    before = read_runs([run])[0]
    assert before.result.base_voices.systems == {}  # evaluations of earlier versions have none
    content = json.loads((run / SUMMARY).read_text())
    systems, against_base = content["systems"], content["against_base"]
    content["base_voices"] = {"names": ["adam"], "num_clips": 4, "systems": systems, "against_base": against_base}
    (run / SUMMARY).write_text(json.dumps(content))
    rows = (run / UTTERANCES).read_text().splitlines()
    own = [json.dumps(json.loads(row) | {"voice": None}) for row in rows]
    (run / UTTERANCES).write_text("\n".join([*own, json.dumps(json.loads(rows[0]) | {"voice": "adam"})]))
    after = read_runs([run])[0]
    assert after.utterances == before.utterances
    assert after.result.base_voices.systems == before.result.systems
    content["base_voices"] = {"reason": "none were asked for."}
    (run / SUMMARY).write_text(json.dumps(content))
    assert read_runs([run])[0].result.base_voices.systems == {}


def test_runs_are_read_in_the_order_given(tmp_path: Path) -> None:
    folders = [add_evaluation(make_run(tmp_path / name)) for name in ("b", "a")]
    assert [run.name for run in read_runs(folders)] == ["b", "a"]


def test_runs_are_called_by_letters() -> None:
    assert [letters(number) for number in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
