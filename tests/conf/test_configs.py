"""Every shipped configuration composes, every object of it builds, and factories give what they promise."""

from pathlib import Path

import pytest
import torch

from calm_ft.config import CONF, build, compose_config, experiment_from, plain
from calm_ft.errors import UserError
from calm_ft.finetuning.strategy import TrainedComponent
from calm_ft.training.trainer import build_trainer

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUPS = ("interpolant", "objective", "strategy", "optimizer", "trainer", "logger", "evaluation", "data")
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
PARTS = [
    f"objective/{part}={path.stem}"
    for part in ("time_sampler", "weighting", "stop_gradient")
    for path in sorted((CONF / "objective" / part).glob("*.yaml"))
] + [f"optimizer/schedule={path.stem}" for path in sorted((CONF / "optimizer" / "schedule").glob("*.yaml"))]
OF_POCKET_TTS = ("objective", "interpolant")


@pytest.mark.parametrize(
    ("experiment", "option"),
    [
        (experiment, option)
        for experiment in EXPERIMENTS
        for option in (*OPTIONS, *PARTS)
        if not (experiment.startswith("chatterbox") and option.startswith(OF_POCKET_TTS))
    ],
)
def test_every_experiment_takes_every_option(experiment: str, option: str, tmp_path: Path) -> None:
    overrides = [f"experiment={experiment}", option, f"output_dir={tmp_path / 'run'}"]
    if experiment.startswith("chatterbox") and option == "data=replay":
        overrides.append("data.sources.base_voices.path=others")  # whose there are none known
    parts = experiment_from(compose_config(overrides))
    assert build(plain(compose_config(overrides))["objective"])
    assert build_trainer(parts.trainer_settings, parts.run.output_dir, []).max_steps >= 1
    module = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(2, 2)])})
    optimizer, schedule = parts.optimizer.build([TrainedComponent("backbone", module, 1.0)], 10)
    assert optimizer.param_groups[0]["lr"] == schedule.get_last_lr()[0] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds_its_model_and_selects_something(experiment: str) -> None:
    small = ["adapter=chatterbox_tiny"] if experiment.startswith("chatterbox") else []
    parts = experiment_from(compose_config([f"experiment={experiment}", *small]))
    adapter = parts.adapter_factory()
    plans = parts.strategy.apply(adapter, parts.optimizer.lr)
    assert any(plan.lr for plan in plans)


def test_the_released_model_is_one_override_away() -> None:
    config = plain(compose_config(["adapter=pocket_tts"]))
    assert config["adapter"]["model"] == "english_2026-10"


def test_base_and_replay_voices_are_the_embedded_models_own_and_nobodys_else() -> None:
    own, other = (plain(compose_config(["data=replay", f"adapter={name}"])) for name in ("nano", "pocket_tts"))
    assert Path(own["evaluation"]["base_voices_path"]).is_dir()
    assert Path(own["data"]["sources"]["base_voices"]["path"]).is_dir()
    assert other["evaluation"]["base_voices_path"] is None
    with pytest.raises(UserError, match=r"data.sources.base_voices.path is not set"):
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
    assert plain(compose_config(["experiment=demo"]))["optimizer"]["lr"] == 3e-4
    assert plain(compose_config(["experiment=demo", "optimizer.lr=1e-5"]))["optimizer"]["lr"] == 1e-5
