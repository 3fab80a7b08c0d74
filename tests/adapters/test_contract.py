"""The contract of `contract.py` on every adapter there is."""

from functools import partial
from pathlib import Path

import pytest

from calm_ft.adapters.base import TTSAdapter
from calm_ft.adapters.pocket_tts.adapter import FreshPocketTTSAdapter, PocketTTSAdapter
from calm_ft.config import build, compose_config, plain
from calm_ft.finetuning.lora import Lora
from calm_ft.finetuning.strategy import Full, HeadOnly, LastNLayers, Strategy
from tests.adapters import contract
from tests.adapters.contract import AdapterCase
from tests.conftest import NANO, default_objective
from tests.outside_system.adapter import SpectrumAdapter


def pocket_tts(folder: Path = NANO) -> PocketTTSAdapter:
    return PocketTTSAdapter(str(folder), default_objective(), head_batch_multiplier=2)


def fresh_pocket_tts() -> FreshPocketTTSAdapter:
    return FreshPocketTTSAdapter(0, model=str(NANO), objective=default_objective(), head_batch_multiplier=2)


def chatterbox(experiment: str, folder: Path | None = None, adapter: str = "chatterbox_tiny") -> TTSAdapter:
    # A network with random weights speaks to the limit: no longer than the clips, of at most 2.6 s.
    overrides = [f"experiment={experiment}", f"adapter={adapter}", "adapter.max_speech_tokens=80"]
    settings = plain(compose_config(overrides))["adapter"]
    return build({**settings, "local_dir": None if folder is None else str(folder)})


def chatterbox_case(
    name: str, strategies: list[Strategy], adapter: str = "chatterbox_tiny", loss_draws: bool = True
) -> AdapterCase:
    make = partial(chatterbox, name, adapter=adapter)
    return AdapterCase(name, make, make, strategies, loss_draws=loss_draws)


def lora(**targets: list[str]) -> Lora:
    return Lora(rank=4, alpha=8, targets=targets)


CASES = [
    AdapterCase("pocket_tts", pocket_tts, pocket_tts, [HeadOnly(), Full(), lora(backbone=["in_proj", "linear2"])]),
    AdapterCase("pocket_tts_fresh", fresh_pocket_tts, pocket_tts, [Full()]),
    chatterbox_case("chatterbox_t3", [LastNLayers(1), Full(), lora(t3=["q_proj", "down_proj"])]),
    chatterbox_case("chatterbox_s3gen", [Full()]),
    chatterbox_case("chatterbox_full", [Full(["s3gen"]), Full()]),
    chatterbox_case(
        "chatterbox_turbo_t3",
        [LastNLayers(1), Full(), lora(t3=["c_attn", "c_proj", "c_fc"])],
        adapter="chatterbox_turbo_tiny",
        loss_draws=False,
    ),
    chatterbox_case("chatterbox_new_language", [Full()], adapter="chatterbox_multilingual_tiny"),
    AdapterCase(
        "outside",
        SpectrumAdapter,
        lambda folder: SpectrumAdapter(str(folder)),
        [HeadOnly(), LastNLayers(1), Full(), lora(decoder=["grow", "shrink"])],
        features_have_weights=False,
    ),
]
# The default tests have one case of each system, the long tests these too.
LONG = ("pocket_tts_fresh", "chatterbox_s3gen", "chatterbox_full", "chatterbox_turbo_t3", "chatterbox_new_language")


def marks(case: AdapterCase) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if case.name in LONG else []


every_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.name, marks=marks(case)) for case in CASES])
every_strategy = pytest.mark.parametrize(
    ("case", "strategy"),
    [pytest.param(c, s, id=f"{c.name}-{type(s).__name__}", marks=marks(c)) for c in CASES for s in c.strategies],
)


@pytest.mark.slow
@every_strategy
def test_the_loss_falls_on_one_batch(case, strategy, tmp_path):
    contract.check_loss_falls(case, strategy, tmp_path)


@every_case
def test_every_parameter_is_in_one_component_and_layers_are_numbered(case):
    contract.check_every_parameter_is_in_one_component(case)


@every_case
def test_padding_order_and_batch_mates_do_not_change_a_rows_residuals(case, tmp_path):
    contract.check_rows_are_independent(case, tmp_path)


@every_case
def test_every_draw_of_the_loss_comes_from_its_generator(case, tmp_path):
    contract.check_draws_come_from_the_generator(case, tmp_path)


@every_strategy
def test_only_the_strategys_components_move(case, strategy, tmp_path):
    contract.check_only_selected_components_move(case, strategy, tmp_path)


@pytest.mark.slow
@every_case
def test_features_change_only_with_the_fingerprint(case, tmp_path):
    contract.check_features_change_only_with_the_fingerprint(case, tmp_path)


@every_case
def test_clips_in_several_threads_have_the_features_of_one(case, tmp_path):
    contract.check_clips_in_several_threads_have_the_features_of_one(case, tmp_path)


@every_strategy
def test_an_export_reloads_with_the_same_residuals(case, strategy, tmp_path):
    contract.check_an_export_reloads_with_the_same_residuals(case, strategy, tmp_path)


@every_strategy
def test_a_resumed_run_is_the_run_that_was_not_cut(case, strategy, tmp_path):
    contract.check_a_resumed_run_is_the_run_that_was_not_cut(case, strategy, tmp_path)


@every_case
def test_a_second_run_encodes_nothing_unless_a_weight_changed(case, tmp_path):
    contract.check_a_second_run_encodes_nothing_unless_a_weight_changed(case, tmp_path)


# Chatterbox speaks by the same code whatever it is trained by, and takes seconds for it.
@pytest.mark.parametrize("case", [*CASES[:3], CASES[-1]], ids=lambda case: case.name)
def test_texts_spoken_together_or_in_pieces_are_what_each_is_alone(case, tmp_path):
    contract.check_texts_together_and_in_pieces_are_spoken_as_each_alone(case, tmp_path)


@pytest.mark.parametrize("case", [*CASES[:3], CASES[-1]], ids=lambda case: case.name)
def test_a_kept_voice_speaks_as_the_one_that_was_kept(case, tmp_path):
    contract.check_a_kept_voice_speaks_as_the_one_that_was_kept(case, tmp_path)
