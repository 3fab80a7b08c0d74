"""The studies' tables from a real run, and from what runs of earlier versions wrote."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from benchmarks import (
    evaluation_study,
    lora_update_ratio,
    paired,
    recipe_study,
    replay_diagnosis,
    strategies_study,
    studies,
)
from benchmarks.studies import BASE_VOICE, Estimate, Sweep, change_that_counts, figures_of, finished_runs
from calm_ft.config import compose_config, experiment_from
from calm_ft.config.overrides import tidy_arguments
from calm_ft.report.result import read_result
from tests.conftest import NANO


@pytest.mark.slow
def test_a_runs_figures_are_those_of_its_evaluation_and_its_residuals(tiny_study: Path) -> None:
    (run,) = finished_runs(tiny_study)
    figures, result = figures_of(run, "tuned"), read_result(run.folder / "evaluation")
    assert result is not None
    assert figures["MCD"].mean == result.systems["tuned"].mean("mcd_db")
    assert figures["base MCD"].mean == result.base_voices.systems["tuned"].mean("mcd_db")
    assert result.base_voices.names == [f"0-{BASE_VOICE}"]
    assert figures["residual"].mean == run.record["residuals"]["tuned"]["residual"]
    assert figures["base voices"].mean == run.record["residuals"]["base_voices"]["tuned"]["residual"]
    assert figures["MCD"].error > 0
    assert [name for name, each in figures.items() if math.isnan(each.mean)] == ["base sentence"]


def test_runs_of_earlier_versions_have_their_means_and_standard_errors_in_the_same_columns(tmp_path: Path) -> None:
    def scores(mcd_db: float) -> dict[str, object]:
        return {"mcd_db": {"mean": mcd_db, "standard_error": 0.2}, "num_sentences": 24}

    old = {
        "scores": {"tuned, tuned voice": scores(7.5), f"tuned, {BASE_VOICE}": scores(6.5)},
        "extra": {"validation residual": {"tuned, tuned voice": 0.5}},
    }
    (tmp_path / "full-0").mkdir()
    (tmp_path / "full-0" / "run.json").write_text(json.dumps({"status": "finished", "figures": old}))
    (tmp_path / "full-0" / "config.yaml").write_text(yaml.safe_dump({"seed": 0}))
    (run,) = finished_runs(tmp_path)
    figures = figures_of(run, "tuned")
    assert (figures["MCD"].mean, figures["base MCD"].mean, figures["residual"].mean) == (7.5, 6.5, 0.5)
    assert figures["MCD"].error == pytest.approx(0.2)
    assert math.isnan(figures["voice"].mean)


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        ([Estimate(2.0, 0.1), Estimate(3.0, 0.1)], True),
        ([Estimate(2.0, 0.1), Estimate(0.5, 0.1)], False),  # two signs
        ([Estimate(1.1, 0.1), Estimate(1.2, 0.1)], False),  # within the error
        ([Estimate(2.0), Estimate(3.0)], False),  # no error is known
    ],
)
def test_a_change_counts_with_one_sign_in_all_seeds_and_above_two_standard_errors(
    after: list[Estimate], counts: bool
) -> None:
    pairs = [({"MCD": Estimate(1.0, 0.1)}, {"MCD": each}) for each in after]
    assert (change_that_counts(pairs, "MCD") is not None) == counts


def test_only_finished_runs_are_in_a_table_and_they_come_by_seed(tiny_study: Path, tmp_path: Path) -> None:
    for number, (seed, status) in enumerate([(2, "finished"), (0, "finished"), (1, "interrupted")]):
        _copy_run(tiny_study, tmp_path / f"full-{number}", seed=seed, status=status)
    assert [run.config["seed"] for run in finished_runs(tmp_path)] == [0, 2]


def test_the_table_of_strategies_has_a_row_a_setting_and_compares_replay_with_none(
    tiny_study: Path, tmp_path: Path
) -> None:
    _copy_run(tiny_study, tmp_path / "annie" / "full-0")
    _copy_run(tiny_study, tmp_path / "annie" / "full-1", sources={"base_voices": {}})
    lines = strategies_study.tables(tmp_path).splitlines()
    assert "### annie (2 runs)" in lines
    titles = [line.split(" | ")[0] for line in lines if line.startswith("| full")]
    assert titles == [
        "| full, 0.0003, -",
        "| full, 0.0003, replay",
        "| full, 0.0003, -: against base",
        "| full, 0.0003, replay: against base",
        "| full, 0.0003: replay against none",
    ]
    assert set(lines[-1].split(" | ")[1:]) <= {"=", "= |"}  # the same run twice


def test_the_table_of_replay_shows_the_settings_that_are_finished(tiny_study: Path, tmp_path: Path) -> None:
    _copy_run(tiny_study, tmp_path / "1-0")
    rows = replay_diagnosis.table(tmp_path).splitlines()[2:]
    assert len(rows) == 1
    assert rows[0].startswith("| 23 voices, judged on the one left out | ")


def test_the_table_of_lora_rates_and_its_file_have_the_runs_ratio(tiny_study: Path, tmp_path: Path) -> None:
    _copy_run(tiny_study, tmp_path / "rank32-0")
    assert "| 32 | 0.0003 | 1 |" in lora_update_ratio.table(tmp_path)
    content = json.loads((tmp_path / "lora_update_ratio.json").read_text(encoding="utf-8"))
    ratio = json.loads((tiny_study / "full-0" / "run.json").read_text(encoding="utf-8"))["learned"]["lora_update_ratio"]
    assert content["runs"][0]["ratio"] == pytest.approx(ratio, rel=1e-3)
    assert content["by_rate"][0]["MCD"] == content["runs"][0]["tuned"]["MCD"]


def test_the_evaluation_study_compares_each_sentence_with_itself(tiny_study: Path, tmp_path: Path) -> None:
    for sweep in evaluation_study.sweeps():
        for seed in range(studies.NUM_SEEDS):
            folder = tmp_path / "runs" / f"{sweep.name}-{seed}" / "evaluation"
            folder.mkdir(parents=True)
            shutil.copy(tiny_study / "full-0" / "evaluation" / "utterances.jsonl", folder)
    table = evaluation_study.table(tmp_path)
    content = json.loads((tmp_path / "evaluation_study.json").read_text(encoding="utf-8"))
    mcd = content["means"]["full_replay"]["tuned voice: mcd_db"]
    assert mcd["num_clips"] == 3 * studies.NUM_SEEDS
    assert mcd["mean"] == pytest.approx(figures_of(finished_runs(tiny_study)[0], "tuned")["MCD"].mean)
    by_pair = {(each["setting"], each["against"]): each["outcomes"] for each in content["comparisons"]}
    same = by_pair["full_replay", "full_recordings"]["tuned voice: mcd_db"]
    assert (same["mean"], same["counts"], same["num_sentences"]) == (0, False, 3)
    assert by_pair["full_replay", paired.ZERO_SHOT]["tuned voice: mcd_db"]["num_sentences"] == 3
    assert len([line for line in table.splitlines() if " against " in line]) == len(by_pair)


@pytest.mark.parametrize("study", [strategies_study, replay_diagnosis, lora_update_ratio, evaluation_study])
def test_every_setting_of_a_study_is_one_that_a_run_takes(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sweep] = []
    monkeypatch.setattr(studies, "train", lambda sweeps, runs, cache: asked.extend(sweeps))
    monkeypatch.setattr(strategies_study, "VOICES", ("annie",))  # the other voice is recorded first, for minutes
    monkeypatch.setattr(replay_diagnosis, "SETTINGS", {"few voices": replay_diagnosis.Setting(["adam"], BASE_VOICE)})
    monkeypatch.setattr(evaluation_study, "write_heldout", lambda folder: folder)
    monkeypatch.setattr(evaluation_study.subprocess, "run", lambda *command, **settings: None)
    study.run(tmp_path)
    assert asked
    for sweep in asked:
        first_values = [re.sub(r",.*", "", override) for override in sweep.overrides]
        overrides = [*studies.overrides_of_all(tmp_path), *first_values]
        experiment = experiment_from(compose_config(tidy_arguments(overrides)))
        if experiment.evaluation.num_sentences:
            first = sorted(each.name for each in Path(experiment.evaluation.base_voices).iterdir())[0]
            assert (first, experiment.evaluation.max_base_voices) == (f"0-{BASE_VOICE}", 1)


@pytest.mark.slow
def test_every_setting_of_the_recipe_study_is_one_that_a_run_takes_and_is_compared(tmp_path: Path) -> None:
    amounts = {minutes: tmp_path / str(minutes) for minutes in recipe_study.MINUTES}
    asked = [*recipe_study.ways(NANO), *recipe_study.measures(amounts)]
    common = [*studies.overrides_of_all(tmp_path), "data.path=elsewhere"]
    configs = {}
    for sweep in asked:
        first_values = [re.sub(r"^seed=.*", "seed=0", override) for override in sweep.overrides]
        configs[sweep.name] = config = compose_config(tidy_arguments([*common, *first_values]))
        experiment = experiment_from(config)
        if "anchor" in sweep.name:
            assert experiment.adapter_factory().needs_replay == ("replay" in sweep.name)
    assert configs["full_steps_600"].trainer.max_steps == 600
    assert Path(configs["full_minutes_1"].data.path) == amounts[1]
    assert configs["head_only_lsd_1"].objective.lsd_weight == 1
    names = [each.name for each in asked]
    assert len(set(names)) == len(names) == 37
    pairs = list(recipe_study.comparisons(names))
    assert [setting for setting, against in pairs if against == paired.ZERO_SHOT] == names
    assert {name for pair in pairs for name in pair} == {*names, paired.ZERO_SHOT}
    ways_alone = [each.name for each in recipe_study.ways(NANO)]
    assert {name for pair in recipe_study.comparisons(ways_alone) for name in pair} == {*ways_alone, paired.ZERO_SHOT}


@pytest.mark.slow
def test_the_recipe_study_shows_what_each_setting_costs(tiny_study: Path, tmp_path: Path) -> None:
    study = recipe_study.VoiceStudy(tmp_path, "annie", NANO, ways_alone=True)
    for sweep in study.sweeps():
        for seed in range(studies.NUM_SEEDS):
            _copy_run(tiny_study, tmp_path / "runs" / f"{sweep.name}-{seed}", seed)
    _copy_run(tiny_study, tmp_path / "runs" / f"{recipe_study.TAUGHT}_replay-0-teacher")
    content = study.table()
    record = json.loads((tiny_study / "full-0" / "run.json").read_text(encoding="utf-8"))
    costs = content["costs"]
    assert costs["lora_replay"]["training_sec"] == pytest.approx(record["training_sec"])
    assert costs["lora_replay"]["num_trained_parameters"] == record["num_trained_parameters"]
    with_a_teacher = costs[f"{recipe_study.TAUGHT}_replay"]["training_sec"]
    assert with_a_teacher == pytest.approx(record["training_sec"] * 4 / 3)
    assert len(content["comparisons"]) == len(list(recipe_study.comparisons(list(content["costs"]))))


def test_a_failure_of_one_of_the_runs_side_by_side_is_raised_when_the_others_are_done(tmp_path: Path) -> None:
    done = tmp_path / "done.txt"
    commands = [["timeit", "-n1", "-r1", "1/0"], ["timeit", "-n1", "-r1", f"open({str(done)!r}, 'w')"]]
    with pytest.raises(subprocess.CalledProcessError):
        studies.run_side_by_side(commands, 2)
    assert done.is_file()


def _copy_run(study: Path, folder: Path, seed: int = 0, status: str = "finished", sources: object = None) -> None:
    """The study's run in another folder, with other settings written down."""
    shutil.copytree(study / "full-0", folder)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**record, "status": status}))
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["sources"] = sources
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "seed": seed}))
