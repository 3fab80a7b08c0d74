"""Before training, frozen layers run once for every row that training can meet, and what they make of it is kept."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from calm_ft.data.feature_cache import FeatureCache
from calm_ft.data.split import Split
from calm_ft.finetuning.strategy import Full, HeadOnly
from calm_ft.training import trunk
from calm_ft.training.datamodule import BatchLimits, EncodedSource, RecordingsDataModule
from tests.training.tiny_run import copy_short_clips, encode, run_train

NUM_CLIPS, NUM_VALIDATION, NUM_DRAWS = 5, 2, 3
NUM_ROWS = (NUM_CLIPS - NUM_VALIDATION) * NUM_DRAWS + NUM_VALIDATION
MANY_BATCHES = 50


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return copy_short_clips(tmp_path_factory.mktemp("recordings"), NUM_CLIPS)


@pytest.fixture
def batches(nano_adapter, recordings, tmp_path) -> RecordingsDataModule:
    HeadOnly().apply(nano_adapter, 1e-3)
    clips = encode(nano_adapter, recordings, tmp_path / "features")
    source = EncodedSource("voice", Split(clips[NUM_VALIDATION:], clips[:NUM_VALIDATION]), 1.0)
    return RecordingsDataModule(nano_adapter, [source], BatchLimits(60, 2), 0, 0, num_prompt_draws=NUM_DRAWS)


def keep(batches: RecordingsDataModule, folder, num_batches: int = MANY_BATCHES) -> list[str]:
    said: list[str] = []
    trunk.keep_trunk_outputs(batches, num_batches, folder, said.append)
    return said


def drawn(batches: RecordingsDataModule, num_batches: int = 20):
    training = batches._training(num_batches)
    return [training[index] for index in range(num_batches)]


def test_every_batch_of_training_and_validation_then_holds_what_the_layers_would_make_of_it(batches, tmp_path):
    plain = drawn(batches)
    said = keep(batches, tmp_path)
    assert len(said) == 1
    assert f"each of {NUM_ROWS} rows ({NUM_ROWS} to do)" in said[0]
    adapter = batches.adapter
    for before, after in zip(plain, drawn(batches), strict=True):
        assert after.utterance_ids == before.utterance_ids
        assert torch.equal(after.prompt_latents, before.prompt_latents)
        assert after.kept is not None
        z = adapter.hidden(before).z
        valid = before.eos_mask
        torch.testing.assert_close(adapter.hidden(after).z[valid], z[valid], rtol=1e-4, atol=1e-5)
    assert all(batch.kept is not None for batch in batches.val_dataloader())


def test_a_second_run_computes_nothing(batches, tmp_path, monkeypatch):
    keep(batches, tmp_path)
    monkeypatch.setattr(batches.adapter, "trunk_outputs", lambda examples: pytest.fail("computed again"))
    said = keep(batches, tmp_path)
    assert said == [f"frozen layers: what they make of {NUM_ROWS} rows is kept in {batches.adapter.trunk_cache.folder}"]


def test_an_interrupted_pass_is_gone_on_with(batches, tmp_path, monkeypatch):
    compute, calls = batches.adapter.trunk_outputs, []

    def interrupted(examples):
        calls.append(len(examples))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compute(examples)

    monkeypatch.setattr(batches.adapter, "trunk_outputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        keep(batches, tmp_path)
    num_done = calls[0]
    assert len(FeatureCache(tmp_path / trunk.FOLDER, batches.adapter.trunk_fingerprint())) == num_done
    assert f"{NUM_ROWS - num_done} to do" in keep(batches, tmp_path)[0]
    assert all(batch.kept is not None for batch in drawn(batches))


def test_a_full_disk_is_said_and_training_goes_on_without(batches, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    (said,) = keep(batches, tmp_path)
    assert "cannot be kept: they take about" in said
    assert "data.num_prompt_draws" in said
    assert not list(tmp_path.glob("trunk/*/shard*"))
    assert all(batch.kept is None for batch in drawn(batches, 3))


def test_a_file_in_the_folders_place_is_said_and_training_goes_on_without(batches, tmp_path):
    (tmp_path / trunk.FOLDER).write_text("here already")
    (said,) = keep(batches, tmp_path)
    assert "cannot be kept" in said
    assert all(batch.kept is None for batch in drawn(batches, 3))


def test_nothing_is_kept_where_training_meets_few_rows_twice(batches, tmp_path):
    (said,) = keep(batches, tmp_path, num_batches=2)
    assert "run at every step" in said
    assert not list(tmp_path.glob("trunk/**/*.safetensors"))


def test_where_all_layers_train_prompts_are_drawn_without_limit(batches):
    Full().apply(batches.adapter, 1e-3)
    assert not trunk.has_frozen_trunk(batches.adapter)


@pytest.mark.slow
def test_a_run_ends_alike_with_and_without_a_cache(recordings, tmp_path, monkeypatch):
    values = []
    common = ["experiment=head_only", "logger=csv", "trainer.accelerator=cpu", "trainer.max_steps=12"]
    common += [f"data.path={recordings}", "evaluation.num_sentences=0", "data.max_batch_size=2"]
    common.append("trainer.precision=32-true")  # bf16-mixed rounds what runs at every step, and not what is kept
    for name in ("with", "without"):
        folder = tmp_path / name
        if name == "without":
            monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
        run = [f"output_dir={folder}", f"data.cache_dir={tmp_path / f'cache-{name}'}"]
        assert run_train(monkeypatch, *common, *run) == 0
        checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        values.append(checkpoint["state_dict"])
    assert list((tmp_path / "cache-with" / trunk.FOLDER).glob("*/shard*"))
    assert not list((tmp_path / "cache-without" / trunk.FOLDER).glob("*/shard*"))
    first, second = values
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=1e-5)
