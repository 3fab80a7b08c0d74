"""The recogniser's training learns, goes on after a kill as if there had been none, and never hears its test."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from calm_ft.errors import UserError
from calm_ft.metrics.embedded_recogniser import EmbeddedASR, encode_text
from tools.nano import stages
from tools.nano.asr_corpus import asr_lines
from tools.nano.asr_data import AsrCorpus, mask_features
from tools.nano.asr_training import AsrRecipe, AsrTrainer, ctc_loss, write_asr_asset
from tools.nano.assets import held_out_sentences
from tools.nano.corpus import write_corpus
from tools.nano.stages import BuildFolder
from tools.nano.voices import HELD_OUT_VARIANTS

TINY = AsrRecipe(num_steps=3, batch_size=2, num_warmup_steps=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("asr"), asr_lines(0, num_each=(1, 0))[:6])


def test_no_held_out_sentence_or_voice_is_trained_on():
    lines = asr_lines(0)
    held_out = {text for texts in held_out_sentences(0).values() for text in texts}
    assert not held_out & {line.text for line in lines}
    assert not HELD_OUT_VARIANTS & {line.voice.variant for line in lines}
    assert len({line.path for line in lines}) == len(lines) >= 0.99 * 2 * (24 * 200 + 336 * 12)


def test_batches_are_a_function_of_the_step(manifest: Path):
    corpus = AsrCorpus([manifest])
    batch, same, other = (corpus.draw_batch(4, seed=0, step=step) for step in (5, 5, 6))
    assert batch.audio.shape[0] == len(batch.texts) == 4
    assert torch.equal(batch.audio, same.audio)
    assert not (batch.audio.shape == other.audio.shape and torch.equal(batch.audio, other.audio))


def test_masks_hide_little_and_leave_the_rest():
    features = torch.rand(3, 64, 100)
    masked = mask_features(features, seed=0, step=0)
    hidden = masked != features
    assert (masked[hidden] == -1).all()
    assert 0 < hidden.float().mean() < 0.35


def test_a_text_too_long_for_its_frames_does_not_spoil_the_batch():
    log_probs = torch.randn(2, 8, 29).log_softmax(dim=-1).requires_grad_()
    loss = ctc_loss(log_probs, [encode_text("boat"), encode_text("much too long for it")])
    loss.backward()
    assert torch.isfinite(loss)
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()


def test_a_few_steps_lower_the_loss(manifest: Path, tmp_path: Path):
    recipe = AsrRecipe(num_steps=30, batch_size=2, num_warmup_steps=5)
    trainer = AsrTrainer(AsrCorpus([manifest]), recipe, tmp_path / "asr.pt")
    losses = [trainer.train_step() for _ in range(20)]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_a_training_killed_after_its_checkpoint_ends_with_the_same_weights(manifest: Path, tmp_path: Path):
    corpus = AsrCorpus([manifest])
    whole = AsrTrainer(corpus, TINY, tmp_path / "whole.pt").run()

    killed = AsrTrainer(corpus, TINY, tmp_path / "killed.pt")
    killed.train_step()
    killed.save()
    killed.train_step()  # lost with the process
    resumed = AsrTrainer(corpus, TINY, tmp_path / "killed.pt").run()

    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_the_asset_is_what_the_recogniser_loads(manifest: Path, tmp_path: Path):
    trainer = AsrTrainer(AsrCorpus([manifest]), TINY, tmp_path / "asr.pt")
    trainer.run()
    write_asr_asset(tmp_path / "asset", trainer)
    made = json.loads((tmp_path / "asset" / "config.json").read_text())["made_by"]
    assert made["recipe"]["num_steps"] == 3
    assert isinstance(EmbeddedASR(tmp_path / "asset").transcribe(torch.rand(1600), 16_000), str)


def test_a_killed_stage_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        stages, "asr_lines", lambda seed, left_out: asr_lines(seed, num_each=(1, 0), left_out=left_out)[:6]
    )
    folder, asset = BuildFolder(tmp_path / "build"), tmp_path / "asset"
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_coded_corpus", _killed)
        with pytest.raises(KeyboardInterrupt):
            stages.build_asr(folder, TINY, asset)
    recorded = {path: path.stat().st_mtime_ns for path in folder.asr_clips.rglob("*.wav")}
    stages.build_asr(folder, TINY, asset)

    assert len(recorded) == 6
    assert recorded == {path: path.stat().st_mtime_ns for path in folder.asr_clips.rglob("*.wav")}
    coded = list(folder.asr_coded_clips.rglob("*.wav"))
    assert len(coded) == 2
    for path in coded:
        clean = folder.asr_clips / path.relative_to(folder.asr_coded_clips)
        assert soundfile.info(path).frames == soundfile.info(clean).frames
    assert (asset / "model.safetensors").is_file()
    with pytest.raises(UserError, match="another seed"):
        stages.build_asr(folder, AsrRecipe(seed=1), asset)


def _killed(*arguments: object) -> Path:
    raise KeyboardInterrupt
