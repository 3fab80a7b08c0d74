"""Every shipped objective composes with every interpolant, builds, and trains upstream's head."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from calm_ft.flow.interpolant import CosineInterpolant
from calm_ft.flow.loss_weighting import LearnedUncertainty, NoWeighting
from calm_ft.flow.objective import Objective
from calm_ft.flow.stop_gradient import DetachTarget
from calm_ft.flow.time_sampling import LogitNormalTimes, UniformTimes
from calm_ft.randomness import make_rng
from tests.flow.tiny_head import rows, tiny_head

CONF = Path(__file__).resolve().parents[2] / "conf"
OBJECTIVES = sorted(path.stem for path in (CONF / "objective").glob("*.yaml") if not path.stem.startswith("chatterbox"))
INTERPOLANTS = sorted(path.stem for path in (CONF / "objective" / "interpolant").glob("*.yaml"))


def build(objective: str, interpolant: str, *overrides: str) -> Objective:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+objective={objective}", f"objective/interpolant={interpolant}", *overrides])
    return instantiate(config.objective)


@pytest.mark.parametrize("interpolant", INTERPOLANTS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_composes_with_every_interpolant_and_trains(objective: str, interpolant: str) -> None:
    built = build(objective, interpolant)
    cond, _, x1 = rows(8, torch.float32)
    total = built(tiny_head(dtype=torch.float32), cond, x1, make_rng(0, "objective")).total
    total.backward()
    assert total.isfinite()


def test_the_default_objective_is_lsd_with_logit_normal_times_and_no_weighting() -> None:
    objective = build("lsd", "cosine")
    assert isinstance(objective.interpolant, CosineInterpolant)
    assert isinstance(objective.weighting, NoWeighting)
    assert isinstance(objective.time_sampler, LogitNormalTimes)
    assert (objective.time_sampler.mean, objective.time_sampler.std) == (0.4, 1.0)
    shares = (objective.flow_weight, objective.lsd_weight, objective.lsd_fraction)
    assert shares == (0.75, 0.25, 0.25)


def test_the_parts_of_an_objective_are_chosen_by_their_groups() -> None:
    objective = build(
        "lsd_learned_weighting",
        "cosine",
        "objective/time_sampler=uniform",
        "objective/stop_gradient=detach",
    )
    assert isinstance(objective.weighting, LearnedUncertainty)
    assert isinstance(objective.time_sampler, UniformTimes)
    assert isinstance(objective.stop_gradient, DetachTarget)
