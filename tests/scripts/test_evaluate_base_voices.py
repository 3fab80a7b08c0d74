"""What tuning forgets: base and tuned model in voices that were not tuned to."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from calm_ft.config import ASSETS
from tests.scripts.evaluation_run import evaluate_run, rows_of, summary_of

VOICES = ASSETS / "judging_voices"
FEW = ["--num-sentences", 1, "--asr", "embedded", "--base-sentences", 2, "--max-base-voices", 2]


@pytest.fixture(scope="module")
def evaluated(
    finished_run: Path, recordings_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("evaluated") / "evaluation"
    with pytest.MonkeyPatch.context() as monkeypatch:
        given = [finished_run, "--heldout-path", recordings_dir, "--output-dir", folder]
        assert evaluate_run(monkeypatch, *given, *FEW) == 0
    return folder, summary_of(folder)


@pytest.mark.slow
def test_the_runs_own_base_voices_are_spoken_in_by_both_systems(evaluated: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = evaluated
    base_voices = summary["base_voices"]
    assert (base_voices["names"], base_voices["num_clips"]) == (["adam", "alicia"], 2 * 2 * 2)
    assert base_voices["systems"].keys() == {"reference", "base", "tuned"}
    rows = [row for row in rows_of(folder) if row["voice"] is not None]
    said = {system: [(row["voice"], row["index"], row["text"]) for row in rows if row["system"] == system] for system in
            ("reference", "base", "tuned")}  # fmt: skip
    assert said["reference"] == said["base"] == said["tuned"]
    assert [index for _, index, _ in said["base"]] == [0, 1, 2, 3]
    assert all((folder / row["audio"]).is_file() for row in rows)
    assert {row["audio"] for row in rows}.isdisjoint(row["audio"] for row in rows_of(folder) if row["voice"] is None)


def test_forgetting_is_the_paired_difference_over_voices_and_sentences(evaluated: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = evaluated
    rows = [row for row in rows_of(folder) if row["voice"] is not None]
    for name in ("mcd_db", "cer", "speaker_similarity_resemblyzer"):
        values = {
            system: {(row["voice"], row["index"]): row["metrics"][name] for row in rows if row["system"] == system}
            for system in ("base", "tuned")
        }
        differences = [values["tuned"][key] - values["base"][key] for key in values["base"]]
        difference = summary["base_voices"]["against_base"]["tuned"][name]
        assert difference["n"] == len(differences) == 4
        assert difference["mean"] == pytest.approx(sum(differences) / 4)
        assert difference["low"] <= difference["mean"] <= difference["high"]


def test_each_voice_is_compared_with_its_own_prompt(evaluated: tuple[Path, dict[str, Any]]) -> None:
    """True recordings are like their own voice's prompt, whatever the tuned voice is like."""
    folder, _ = evaluated
    name = "speaker_similarity_resemblyzer"
    references = [row for row in rows_of(folder) if row["voice"] is not None and row["system"] == "reference"]
    assert all(row["metrics"][name] > 0.7 for row in references)
    assert all(row["metrics"]["mcd_db"] == 0.0 for row in references)


@pytest.mark.slow
def test_a_given_folder_counts_and_a_voice_with_one_good_recording_is_named(
    finished_run: Path, recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, num_clips in (("reed", 3), ("lonely", 1)):
        (tmp_path / "voices" / name).mkdir(parents=True)
        for audio in sorted((VOICES / "reed").glob("*.ogg"))[:num_clips]:
            shutil.copy(audio, tmp_path / "voices" / name)
            shutil.copy(audio.with_suffix(".txt"), tmp_path / "voices" / name)
    (tmp_path / "voices" / "reed" / "torn.ogg").write_bytes(b"OggS")
    (tmp_path / "voices" / "reed" / "torn.txt").write_text("Torn.")
    folder = tmp_path / "out"
    given = [finished_run, "--heldout-path", recordings_dir, "--base-voices", tmp_path / "voices"]
    assert evaluate_run(monkeypatch, *given, *FEW, "--base-sentences", 9, "--output-dir", folder) == 0
    summary = summary_of(folder)
    assert (summary["base_voices"]["names"], summary["base_voices"]["num_clips"]) == (["reed"], 2 * 2)
    excluded = {Path(each["path"]).name: each["reason"] for each in summary["excluded"]}
    assert excluded.keys() == {"lonely", "torn.ogg"}
    assert "two recordings" in excluded["lonely"]


def test_a_run_whose_voices_are_gone_says_so_and_measures_the_rest(
    finished_run: Path, recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(VOICES), str(tmp_path / "gone")))
    given = ["--heldout-path", recordings_dir, "--num-sentences", 1, "--asr", "none"]
    assert evaluate_run(monkeypatch, run, *given) == 0
    summary = summary_of(run / "evaluation")
    assert "is not a folder" in summary["base_voices"]["reason"]
    assert summary["systems"]["tuned"]["metrics"]["mcd_db"]["n"] == 1
