"""Every benchmark's command line, and what those that measure single things make of small input."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks
from benchmarks import compare_systems, known_voices, nano_base, noise_draws, pocket_packing
from benchmarks.chatterbox_packing import padding
from benchmarks.chatterbox_size import join_recordings
from benchmarks.measuring import encode_folder
from calm_ft.config import ASSETS, compose_config, experiment_from
from calm_ft.data.audio import load_clip
from calm_ft.data.sources import read_recordings
from calm_ft.errors import UserError
from tests.benchmarks.conftest import copy_clips
from tools.nano.assets import held_out_sentences

SHARED = ("measuring", "paired", "studies")
NAMES = sorted(path.stem for path in Path(benchmarks.__path__[0]).glob("[a-z]*.py") if path.stem not in SHARED)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_starts_and_says_how_it_is_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"benchmarks.{name}").main()
    assert end.value.code == 0
    assert f"python -m benchmarks.{name} " in capsys.readouterr().out


def test_the_base_knows_a_voice_of_its_training_better_than_one_it_never_heard(tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    copy_clips(ASSETS / "base_voices" / "alex", voices / "alex", 4)
    copy_clips(ASSETS / "demo_voice" / "train", voices / "annie", 4)
    parts = experiment_from(compose_config(["adapter=nano", "logger=csv", f"data.cache_dir={tmp_path / 'cache'}"]))
    rows = known_voices.measure(parts.adapter_factory().eval(), voices, parts.data)
    assert list(rows) == ["alex", "annie"]
    assert rows["alex"]["residual"] < rows["annie"]["residual"]
    assert rows["alex"]["mcd_db"] > 0
    assert all(0 <= row["voice_identified"] <= 1 for row in rows.values())


@pytest.mark.slow
def test_mirrored_noise_varies_a_gradient_less_than_as_many_independent_draws(tmp_path: Path) -> None:
    adapter, batches = noise_draws.head_and_batches(3, tmp_path)
    rows = noise_draws.measure(adapter, batches[:2], num_draws=6)
    variance = {(row["noise"], row["draws"]): row["variance"] for row in rows}
    for num_draws in (2, 4, 8):
        assert 0 < variance["MirroredNoise", num_draws] < 0.95 * variance["IndependentNoise", num_draws]


def test_packed_rows_pad_less_than_upstreams(tmp_path: Path) -> None:
    overrides = ["experiment=chatterbox_t3", "adapter=chatterbox_tiny", "logger=csv", f"data.cache_dir={tmp_path}"]
    parts = experiment_from(compose_config(overrides))
    adapter = parts.adapter_factory()
    folder = copy_clips(ASSETS / "demo_voice" / "train", tmp_path / "recordings", 12)
    shares = padding(encode_folder(folder, adapter, parts.data), adapter, batch_size=4)
    assert 0 < shares["padding_packed"] < shares["padding_upstream"] < 1
    assert 0 < shares["positions_saved"] < 1


def test_a_packed_clip_has_the_outputs_and_gradients_of_a_padded_one() -> None:
    layers = (
        experiment_from(compose_config(["adapter=nano", "logger=csv"])).adapter_factory().flow_lm.transformer.layers
    )
    generator = torch.Generator().manual_seed(0)
    width = pocket_packing.width_of(layers)
    rows = [torch.randn(1, length, width, generator=generator) for length in (5, 9, 7)]
    found = {}
    for layout in (pocket_packing.padded, pocket_packing.packed):
        layers.zero_grad()
        outputs = layout(layers, rows)
        torch.stack([output.square().sum() for output in outputs]).sum().backward()
        found[layout.__name__] = [*outputs, *(parameter.grad.clone() for parameter in layers.parameters())]
    for one, other in zip(found["padded"], found["packed"], strict=True):
        assert (one - other).norm() < 1e-4 * one.norm()


def test_joined_recordings_have_the_length_and_text_asked_for(tmp_path: Path) -> None:
    folder = join_recordings(tmp_path / "joined", num_clips=2, clip_sec=5, text_characters=40)
    first, second = sorted(read_recordings(folder).utterances, key=lambda each: each.id)
    assert len(load_clip(first, 16_000, tail_sec=0.0).samples) <= 5 * 16_000
    assert len(first.text) == len(second.text) == 40
    assert first.text != second.text


@pytest.mark.slow
def test_a_comparison_of_systems_reads_what_a_run_cost_and_what_was_heard(tiny_study: Path) -> None:
    figures: dict[str, Any] = compare_systems.figures_of(tiny_study / "full-0")
    assert figures["residual"].keys() == {"base", "tuned"}
    assert figures["counts"]["tuned"]["utterances"] == 3
    assert figures["num_samples"] == 3
    assert figures["logged"]["train/step_sec"] > 0
    table = compare_systems.markdown({"run": {**figures, "process": {"sec": 1.0, "peak_rss_mb": 2}}})
    assert "| did not end, tuned | " in table
    assert "n/a" not in table


def test_systems_that_trained_on_other_clips_are_not_compared() -> None:
    runs = {name: {"data": [name, "same"], "clips": [2, 1]} for name in ("pocket_tts", "chatterbox")}
    with pytest.raises(UserError, match="did not train on the same clips"):
        compare_systems.check_same_data(runs)


@pytest.mark.slow
def test_the_base_is_judged_beside_what_a_perfect_copy_would_reach() -> None:
    rows = nano_base.Judge(num_sentences=3, num_seeds=1).recordings()
    assert set(rows) == {f"{group}, {kind}" for group in nano_base.GROUPS for kind in held_out_sentences(0)}
    for group in nano_base.GROUPS:
        row = rows[f"{group}, everyday"]
        assert row["cer"]["mean"] < 0.1
        assert row["sentence_identified"]["mean"] == 1
        assert row["cer"]["n"] == 3 * len(nano_base.GROUPS[group])
