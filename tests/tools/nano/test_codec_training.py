"""A codec training that was killed goes on as if it had not been; its loss hears what it should."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tools.nano.codec_data import CROP_SAMPLES, CodecCorpus
from tools.nano.codec_loss import spectral_loss
from tools.nano.codec_training import CodecRecipe, CodecTrainer, load_averaged_codec

RECIPE = CodecRecipe(num_steps=2, batch_size=1, num_warmup_steps=1)


@pytest.fixture
def corpus(tmp_path: Path) -> CodecCorpus:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path, num_samples in zip(paths, (CROP_SAMPLES // 2, CROP_SAMPLES, 2 * CROP_SAMPLES), strict=True):
        soundfile.write(path, 0.1 * rng.standard_normal(num_samples), 16_000)
    return CodecCorpus(paths[:2], paths[2:])


def test_crops_have_one_length_and_are_a_function_of_the_step(corpus: CodecCorpus):
    batch = corpus.draw_batch(6, seed=0, step=7)
    assert batch.shape == (6, 1, CROP_SAMPLES)
    assert torch.equal(batch, corpus.draw_batch(6, seed=0, step=7))
    assert not torch.equal(batch, corpus.draw_batch(6, seed=0, step=8))


def test_a_training_killed_after_its_checkpoint_ends_with_the_same_weights(corpus: CodecCorpus, tmp_path: Path):
    whole = CodecTrainer(corpus, RECIPE, tmp_path / "whole.pt").run()

    killed = CodecTrainer(corpus, RECIPE, tmp_path / "killed.pt")
    killed._train_step()
    killed._save()
    killed._train_step()  # lost with the process
    CodecTrainer(corpus, RECIPE, tmp_path / "killed.pt").run()

    resumed = load_averaged_codec(tmp_path / "killed.pt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_training_moves_every_weight_including_those_that_muon_sees_as_matrices(corpus: CodecCorpus, tmp_path: Path):
    trainer = CodecTrainer(corpus, RECIPE, tmp_path / "codec.pt")
    before = {name: weight.clone() for name, weight in trainer.codec.named_parameters()}
    trainer._train_step()
    still = [name for name, weight in trainer.codec.named_parameters() if torch.equal(weight, before[name])]
    assert still == []


def test_the_spectral_loss_is_zero_for_equal_audio_and_grows_with_the_distortion():
    rng = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(1, 8000, generator=rng)
    other = torch.randn(1, 8000, generator=rng)
    losses = [spectral_loss(audio + level * other, audio).item() for level in (0.0, 0.01, 0.1)]
    assert losses[0] == 0.0
    assert 0 < losses[1] < losses[2]


def test_the_spectral_loss_has_finite_gradients_in_digital_silence():
    audio = torch.zeros(1, 8000, requires_grad=True)
    spectral_loss(audio, torch.zeros(1, 8000) + 0.01).backward()
    assert audio.grad is not None
    assert torch.isfinite(audio.grad).all()
