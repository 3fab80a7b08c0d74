"""Stages say what they need, and the last one writes the bundle."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from calm_ft.errors import UserError
from tools.nano import stages
from tools.nano.bundle import codec_only_state, read_state
from tools.nano.codec_data import CodecCorpus
from tools.nano.codec_training import CodecRecipe, CodecTrainer, load_averaged_codec
from tools.nano.corpus import Line, write_corpus
from tools.nano.espeak import EspeakVoice
from tools.nano.sentences import make_sentences
from tools.nano.stages import BuildFolder
from tools.nano.tokenizer import train_tokenizer

ONE_STEP = CodecRecipe(num_steps=1, batch_size=1, num_warmup_steps=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> BuildFolder:
    """A folder whose codec took one step, with a tokenizer."""
    folder = BuildFolder(tmp_path_factory.mktemp("build"))
    clip = folder.root / "clip.wav"
    soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
    corpus = CodecCorpus([clip], [clip])
    CodecTrainer(corpus, ONE_STEP, folder.codec_checkpoint).run()
    train_tokenizer(make_sentences(3000, seed=0, stream="tokenizer"), folder.tokenizer)
    return folder


def test_the_final_bundle_is_that_of_the_last_run_with_its_words(trained: BuildFolder):
    stages.build_codec_bundle(trained, seed=0)
    export = trained.one_step_run / "export"
    export.mkdir(parents=True)
    (export / "config.yaml").touch()
    state = read_state(trained.codec_bundle)
    state["flow_lm.emb_mean"] = torch.full_like(state["flow_lm.emb_mean"], 3.0)
    safetensors.torch.save_file(state, export / "model.safetensors")

    bundle = stages.build_bundle(trained, seed=0).parent
    assert read_state(bundle)["flow_lm.emb_mean"].unique().tolist() == [3.0]
    assert "house" in (bundle / "words.txt").read_text(encoding="utf-8").split()
    shutil.rmtree(trained.one_step_run)


@pytest.mark.slow
def test_teacher_and_student_train_from_word_times_and_are_not_repeated(trained: BuildFolder, capfd):
    voices = (EspeakVoice("f1", "f1"), EspeakVoice("f2", "f2"))
    texts = make_sentences(6, seed=0, stream="clips")
    lines = [Line(voice, text, f"{voice.name}/{n}.wav") for voice in voices for n, text in enumerate(texts)]
    write_corpus(trained.flow_lm_manifest.parent, lines)
    overrides = [
        "trainer.devices=1",
        "trainer.max_steps=2",
        "trainer.log_every_n_steps=1",
        "data.validation_fraction=0.2",
    ]
    stages.train_flow_lm(trained, 0, overrides)
    assert "train/attention_guide" in (trained.flow_lm_run / "metrics.csv").read_text(encoding="utf-8")
    stages.train_student(trained, 0, overrides)
    assert "train/distillation" in (trained.student_run / "metrics.csv").read_text(encoding="utf-8")
    stages.train_one_step(trained, 0, overrides)
    assert "train/trajectory" in (trained.one_step_run / "metrics.csv").read_text(encoding="utf-8")
    assert stages.build_bundle(trained, seed=0).parent == trained.bundle
    capfd.readouterr()
    stages.train_flow_lm(trained, 0, overrides)
    stages.train_student(trained, 0, overrides)
    stages.train_one_step(trained, 0, overrides)
    assert capfd.readouterr().out.count("holds a finished run") == 3
    for run in (trained.flow_lm_run, trained.student_run, trained.one_step_run):
        shutil.rmtree(run)


def test_a_fresh_flow_lm_is_a_function_of_the_seed(trained: BuildFolder):
    codec = load_averaged_codec(trained.codec_checkpoint)
    first, second, other = (codec_only_state(codec, trained.tokenizer, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert not torch.equal(first["flow_lm.input_linear.weight"], other["flow_lm.input_linear.weight"])


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        (lambda folder: stages.build_codec(folder, ONE_STEP), "corpus"),
        (lambda folder: stages.build_tokenizer(folder), "corpus"),
        (lambda folder: stages.build_codec_bundle(folder, 0), "codec"),
        (lambda folder: stages.train_student(folder, 0, []), "flow_lm"),
        (lambda folder: stages.train_one_step(folder, 0, []), "student"),
        (lambda folder: stages.build_bundle(folder, 0), "one_step"),
    ],
)
def test_a_stage_without_its_input_names_the_stage_to_run(stage, missing: str, tmp_path: Path):
    with pytest.raises(UserError, match=f"--stage {missing}"):
        stage(BuildFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_begun_with_another_seed_is_refused(tmp_path: Path):
    (tmp_path / "seed.txt").write_text("1")
    with pytest.raises(UserError, match="another seed"):
        stages.build_corpus(BuildFolder(tmp_path), seed=0)
