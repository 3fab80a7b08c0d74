"""What is read of a run's folder, and what is said of one that is damaged."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from calm_ft.errors import UserError
from calm_ft.report.page.read_run import names_of, read_runs
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
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run.json": (lambda run: (run / "run.json").unlink(), "is not a run's folder"),
    "half a run.json": (_cut("run.json"), "run.json is damaged"),
    "run.json of bytes": (lambda run: (run / "run.json").write_bytes(b"\xff\xfe"), "not UTF-8"),
    "run.json of a list": (lambda run: (run / "run.json").write_text("[]"), "not a JSON object"),
    "half a summary": (_cut(SUMMARY), "summary.json is damaged"),
    "no summary": (lambda run: (run / SUMMARY).unlink(), "python -m calm_ft.evaluate RUN"),
    "no utterances": (lambda run: (run / UTTERANCES).unlink(), "utterances.jsonl cannot be read"),
    "half a line": (_cut(UTTERANCES), "is not JSON"),
    "a figure in words": (lambda run: _change(run, SUMMARY, '"n": 2', '"n": "two"'), "n is not a number"),
    "a figure beyond measure": (lambda run: _change(run, SUMMARY, '"n": 2', f'"n": 1{"0" * 400}'), "n is too large"),
    "a direction in no words": (lambda run: _change(run, SUMMARY, '"lower"', '"left"'), "lower, higher, none"),
    "a verdict in words": (lambda run: _change(run, SUMMARY, '"better": true', '"better": "yes"'), "true, false, null"),
    "a list for an object": (lambda run: _change(run, UTTERANCES, '"flags": {', '"flags": [], "_": {'), "flags"),
    "no text": (lambda run: _change(run, UTTERANCES, '"text"', '"words"'), "text is missing"),
    "configuration of a list": (lambda run: (run / "config.yaml").write_text("- 1"), "config.yaml is damaged"),
    "configuration that is no yaml": (lambda run: (run / "config.yaml").write_text("a: ["), "it is not YAML"),
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


def test_what_is_no_number_is_not_available(run: Path) -> None:
    for name in (SUMMARY, UTTERANCES):
        _change(run, name, "null", "NaN")
    (read,) = read_runs([run])
    assert read.evaluation.systems["reference"].rtf is None
    assert read.evaluation.utterances[0].metrics["utmos"] is None
    assert read.curves["train/loss"][-1][0] == 50  # that of step 60 is nan
    assert read.curves["val/residual"] == ((60.0, 0.6),)


def test_a_run_without_an_evaluation_shows_what_its_training_wrote(tmp_path: Path) -> None:
    (read,) = read_runs([make_run(tmp_path / "run", num_sentences=2)])
    evaluation = read.evaluation
    assert not evaluation.was_evaluated
    metric = evaluation.systems["tuned"].metrics["MCD"]
    assert (metric.mean, metric.num, metric.median) == (7.5, 2, None)
    assert metric.low == pytest.approx(7.5 - 1.96 * 0.5)
    assert evaluation.systems["tuned"].counts == {"not ended": 1, "silent": 0}
    assert "voice identified" not in evaluation.systems["tuned"].metrics
    assert sorted((each.system, each.index) for each in evaluation.utterances) == [
        (system, index) for system in ("base", "reference", "tuned") for index in (0, 1)
    ]
    assert all(each.text is None for each in evaluation.utterances)


def test_a_run_that_was_killed_at_its_start_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"status": "running"}))
    (read,) = read_runs([folder])
    assert not read.evaluation.systems
    assert not read.evaluation.utterances


def test_names_are_as_short_as_tells_runs_apart(tmp_path: Path) -> None:
    assert names_of([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert names_of([Path("/a/run"), Path("/b/run")]) == ["a/run", "b/run"]


def test_a_rate_may_come_with_its_interval(run: Path) -> None:
    content = json.loads((run / SUMMARY).read_text())
    content["systems"]["tuned"]["rtf"] = {"mean": 0.5, "low": 0.4, "high": 0.6}
    (run / SUMMARY).write_text(json.dumps(content))
    assert read_runs([run])[0].evaluation.systems["tuned"].rtf == 0.5


def test_base_voices_are_read_as_figures_and_their_clips_are_no_sentences_of_the_run(run: Path) -> None:
    before = read_runs([run])[0].evaluation
    assert before.base_voices == {}  # evaluations of earlier versions have none
    content = json.loads((run / SUMMARY).read_text())
    systems, against_base = content["systems"], content["against_base"]
    content["base_voices"] = {"names": ["adam"], "num_clips": 4, "systems": systems, "against_base": against_base}
    (run / SUMMARY).write_text(json.dumps(content))
    rows = (run / UTTERANCES).read_text().splitlines()
    own = [json.dumps(json.loads(row) | {"voice": None}) for row in rows]
    (run / UTTERANCES).write_text("\n".join([*own, json.dumps(json.loads(rows[0]) | {"voice": "adam"})]))
    after = read_runs([run])[0].evaluation
    assert after.utterances == before.utterances
    assert after.base_voices == before.systems
    content["base_voices"] = {"reason": "none were asked for."}
    (run / SUMMARY).write_text(json.dumps(content))
    assert read_runs([run])[0].evaluation.base_voices == {}


def test_the_time_to_the_first_audio_is_no_metric_by_which_bases_differ(run: Path) -> None:
    content = json.loads((run / SUMMARY).read_text())
    content["systems"]["base"]["metrics"]["time_to_first_audio_sec"] = {"mean": 0.25, "direction": "lower"}
    (run / SUMMARY).write_text(json.dumps(content))
    base = read_runs([run])[0].evaluation.systems["base"]
    assert base.first_audio_sec == 0.25
    assert "time_to_first_audio_sec" not in base.metrics


def test_runs_are_read_in_the_order_given(tmp_path: Path) -> None:
    folders = [add_evaluation(make_run(tmp_path / name)) for name in ("b", "a")]
    assert [run.name for run in read_runs(folders)] == ["b", "a"]
