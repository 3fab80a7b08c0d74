"""scripts/evaluate.py from end to end: a run, its base, its export, and input that cannot be evaluated."""

import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, rows_of, summary_of
from tests.training.tiny_run import run_train


@pytest.fixture(scope="module")
def evaluated(
    finished_run: Path, recordings_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run evaluated on four of its recordings, with two clips of each."""
    folder = tmp_path_factory.mktemp("evaluated") / "evaluation"
    with pytest.MonkeyPatch.context() as monkeypatch:
        arguments = ["--heldout-path", recordings_dir, "--num-sentences", 4, "--num-seeds", 2, "--output-dir", folder]
        arguments += NO_BASE_VOICES
        assert evaluate_run(monkeypatch, finished_run, *arguments) == 0
    return folder, summary_of(folder)


@pytest.mark.slow
def test_all_systems_say_the_same_sentences_and_every_clip_has_its_file(evaluated: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = evaluated
    by_system: dict[str, list[tuple[int, int, str]]] = {}
    for row in rows_of(folder):
        by_system.setdefault(row["system"], []).append((row["index"], row["seed"], row["text"]))
        assert soundfile.info(folder / row["audio"]).samplerate == summary["protocol"]["sample_rate_hz"]
    assert {name: len(each) for name, each in by_system.items()} == {"reference": 4, "codec": 4, "base": 8, "tuned": 8}
    assert sorted(by_system["base"]) == sorted(by_system["tuned"])
    assert {text for _, _, text in by_system["reference"]} == {text for _, _, text in by_system["tuned"]}


def test_the_summary_has_floor_ceiling_differences_and_reasons(evaluated: tuple[Path, dict[str, Any]]) -> None:
    _, summary = evaluated
    mcd = {name: system["metrics"]["mcd_db"]["mean"] for name, system in summary["systems"].items()}
    assert mcd["reference"] == 0.0 < mcd["codec"] < mcd["base"]
    figure = summary["systems"]["tuned"]["metrics"]["mcd_db"]
    assert figure["low"] <= figure["mean"] <= figure["high"]
    assert figure["n"] == 4
    difference = summary["against_base"]["tuned"]["mcd_db"]
    assert difference["mean"] == pytest.approx(mcd["tuned"] - mcd["base"])
    assert difference["better"] is None  # four sentences are no verdict
    assert "out of reach" in summary["missing"]["utmos"]
    assert summary["systems"]["tuned"]["rtf"] > 0


def test_the_spread_over_seeds_is_that_of_the_seeds_means(evaluated: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = evaluated
    tuned = [row for row in rows_of(folder) if row["system"] == "tuned"]
    means = [statistics.mean(row["metrics"]["mcd_db"] for row in tuned if row["seed"] == seed) for seed in (0, 1)]
    assert means[0] != means[1]
    spread = summary["systems"]["tuned"]["metrics"]["mcd_db"]["seeds"]
    expected = {"std": statistics.stdev(means), "low": min(means), "high": max(means), "num_seeds": 2}
    assert spread == pytest.approx(expected)
    assert summary["systems"]["codec"]["metrics"]["mcd_db"]["seeds"] is None


def test_speed_is_that_of_sentences_said_alone_and_says_how_many(evaluated: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = evaluated
    for name in ("rtf", "time_to_first_audio_sec"):
        figure = summary["systems"]["tuned"]["metrics"][name]
        assert figure["n"] == summary["protocol"]["num_timed"] == 4
        assert figure["mean"] > 0
        assert summary["systems"]["reference"]["metrics"][name]["n"] == 0
    later = [row for row in rows_of(folder) if row["system"] == "tuned" and row["seed"] == 1]
    assert all("timed" in row["missing"]["rtf"] for row in later)
    assert summary["timing"]["conditions"]
    assert summary["timing"]["measured"]["from"]


def test_by_default_the_runs_validation_clips_are_said_and_one_sentence_has_no_interval(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run(monkeypatch, finished_run, "--asr", "none", *NO_BASE_VOICES, "--output-dir", tmp_path) == 0
    summary = summary_of(tmp_path)
    assert summary["protocol"]["sentences"] == "the run's validation clips"
    assert summary["systems"]["tuned"]["metrics"]["mcd_db"]["low"] is None
    said = capsys.readouterr().out
    assert "no speech recogniser was asked for" in said
    assert str(tmp_path) in said.replace("\n", "")


@pytest.mark.slow
def test_an_export_in_its_run_and_the_base_alone_are_what_the_run_compares(
    evaluated: tuple[Path, dict[str, Any]],
    finished_run: Path,
    recordings_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = {row["audio"]: row["metrics"]["mcd_db"] for row in rows_of(evaluated[0])}
    common = ["--heldout-path", recordings_dir, "--num-sentences", 4, "--asr", "none", *NO_BASE_VOICES, "--output-dir"]
    for name in ("export", "base"):  # what was measured before is not measured again: it takes seconds
        (tmp_path / name).mkdir()
        shutil.copy(evaluated[0] / "scores.json", tmp_path / name)
    assert evaluate_run(monkeypatch, finished_run / "export", *common, tmp_path / "export") == 0
    assert evaluate_run(monkeypatch, "base", "--of", finished_run, *common, tmp_path / "base") == 0
    for name, systems in (
        ("export", {"reference", "codec", "base", "tuned"}),
        ("base", {"reference", "codec", "base"}),
    ):
        found = rows_of(tmp_path / name)
        assert {row["system"] for row in found} == systems
        assert all(row["metrics"]["mcd_db"] == pytest.approx(whole[row["audio"]], abs=0.05) for row in found)


def test_an_export_elsewhere_speaks_in_its_own_voice_and_says_what_cannot_be_compared(
    finished_run: Path, recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_run / "export", tmp_path / "export")
    arguments = ["--heldout-path", recordings_dir, "--num-sentences", 2, "--asr", "none"]
    assert evaluate_run(monkeypatch, tmp_path / "export", *arguments) == 0
    summary = summary_of(tmp_path / "export" / "evaluation")
    assert summary["systems"].keys() == {"reference", "codec", "tuned"}
    assert "--of" in summary["missing"]["against_base"]
    assert "--voice" in summary["missing"]["speaker_similarity_resemblyzer"]


FAULTS = {
    "no folder": (["{here}/nowhere"], "There is no folder"),
    "an empty folder": (["{here}"], "holds no export"),
    "base without its run": (["base"], "--of RUN"),
    "base of nothing": (["base", "--of", "{here}"], "not a run's folder"),
    "a run of a run": (["{run}", "--of", "{run}"], "leave --of out"),
    "no sentences": (["{run}", "--num-sentences", "0"], "--num-sentences 0 must be an integer of at least 1"),
    "no seeds": (["{run}", "--num-seeds", "-1"], "--num-seeds -1 must be an integer of at least 1"),
    "no number of base sentences": (
        ["{run}", "--base-sentences", "-1"],
        "--base-sentences -1 must be an integer",
    ),
    "no number of base voices": (
        ["{run}", "--max-base-voices", "0"],
        "--max-base-voices 0 must be an integer",
    ),
    "no base voices": (["{run}", "--base-voices", "{here}/nowhere"], "--base-voices={here}/nowhere is not a folder"),
    "base voices without voices": (["{run}", "--base-voices", "{here}"], "holds no folder"),
    "no model of faster-whisper": (["{run}", "--asr", "faster-whisper:"], "--asr faster-whisper: must be a recogniser"),
    "no recogniser's name": (["{run}", "--asr", ""], "--asr  must be a recogniser"),
    "no held-out folder": (["{run}", "--heldout-path", "{here}/nowhere"], "There is no folder"),
    "an empty held-out folder": (["{run}", "--heldout-path", "{here}"], "{here}"),
    "no device": (["{run}", "--device", "abacus"], "--device abacus is not to be had here"),
    "an English recogniser of German": (["{run}", "--asr", "x.en", "--language", "de"], "knows English alone"),
    "no voice": (["{run}", "--voice", "{here}/nowhere.wav"], "There is no voice"),
    "a voice that is none": (["{run}", "--voice", "{here}/file"], "cannot be used"),
    "an output that is a file": (["{run}", "--output-dir", "{here}/file"], "is a file"),
    "an export without its run": (["{export}"], "--heldout-path"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    fault: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, said = FAULTS[fault]
    here, export = tmp_path / "here", tmp_path / "export"
    here.mkdir()
    (here / "file").write_text("no audio")
    shutil.copytree(finished_run / "export", export)
    places = {"run": finished_run, "here": here, "export": export}
    evaluated = (finished_run / "evaluation" / "summary.json").read_bytes()
    code = evaluate_run(monkeypatch, *(argument.format(**places) for argument in arguments))
    error = capsys.readouterr().err
    assert code == 2
    assert said.format(**places) in error
    assert error.count("\n") == 1
    assert (finished_run / "evaluation" / "summary.json").read_bytes() == evaluated
    assert not (export / "evaluation").exists()
    assert [path.name for path in here.iterdir()] == ["file"]


def test_recordings_that_changed_since_the_run_are_refused(
    finished_run: Path,
    recordings_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    moved = shutil.copytree(recordings_dir, tmp_path / "recordings")
    for text in moved.glob("*.txt"):
        text.write_text("Something else.")
    config = (tmp_path / "run" / "config.yaml").read_text().replace(str(recordings_dir), str(moved))
    (tmp_path / "run" / "config.yaml").write_text(config)
    assert evaluate_run(monkeypatch, tmp_path / "run") == 2
    assert "have changed since" in capsys.readouterr().err


@pytest.mark.slow
def test_a_chatterbox_with_lora_is_evaluated_without_a_round_trip_and_says_why(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*tiny, "adapter=chatterbox_tiny", "adapter.max_speech_tokens=60", "evaluation.num_sentences=0"]
    place = [f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}"]
    assert run_train(monkeypatch, "experiment=chatterbox_lora", *overrides, *place) == 0
    arguments = ["--heldout-path", recordings_dir, "--num-sentences", 2, "--asr", "none"]
    assert evaluate_run(monkeypatch, tmp_path / "run", *arguments) == 0
    summary = summary_of(tmp_path / "run" / "evaluation")
    assert summary["systems"].keys() == {"reference", "base", "tuned"}
    assert "has no codec" in summary["missing"]["codec"]
    assert summary["systems"]["tuned"]["counts"]["utterances"] == 2


@pytest.mark.slow
def test_how_systems_spoke_is_one_of_the_rules_of_an_evaluation(
    finished_run: Path, recordings_dir: Path, evaluated: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch
) -> None:
    """Else a run that was heard with four flow steps would be compared with one that was heard with one."""
    arguments = [
        "--heldout-path",
        recordings_dir,
        "--num-sentences",
        2,
        "--num-steps",
        4,
        "--output-dir",
        tmp_path / "e",
    ]
    assert evaluate_run(monkeypatch, finished_run, *arguments, *NO_BASE_VOICES) == 0
    assert summary_of(tmp_path / "e")["protocol"]["num_steps"] == 4
    assert "num_steps" not in evaluated[1]["protocol"]
