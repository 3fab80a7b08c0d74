"""Every shipped configuration composes, every object of it builds, and factories give what they promise."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from calm_ft.config import CONF, build, compose_config, experiment_from, plain
from calm_ft.config.overrides import UNLISTED, tidy_arguments
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import TrainedComponent
from calm_ft.training.trainer import build_trainer
from tests.conf.covering import rows_that_cover_all_pairs
from tests.training.tiny_run import run_train

OBJECTIVES = sorted(path.stem for path in (CONF / "objective").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("chosen", rows_that_cover_all_pairs(), ids=" ".join)
def test_options_compose_and_build_in_every_pair(chosen: list[str], tmp_path: Path) -> None:
    overrides = tidy_arguments([*chosen, f"output_dir={tmp_path / 'run'}"])
    if "data=replay" in chosen:
        overrides.append("data.sources.base_voices.path=others")  # known for the embedded model alone
    parts = experiment_from(compose_config(overrides))
    assert build(parts.config["objective"])
    assert build_trainer(parts.trainer_settings, parts.run.output_dir, []).max_steps >= 1
    block = torch.nn.Linear(2, 2)
    component = TrainedComponent("backbone", torch.nn.ModuleList([block]), 1.0, blocks=(block,))
    optimizer, schedule = parts.optimizer.build([component], 10)
    assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0] > 0
    assert not list(tmp_path.iterdir())


def test_the_rows_hold_every_option_with_every_experiment_that_takes_it() -> None:
    rows = rows_that_cover_all_pairs()
    options = [
        f"{path.parent.relative_to(CONF)}={path.stem}"
        for path in CONF.rglob("*.yaml")
        if path.parent.relative_to(CONF).parts[:1] not in ((), ("hydra",), ("experiment",), ("adapter",))
    ]
    of_chatterbox = [name for name in EXPERIMENTS if name.startswith("chatterbox")]
    for option in options:
        takers = {row[0].removeprefix("experiment=") for row in rows if option in row}
        refused = of_chatterbox if option.startswith("objective") else []
        assert takers == set(EXPERIMENTS) - set(refused), option


def tiny_adapter(experiment: str) -> str:
    """The rehearsal model of one of Chatterbox's experiments."""
    if experiment == "chatterbox_new_language":
        return "chatterbox_multilingual_tiny"
    return "chatterbox_turbo_tiny" if experiment.startswith("chatterbox_turbo") else "chatterbox_tiny"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds_its_model_and_selects_something(experiment: str) -> None:
    small = [f"adapter={tiny_adapter(experiment)}"] if experiment.startswith("chatterbox") else []
    if experiment in ("distill_depth", "teacher_then_student"):
        small = ["adapter.cfg_coef=1"]  # the embedded model has no null branch to be guided away from
    parts = experiment_from(compose_config([f"experiment={experiment}", *small]))
    adapter = parts.adapter_factory()
    plans = parts.strategy.apply(adapter, parts.optimizer.lr)
    assert any(plan.lr for plan in plans)
    assert parts.trainer_settings["gradient_clip_val"] == 1.0


def test_the_released_model_is_one_override_away() -> None:
    config = plain(compose_config(["adapter=pocket_tts"]))
    assert config["adapter"]["model"] == "english_2026-10"


def test_base_and_replay_voices_are_the_embedded_models_own_and_nobodys_else() -> None:
    own, other = (plain(compose_config(["data=replay", f"adapter={name}"])) for name in ("nano", "pocket_tts"))
    assert Path(own["evaluation"]["base_voices"]).is_dir()
    assert Path(own["data"]["sources"]["base_voices"]["path"]).is_dir()
    assert other["evaluation"]["base_voices"] is None
    with pytest.raises(
        UserError, match=r"base_voices has no recordings.* Give some .* data.sources.base_voices.path=FOLDER"
    ):
        experiment_from(compose_config(["data=replay", "adapter=pocket_tts"]))


@pytest.mark.parametrize("plus", ["", "+"])
def test_rates_by_component_and_further_sources_are_set_as_the_readme_says(plus: str) -> None:
    overrides = [
        f"{plus}strategy.lr_factors={{flow_head: 0.3}}",
        f"{plus}data.sources={{old: {{path: here, weight: 2}}}}",
    ]
    parts = experiment_from(compose_config(overrides))
    assert parts.strategy.lr_factors == {"flow_head": 0.3}
    assert parts.data.named_sources()["old"].weight == 2
    parts = experiment_from(compose_config(["+strategy.lr_factors.eos_head=2", "+data.sources.x={path:a,weight:1}"]))
    assert (parts.strategy.lr_factors, list(parts.data.named_sources())) == ({"eos_head": 2}, ["voice", "x"])


def test_the_demo_writes_to_its_own_folder_and_others_to_a_dated_one() -> None:
    assert plain(compose_config(["experiment=demo"]))["output_dir"] == "runs/demo"
    assert plain(compose_config([]))["output_dir"].startswith("runs/head_only-")


def test_an_experiments_own_settings_have_the_last_word_but_the_command_lines() -> None:
    assert plain(compose_config(["experiment=demo"]))["optimizer"]["lr"] == 1e-4
    assert plain(compose_config(["experiment=demo", "optimizer.lr=1e-5"]))["optimizer"]["lr"] == 1e-5


@pytest.mark.parametrize("experiment", ["head_only", "chatterbox_t3"])
def test_the_schedule_is_chosen_by_a_short_name_and_refused_where_the_objective_has_none(
    experiment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"experiment={experiment}", "interpolant=linear"]
    if experiment == "head_only":
        objective = plain(compose_config(tidy_arguments(arguments)))["objective"]
        assert objective["interpolant"]["_target_"].endswith("LinearInterpolant")
    else:
        assert run_train(monkeypatch, *arguments) == 2
        assert "objective=chatterbox_t3 has no interpolant" in capsys.readouterr().err


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_unknown_setting_of_an_objective_or_of_a_part_of_it_is_refused(objective: str) -> None:
    section = plain(compose_config([f"objective={objective}"]))["objective"]
    assert build(section)
    places = [[], *([name] for name, part in section.items() if isinstance(part, dict))]
    for place in places:
        wrong = deepcopy(section)
        part = wrong[place[0]] if place else wrong
        part["no_such_setting"] = 1
        with pytest.raises(UserError, match=r"no_such_setting|takes no arguments"):
            build(wrong)


def test_settings_that_are_not_listed_are_set_without_a_sign_and_reach_their_class() -> None:
    values = {
        "adapter.prompt.max_sec": 2.0,
        "checkpoint.keep": 5,
        "data.tail_sec": 0.5,
        "evaluation.num_seeds": 3,
        "early_stopping.min_delta": 0.25,
        "optimizer.beta1": 0.8,
        "objective.time_sampler.mean": 0.1,
    }
    assert set(values) <= set(UNLISTED)
    parts = experiment_from(compose_config(tidy_arguments([f"{key}={value}" for key, value in values.items()])))
    assert (parts.checkpoint.keep, parts.data.tail_sec, parts.evaluation.num_seeds) == (5, 0.5, 3)
    assert parts.early_stopping.min_delta == 0.25
    assert parts.config["optimizer"]["beta1"] == 0.8
    adapter = parts.adapter_factory()
    assert (adapter.prompt.max_sec, adapter.objective.time_sampler.mean) == (2.0, 0.1)


def test_each_setting_that_is_not_listed_is_named_in_its_file_and_taken_by_its_class() -> None:
    defaults = plain(compose_config([]))
    for key in UNLISTED:
        *sections, name = key.split(".")
        section = defaults
        for each in sections:
            section = section[each]
        assert name not in section, f"{key} is listed"
        assert any(re.search(rf"#.*\b{name}\b", path.read_text()) for path in CONF.rglob("*.yaml")), key


def test_the_default_configuration_stays_small() -> None:
    def num_settings(section: dict[str, Any]) -> int:
        return sum(
            num_settings(value) if isinstance(value, dict) else 1 for key, value in section.items() if key != "_target_"
        )

    composed = plain(compose_config([]))
    assert num_settings({**composed, "adapter": {**composed["adapter"], "objective": None}}) <= 50
