"""Chatterbox by the whole command: what moves, what is exported, resumed, spoken, and what is not done twice."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from calm_ft.adapters.chatterbox.loading import load_models
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.synthesis import read_voice
from calm_ft.data import prepare
from calm_ft.data.audio import Clip
from calm_ft.runs import adapter_for
from calm_ft.training.resume import read_checkpoint
from scripts import compare, evaluate, export, synthesize
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.chatterbox_turbo.conftest import make_turbo
from tests.adapters.recordings import write_speechlike
from tests.scripts.evaluation_run import evaluate_run
from tests.scripts.run_script import run
from tests.training.tiny_run import run_train

FILES = ["README.md", "conds.pt", "s3gen.safetensors", "t3_cfg.safetensors", "tokenizer.json", "ve.safetensors"]
MOVED = {
    "chatterbox_t3": {"t3_cfg.safetensors"},
    "chatterbox_t3 strategy=last_n_layers strategy.num_layers=1": {"t3_cfg.safetensors"},
    "chatterbox_lora": {"t3_cfg.safetensors"},
    "chatterbox_s3gen": {"s3gen.safetensors"},
    "chatterbox_full": {"s3gen.safetensors", "t3_cfg.safetensors"},
    "chatterbox_voice": set(),
    "chatterbox_voice strategy=voice_prompt strategy.num_tokens=20": set(),
}
IN_EVERY_CHANGE = ("chatterbox_lora",)  # the contract tests have the others, without the command


@pytest.fixture(scope="module")
def overrides(recordings_dir: Path, tiny: list[str]) -> list[str]:
    return [
        *tiny,
        "adapter=chatterbox_tiny",
        "adapter.max_speech_tokens=60",
        f"data.path={recordings_dir}",
        "optimizer.lr=1e-3",
        "trainer.accumulate_grad_batches=1",
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Path:
    """A run of LoRA; not to be changed."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_train(monkeypatch, "experiment=chatterbox_lora", *overrides, f"output_dir={folder}") == 0
    return folder


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(name, marks=[] if name in IN_EVERY_CHANGE else [pytest.mark.slow]) for name in MOVED],
)
def test_each_experiment_moves_its_networks_and_exports_the_others_as_they_were(
    experiment: str, overrides: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    folder = tmp_path / "run"
    name, *others = experiment.split()
    assert run_train(monkeypatch, f"experiment={name}", *others, *overrides, f"output_dir={folder}") == 0
    printed = capsys.readouterr().out
    assert "chatterbox_tiny, a rehearsal with random weights" in printed
    assert f"python -m calm_ft.synthesize {folder}/export" in printed
    assert sorted(path.name for path in (folder / "export").iterdir()) == FILES
    base = make_adapter()
    networks = {"t3_cfg.safetensors": base.t3, "s3gen.safetensors": base.s3gen, "ve.safetensors": base.voice_encoder}
    changed = {
        file
        for file, network in networks.items()
        for key, tensor in load_file(folder / "export" / file).items()
        if not torch.equal(tensor, network.state_dict()[key])
    }
    assert changed == MOVED[experiment]
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["packages"]["chatterbox-tts"] == "0.1.7"
    trained = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert sum(tensor.numel() for tensor in trained.values()) == facts["num_trained_parameters"]
    for system in ("reference", "base", "tuned"):
        samples, rate = soundfile.read(folder / "samples" / f"{system}_00.wav")
        assert rate == 24_000
        assert len(samples) > 2400
        assert 1e-4 < abs(samples).max() <= 1


@pytest.mark.slow
def test_a_checkpoint_of_lora_is_small_and_holds_nothing_else(finished: Path) -> None:
    names = read_checkpoint(finished / "checkpoints" / "last.ckpt")["state_dict"].keys()
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert all(name.startswith("t3.tfmr.layers.") for name in names)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's files whose speech depends on what it is conditioned on, as that of fresh weights hardly does."""
    folder = tmp_path_factory.mktemp("listening")
    adapter = make_adapter()
    with torch.no_grad():
        adapter.t3.speech_head.weight.mul_(10)
        for layer in adapter.t3.tfmr.layers:
            layer.self_attn.q_proj.weight.mul_(10)
            layer.self_attn.v_proj.weight.mul_(10)
    adapter.export(folder / "model", write_speechlike(folder / "voice.wav", 3.0, 24_000))
    return folder / "model"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["speaker_offset", "voice_prompt"])
def test_a_learned_voice_is_the_one_that_a_run_and_its_export_speak_with(
    strategy: str, listening: Path, overrides: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    """The weights are the base's, and so is whatever a recording is said in."""
    folder = tmp_path / "run"
    for place in ("subject", "exports"):  # fresh weights speak to the limit
        monkeypatch.setattr(
            f"calm_ft.runs.{place}.adapter_for",
            lambda _: make_adapter(local_dir=str(folder / "export"), max_speech_tokens=60),
        )
    chosen = ["experiment=chatterbox_voice", *overrides, f"strategy={strategy}", f"adapter.local_dir={listening}"]
    assert run_train(monkeypatch, *chosen, "optimizer.lr=1", f"output_dir={folder}") == 0
    base, tuned = ((folder / "evaluation" / "audio" / f"{name}_000_0.wav").read_bytes() for name in ("base", "tuned"))
    assert base != tuned
    assert (folder / "checkpoints" / "last.ckpt").stat().st_size < 500_000
    for number, model in enumerate((folder, folder / "export")):
        out = tmp_path / f"judged{number}"
        assert evaluate_run(monkeypatch, model, "--asr", "none", "--num-sentences", 1, "--output-dir", out) == 0
        again = [(out / "audio" / f"{name}_000_0.wav").read_bytes() for name in ("base", "tuned")]
        assert again == [base, tuned]
    assert run(monkeypatch, export, folder, "--output-dir", tmp_path / "again") == 0
    first, second = (read_voice(path / "conds.pt").t3 for path in (folder / "export", tmp_path / "again"))
    assert torch.equal(first.speaker_emb, second.speaker_emb)
    capsys.readouterr()
    said = {}
    for name, voice in {"own": [], "recording": ["--voice", folder / "samples" / "voice_prompt.wav"]}.items():
        out = tmp_path / f"{name}.wav"
        assert run(monkeypatch, synthesize, folder, "--text", "Some words.", "--output", out, *voice) == 0
        said[name] = out.read_bytes()
        assert ("learned is its own voice" in capsys.readouterr().err) == (name == "recording")
    assert said["own"] != said["recording"]


@pytest.mark.slow
def test_the_same_export_can_be_written_again_and_speaks(finished: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    again = tmp_path / "again"
    assert run(monkeypatch, export, finished, "--output-dir", again) == 0
    one, other = (load_file(folder / "t3_cfg.safetensors") for folder in (finished / "export", again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert run(monkeypatch, export, again, "--relocate") == 0
    adapter = adapter_for(str(again))
    assert adapter.describe().startswith("Chatterbox")
    out = tmp_path / "hello.wav"
    with monkeypatch.context() as shorter:
        shorter.setattr(
            "calm_ft.runs.exports.adapter_for", lambda _: make_adapter(local_dir=str(again), max_speech_tokens=20)
        )
        assert run(shorter, synthesize, again, "--text", 'Well, "hello"!', "--output", out) == 0
    samples, rate = soundfile.read(out)
    assert (len(samples), rate) == (20 * 960, 24_000)
    assert "did not end by itself" in capsys.readouterr().out


def test_an_export_into_a_folder_of_other_files_is_refused(finished: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("Chapter one.")
    assert run(monkeypatch, export, finished, "--output-dir", tmp_path) == 2
    assert "holds other files (thesis.txt)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_a_second_run_and_every_epoch_read_no_recording_and_run_no_frozen_network(
    overrides: list[str], recordings_dir: Path, tmp_path: Path, monkeypatch
) -> None:
    """Counted from the second run on: the cache holds what the frozen networks made of the clips."""
    counts: Counter[str] = Counter()
    load_clip = prepare.load_clip

    def counted(*arguments: Any) -> Clip:
        counts["wav files"] += 1
        return load_clip(*arguments)

    def count(name: str) -> Callable[..., None]:
        return lambda *_: counts.update([name])

    def hooked(*arguments: Any) -> ChatterboxModels:
        models = load_models(*arguments)
        for name, network in (
            ("speech tokenizer", models.s3gen.tokenizer.encoder),
            ("voice encoder", models.voice_encoder.lstm),
            ("speaker encoder", models.s3gen.speaker_encoder.xvector),
        ):
            network.register_forward_hook(count(name))
        return models

    folder = tmp_path / "recordings"
    shutil.copytree(recordings_dir, folder)
    monkeypatch.setattr(prepare, "load_clip", counted)
    monkeypatch.setattr("calm_ft.adapters.chatterbox.adapter.load_models", hooked)
    cache = [f"data.cache_dir={tmp_path / 'cache'}", f"data.path={folder}", "evaluation.num_sentences=0"]
    common = ["experiment=chatterbox_t3", *overrides, *cache]
    assert run_train(monkeypatch, *common, f"output_dir={tmp_path / 'first'}") == 0
    num_clips = len(list(folder.glob("*.ogg")))
    assert counts["wav files"] == num_clips
    assert counts["speech tokenizer"] >= 2 * num_clips  # the clip and its beginning
    voice_only = Counter({"speech tokenizer": 2, "voice encoder": 1, "speaker encoder": 1})  # of the export
    counts.clear()
    assert run_train(monkeypatch, *common, "trainer.max_steps=12", f"output_dir={tmp_path / 'second'}") == 0
    assert counts == voice_only  # 12 steps are more than four epochs of six clips
    facts = json.loads((tmp_path / "second" / "run.json").read_text())
    assert facts["num_steps"] * 2 > 4 * facts["num_train_clips"]


@pytest.mark.slow
def test_turbo_goes_the_whole_way_from_training_to_a_comparison(
    overrides: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    """Its own adapter stands behind the others' in the command line, where the last one counts."""
    runs = {name: tmp_path / name for name in ("chatterbox_turbo_t3", "chatterbox_turbo_lora")}
    for name, folder in runs.items():
        own = [f"experiment={name}", *overrides, "adapter=chatterbox_turbo_tiny", f"output_dir={folder}"]
        assert run_train(monkeypatch, *own) == 0
        assert "chatterbox_turbo_tiny, a rehearsal with random weights" in capsys.readouterr().out
        base, tuned = make_turbo().t3.state_dict(), load_file(folder / "export" / "t3_turbo_v1.safetensors")
        moved = {key for key in base if not torch.equal(base[key], tuned[key])}
        assert any("c_attn" in key for key in moved)
        assert not moved & {"tfmr.wte.weight", "text_head.weight"}
    folder = runs["chatterbox_turbo_lora"]
    assert run(monkeypatch, evaluate, folder, "--num-sentences", 2) == 0
    assert run(monkeypatch, compare, *runs.values(), "--output", tmp_path / "comparison.html") == 0
    again, out = tmp_path / "again", tmp_path / "hello.wav"
    assert run(monkeypatch, export, folder, "--output-dir", again) == 0
    one, other = (load_file(each / "t3_turbo_v1.safetensors") for each in (folder / "export", again))
    assert all(torch.equal(one[key], other[key]) for key in one)
    with monkeypatch.context() as shorter:
        shorter.setattr(
            "calm_ft.runs.exports.adapter_for", lambda _: make_turbo(local_dir=str(again), max_speech_tokens=20)
        )
        assert run(shorter, synthesize, again, "--text", "Hello [laugh] there.", "--output", out) == 0
    samples, rate = soundfile.read(out)
    assert (len(samples), rate) == ((21 + 3) * 960, 24_000)
    assert "did not end by itself" in capsys.readouterr().out
