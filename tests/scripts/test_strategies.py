"""Each strategy by the whole command, with replay: what moves, what a checkpoint holds, what is logged."""

import csv
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.training.checkpoints import read_checkpoint
from scripts import export
from tests.conftest import NANO, default_objective
from tests.scripts.run_script import run
from tests.training.tiny_run import copy_short_clips, run_train

HEADS = ("flow_lm.flow_net.", "flow_lm.out_eos.")
LAST_TWO = (*HEADS, "flow_lm.out_norm.", "flow_lm.transformer.layers.4.", "flow_lm.transformer.layers.5.")
TRAINED = {"head_only": HEADS, "last_n_layers": LAST_TWO, "full": ("flow_lm.",)}
BUFFERS = ("emb_mean", "emb_std", "freqs")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another source: the base voices' assets serve, by their own sub-folders as speakers."""
    folder = tmp_path_factory.mktemp("others")
    for voice in ("a", "b"):
        copy_short_clips(folder / voice, 3)
    return folder


@pytest.mark.parametrize("experiment", TRAINED)
def test_what_trains_moves_and_everything_else_is_exported_bit_for_bit(
    experiment: str,
    recordings_dir: Path,
    replayed: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    overrides = [f"experiment={experiment}", f"data.path={recordings_dir}", f"output_dir={folder}", "optimizer.lr=1e-3"]
    replay = ["data=replay", f"data.sources.base_voices.path={replayed}", "data.sources.base_voices.weight=0.6"]
    assert run_train(monkeypatch, *tiny, *overrides, *replay) == 0
    assert "beside it, at weight 0.6, base_voices:" in capsys.readouterr().out
    base = {name: t for name, t in PocketTTSAdapter(str(NANO), default_objective()).tts.state_dict().items()}
    tuned = safetensors.torch.load_file(folder / "export" / "model.safetensors")
    parameters = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"].keys()
    assert tuned.keys() == base.keys()
    for name, tensor in tuned.items():
        may_move = name.startswith(TRAINED[experiment]) and not name.endswith(BUFFERS)
        assert may_move or torch.equal(tensor, base[name]), name
        assert (name in parameters) == may_move, name
    moved = {name for name in parameters if not torch.equal(tuned[name], base[name])}
    # Embedding rows of unseen tokens and what starts at a gradient of zero may stay; most of what trains moves.
    assert len(moved) > 0.9 * len(parameters)
    facts = json.loads((folder / "run.json").read_text())
    assert facts["num_replay_clips"] == 5
    assert set(facts["figures"]["base_voices"]["residual"]) == {"base", "tuned"}
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["val_base/residual"]] == ["0", "2"]


def test_tokens_that_the_data_never_shows_keep_their_rows(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    overrides = ["experiment=full", f"data.path={recordings_dir}", f"output_dir={folder}", "optimizer.lr=1e-3"]
    assert run_train(monkeypatch, *tiny, *overrides) == 0
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    shown = {
        token
        for path in recordings_dir.glob("*.txt")
        for token in adapter.text.tokens(path.read_text(encoding="utf-8").strip())
    }
    name = "flow_lm.conditioner.embed.weight"
    before, after = (
        adapter.tts.state_dict()[name],
        safetensors.torch.load_file(folder / "export" / "model.safetensors")[name],
    )
    moved = set(torch.nonzero((before != after).any(dim=1)).flatten().tolist())
    assert moved
    assert moved <= shown


def test_an_export_holds_the_average_or_on_demand_the_weights_themselves(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(finished_run / "checkpoints" / "last.ckpt")
    for averaged, expected in (("true", checkpoint["ema"]["shadow"]), ("false", checkpoint["state_dict"])):
        folder = tmp_path / averaged
        assert run(monkeypatch, export, finished_run, "--which", "last", "--ema", averaged, "--output-dir", folder) == 0
        exported = safetensors.torch.load_file(folder / "model.safetensors")
        assert all(torch.equal(exported[name], tensor) for name, tensor in expected.items())
