"""Commands are measured alone, and the bundle of the released size has the released shape."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenizers
import yaml
from pocket_tts.utils.config import CONFIGS_DIR

from benchmarks.measuring import measure_command, new_folder, run_figures
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.data.audio import load_clip
from calm_ft.data.utterance import Utterance
from calm_ft.errors import UserError
from tests.conftest import default_objective
from tools.nano.released_shape import RELEASED, write_released_shape


def test_a_commands_time_and_peak_memory_are_its_own(tmp_path: Path) -> None:
    hungry = "import time; held = b'x' * 300_000_000; time.sleep(0.3); print(len(held))"
    small, _ = measure_command([sys.executable, "-c", "print('small')"], tmp_path)
    large, output = measure_command([sys.executable, "-c", hungry], tmp_path)
    assert large["peak_rss_mb"] - small["peak_rss_mb"] == pytest.approx(286, abs=30)
    assert large["sec"] > 0.3
    assert output.strip() == "300000000"
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_is_one_error_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ended with code 3: no such model"):
        measure_command([sys.executable, "-c", "print('no such model'); raise SystemExit(3)"], tmp_path)


@pytest.mark.slow
def test_a_runs_cost_is_what_its_folder_says(tiny_study: Path) -> None:
    run, figures = run_figures(tiny_study / "full-0")
    assert figures["num_trained_parameters"] == run.record["num_trained_parameters"] > 0
    assert figures["checkpoint_mb"] > 0
    assert figures["logged"]["train/step_sec"] == pytest.approx(run.curves["train/step_sec"][-1][1], abs=1e-3)
    assert not [name for name in figures["logged"] if name.startswith("val/")]


def test_a_folder_that_holds_files_is_refused(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose an empty or new folder"):
        new_folder(tmp_path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_released_shape(tmp_path_factory.mktemp("released_shape"), 6)
    yield folder
    shutil.rmtree(folder)  # 440 MB


@pytest.mark.slow
def test_the_bundle_has_the_released_architecture_and_number_of_pieces(bundle: Path) -> None:
    ours, released = (
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (bundle / "config.yaml", CONFIGS_DIR / f"{RELEASED[6]}.yaml")
    )
    pieces = tokenizers.Tokenizer.from_file(str(bundle / "tokenizer.json")).get_vocab_size()
    assert pieces == released["flow_lm"]["lookup_table"]["n_bins"]
    for config in (ours, released):
        del config["flow_lm"]["lookup_table"]["tokenizer_path"]
    assert ours["flow_lm"] == released["flow_lm"]
    assert ours["mimi"] == released["mimi"]


@pytest.mark.slow
def test_the_bundle_loads_strictly_and_encodes_speech_to_latents_that_vary(bundle: Path, speech_file: Path) -> None:
    adapter = PocketTTSAdapter(str(bundle), default_objective())
    clip = load_clip(Utterance("clip", speech_file, "words"), adapter.sample_rate_hz, 0.08)
    (features,) = adapter.encode([clip])
    assert features["latents"].isfinite().all()
    assert float(features["latents"].std(dim=0).min()) > 0
