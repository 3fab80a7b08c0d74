"""Each strategy by the whole command, with replay: what moves, what a checkpoint holds, what is logged."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.config import build_adapter
from calm_ft.errors import UserError
from calm_ft.finetuning.lora import LORA_FILE
from calm_ft.finetuning.lora_file import merge_lora_file
from calm_ft.runs import run_config
from calm_ft.training.resume import read_checkpoint
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


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(name, marks=[] if name == "head_only" else [pytest.mark.slow]) for name in TRAINED],
)
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
    assert facts["num_replay_clips"] == 4  # of six files, which are three recordings under two names each
    assert {"base", "tuned"} <= facts["residuals"]["base_voices"].keys()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["val_base/residual"]] == ["0", "2"]


@pytest.mark.slow
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


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_lora_exports_the_stock_model_with_only_its_targets_changed(lora_run: Path) -> None:
    base = PocketTTSAdapter(str(NANO), default_objective()).tts.state_dict()
    tuned = weights_of(lora_run / "export")
    assert tuned.keys() == base.keys()
    moved = {name for name, tensor in tuned.items() if not torch.equal(tensor, base[name])}
    leaves = ("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2")
    assert moved == {f"flow_lm.transformer.layers.{index}.{leaf}.weight" for index in range(6) for leaf in leaves}
    assert all(".lora_" in name for name in read_checkpoint(lora_run / "checkpoints" / "last.ckpt")["state_dict"])


def test_lora_weights_lie_in_the_run_and_fold_into_the_exports_bits(lora_run: Path) -> None:
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    merge_lora_file(adapter, lora_run / LORA_FILE)
    exported = weights_of(lora_run / "export")
    assert all(torch.equal(tensor, exported[name]) for name, tensor in adapter.tts.state_dict().items())
    with pytest.raises(UserError, match="made for another base model"):
        merge_lora_file(adapter, lora_run / LORA_FILE)


@pytest.mark.slow
def test_the_update_ratio_is_kept_and_logged_and_a_faint_one_is_said(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = tmp_path / "run"
    overrides = ["experiment=lora", f"data.path={recordings_dir}", f"output_dir={folder}", "optimizer.lr=1e-6"]
    assert run_train(monkeypatch, *tiny, *overrides) == 0
    assert "too little to be heard" in capsys.readouterr().out
    assert 0 < json.loads((folder / "run.json").read_text())["learned"]["lora_update_ratio"] < 1e-3
    with (folder / "metrics.csv").open() as file:
        ratios = [row["train/lora_update_ratio"] for row in csv.DictReader(file)]
    assert [float(ratio) == 0 for ratio in ratios if ratio] == [True, False]


def test_an_export_written_again_is_the_same(lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, export, lora_run, "--output-dir", tmp_path / "again") == 0
    first, second = weights_of(lora_run / "export"), weights_of(tmp_path / "again")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another_and_can_be_exported_without_them(
    lora_run: Path, recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, folder = tmp_path / "weights.safetensors", tmp_path / "run"
    shutil.copy(lora_run / LORA_FILE, weights)
    overrides = [
        "experiment=lora",
        f"data.path={recordings_dir}",
        f"output_dir={folder}",
        f"strategy.weights={weights}",
    ]
    assert run_train(monkeypatch, *tiny, *overrides) == 0
    first, second = (json.loads((path / "run.json").read_text()) for path in (lora_run, folder))
    before, after = first["residuals"]["tuned"], second["residuals"]["base"]
    assert after["residual"] == pytest.approx(before["residual"], rel=1e-4)
    weights.unlink()
    assert run(monkeypatch, export, folder, "--output-dir", tmp_path / "again") == 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["strategy.weights=nowhere.safetensors"], "There is no LoRA file nowhere.safetensors"),
        (["strategy.weights={file}", "strategy.rank=8"], "set strategy.rank=32"),
        (["+strategy.targets.t3=all"], "strategy.targets.t3 names no component"),
        (["strategy.targets.backbone=[q_proj]"], "the linear layers there are: in_proj, linear1, linear2, out_proj"),
        (["strategy.rank=0"], "strategy.rank=0 must be an integer"),
    ],
)
def test_what_lora_cannot_use_is_one_sentence_and_no_folder(
    overrides: list[str],
    said: str,
    lora_run: Path,
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [each.format(file=lora_run / LORA_FILE) for each in overrides]
    common = ["experiment=lora", f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}"]
    assert run_train(monkeypatch, *tiny, *common, *given) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("error:") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_lora_goes_on_after_an_interruption_and_ends_in_the_same_bits(
    lora_run: Path, recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    common = [*tiny, "experiment=lora", f"data.path={recordings_dir}", "optimizer/schedule=constant"]
    assert run_train(monkeypatch, *common, f"output_dir={folder}") == 0
    for path in (folder, whole):
        assert run_train(monkeypatch, *common, f"output_dir={path}", "trainer.max_steps=4", "resume=true") == 0
    first, second = weights_of(folder / "export"), weights_of(whole / "export")
    assert all(torch.equal(first[name], second[name]) for name in first)
    files = [safetensors.torch.load_file(path / LORA_FILE) for path in (folder, whole)]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0].keys() | files[1].keys())


@pytest.mark.slow
def test_lora_tunes_another_system_by_the_names_of_its_layers(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    system = ["experiment=chatterbox_t3", "adapter=chatterbox_tiny", "strategy=lora", "strategy.targets.backbone=null"]
    system.append("trainer.precision=32-true")  # in which adding and merging differ by little
    targets = "+strategy.targets.t3.backbone=[q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj]"
    overrides = [targets, "optimizer.lr=1e-2", "export.which=last", f"data.path={recordings_dir}"]
    assert run_train(monkeypatch, *tiny, *system, *overrides, f"output_dir={folder}", "evaluation.num_sentences=0") == 0
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    base, adapted = (float(row["val/residual"]) for row in rows if row["val/residual"])
    (merged,) = (float(row["tuned/residual"]) for row in rows if row["tuned/residual"])
    assert merged == pytest.approx(adapted, rel=1e-5)
    assert merged != pytest.approx(base, rel=1e-3)
    names = safetensors.torch.load_file(folder / "export" / "t3_cfg.safetensors").keys()
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    adapter = build_adapter(run_config(folder)["adapter"])
    before = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    merge_lora_file(adapter, folder / LORA_FILE)
    moved = {name for name, tensor in adapter.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[-2] for name in moved} == set(targets.partition("[")[2].strip("]").split(","))
    assert all(name.startswith("t3.") for name in moved)
