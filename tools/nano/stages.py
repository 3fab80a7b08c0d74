"""The build's stages over one working folder. Each stage keeps what an earlier call finished and says what
it needs.

corpus -> codec -> tokenizer -> flow_lm (the teacher, by this project's own trainer) -> student (which speaks at once as
the teacher does with guidance) -> one_step (its flow head does in one step what it did in several) -> bundle -> assets
-> asr (a recogniser of this speech, from a corpus of its own)
"""

import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from calm_ft.atomic_file import write_text
from calm_ft.errors import UserError
from tools.nano.asr_corpus import asr_lines, read_codec, write_coded_corpus
from tools.nano.asr_data import AsrCorpus
from tools.nano.asr_training import AsrRecipe, AsrTrainer, write_asr_asset
from tools.nano.bundle import WORDS_NAME, codec_only_state, read_state, write_bundle
from tools.nano.codec_data import load_codec_corpus
from tools.nano.codec_evaluation import codec_mcd
from tools.nano.codec_training import CodecRecipe, CodecTrainer, load_averaged_codec
from tools.nano.corpus import codec_lines, familiar_words, flow_lm_lines, write_corpus
from tools.nano.files import read_json_lines
from tools.nano.sentences import make_sentences
from tools.nano.tokenizer import train_tokenizer
from tools.nano.voices import DEMO_VOICE, ZERO_SHOT_VOICES

_NUM_CODEC_TEST_SENTENCES = 8
_SHIPPED_BUNDLE = Path(__file__).parents[2] / "calm_ft" / "assets" / "nano"
_TRAIN_SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"

# What all three runs share: 32 short clips a batch, by two processes of one thread each; noise on what is fed back.
_EVERY_RUN = (
    "adapter.input_noise_std=0.4",
    "adapter.prompt.own_beginning=false",
    "adapter.prompt.max_sec=10",
    "adapter.prompt.trim_max_sec=0",
    "adapter.final_period_dropout=0",
    "trainer.devices=2",
    "trainer.strategy=ddp",
    "data.max_batch_size=16",
    "data.max_frames_per_batch=700",
    "data.max_duration_sec=12",
    "data.validation_fraction=0.004",
    "evaluation.num_sentences=0",
    "export.which=last",
    "logger=csv",
)
# The teacher: Muon, two draws of noise and time a frame, one attention head guided by espeak-ng's word times. Text and
# voice are dropped now and then, so that it has a null branch.
FLOW_LM_RECIPE = (
    "experiment=scratch",
    "optimizer=muon",
    "optimizer.lr=1.5e-3",
    "optimizer.schedule.num_warmup_steps=200",
    "adapter.head_batch_multiplier=2",
    "objective/noise_sampler=independent",
    "adapter.attention_guide_weight=0.2",
    "adapter.conditioning_dropout=0.1",
    "trainer.max_steps=8000",
    "trainer.val_check_interval=1000",
    *_EVERY_RUN,
)
# The student has all of the layers; fewer were not tried.
STUDENT_RECIPE = (
    "experiment=distill_depth",
    "adapter.num_layers=6",
    "adapter.cfg_coef=2",
    "optimizer.schedule.num_warmup_steps=50",
    "trainer.max_steps=1500",
    "trainer.val_check_interval=250",
    *_EVERY_RUN,
)
# The flow head meets guided outputs for the first time, and needs several steps for them until it has learned this.
ONE_STEP_RECIPE = (
    "experiment=distill_depth",
    "strategy=head_only",
    "adapter.num_layers=6",
    "adapter.cfg_coef=1",
    "adapter.trajectory_steps=8",
    "optimizer.lr=5e-4",
    "optimizer.schedule.num_warmup_steps=50",
    "trainer.max_steps=1000",
    "trainer.val_check_interval=250",
    *_EVERY_RUN,
)


@dataclass(frozen=True)
class BuildFolder:
    """Where each stage keeps its results."""

    root: Path

    @property
    def codec_manifest(self) -> Path:
        return self.root / "corpus" / "codec" / "manifest.jsonl"

    @property
    def flow_lm_manifest(self) -> Path:
        return self.root / "corpus" / "flow_lm" / "manifest.jsonl"

    @property
    def codec_checkpoint(self) -> Path:
        return self.root / "codec.pt"

    @property
    def tokenizer(self) -> Path:
        return self.root / "tokenizer.model"

    @property
    def codec_bundle(self) -> Path:
        return self.root / "codec_bundle"

    @property
    def flow_lm_run(self) -> Path:
        return self.root / "flow_lm_run"

    @property
    def student_run(self) -> Path:
        return self.root / "student_run"

    @property
    def one_step_run(self) -> Path:
        return self.root / "one_step_run"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def asr_clips(self) -> Path:
        return self.root / "corpus" / "asr"

    @property
    def asr_coded_clips(self) -> Path:
        return self.root / "corpus" / "asr_coded"

    @property
    def asr_checkpoint(self) -> Path:
        return self.root / "asr.pt"


def build_corpus(folder: BuildFolder, seed: int) -> None:
    """Record both corpora.

    Raises UserError where the folder was begun with another seed, as its recordings say other sentences.
    """
    _claim_seed(folder, seed)
    write_corpus(folder.codec_manifest.parent, codec_lines(seed))
    write_corpus(folder.flow_lm_manifest.parent, flow_lm_lines(seed))


def _claim_seed(folder: BuildFolder, seed: int) -> None:
    seed_file = folder.root / "seed.txt"
    if seed_file.is_file() and seed_file.read_text(encoding="utf-8") != str(seed):
        raise UserError(
            f"{folder.root} was begun with another seed: choose another --output-dir, or the seed in {seed_file}."
        )
    write_text(seed_file, str(seed))


def build_codec(folder: BuildFolder, recipe: CodecRecipe) -> None:
    """Train the codec, or go on from its checkpoint."""
    for manifest in (folder.codec_manifest, folder.flow_lm_manifest):
        _require(manifest, "corpus")
    torch.set_num_threads(1)
    corpus = load_codec_corpus(folder.codec_manifest, folder.flow_lm_manifest)
    trained = CodecTrainer(corpus, recipe, folder.codec_checkpoint).run()
    texts = make_sentences(_NUM_CODEC_TEST_SENTENCES, seed=recipe.seed, stream="codec_test")
    for voice in (DEMO_VOICE, *ZERO_SHOT_VOICES):
        print(
            f"codec MCD on the held-out voice {voice.name}: {codec_mcd(trained, voice, texts):.2f} dB",
            flush=True,
        )


def build_tokenizer(folder: BuildFolder) -> None:
    """Train the tokenizer on the FlowLM corpus's texts."""
    _require(folder.flow_lm_manifest, "corpus")
    train_tokenizer((row["text"] for row in read_json_lines(folder.flow_lm_manifest)), folder.tokenizer)


def build_codec_bundle(folder: BuildFolder, seed: int) -> Path:
    """Codec, tokenizer and a fresh FlowLM: the bundle that the FlowLM's training starts from."""
    _require(folder.codec_checkpoint, "codec")
    _require(folder.tokenizer, "tokenizer")
    codec = load_averaged_codec(folder.codec_checkpoint)
    return write_bundle(folder.codec_bundle, codec_only_state(codec, folder.tokenizer, seed=seed), folder.tokenizer)


def train_flow_lm(folder: BuildFolder, seed: int, overrides: list[str]) -> None:
    """Train the teacher with scripts/train.py, whose first phase caches latents."""
    if not (folder.codec_bundle / "config.yaml").is_file():
        build_codec_bundle(folder, seed)
    _train(folder, folder.flow_lm_run, folder.codec_bundle, [f"seed={seed}", *FLOW_LM_RECIPE, *overrides])


def train_student(folder: BuildFolder, seed: int, overrides: list[str]) -> None:
    """Train a model of one pass that speaks as the guided teacher, as the released models were made."""
    _require(folder.flow_lm_run / "export" / "config.yaml", "flow_lm")
    _train(folder, folder.student_run, folder.flow_lm_run / "export", [f"seed={seed}", *STUDENT_RECIPE, *overrides])


def train_one_step(folder: BuildFolder, seed: int, overrides: list[str]) -> None:
    """Train the student's flow head: the model that is shipped."""
    _require(folder.student_run / "export" / "config.yaml", "student")
    _train(folder, folder.one_step_run, folder.student_run / "export", [f"seed={seed}", *ONE_STEP_RECIPE, *overrides])


def _train(folder: BuildFolder, run: Path, model: Path, overrides: list[str]) -> None:
    """A run that was killed goes on from its last checkpoint, one that ended is not repeated."""
    if (run / "export" / "config.yaml").is_file():
        print(f"{run} holds a finished run", flush=True)
        return
    command = [
        sys.executable,
        str(_TRAIN_SCRIPT),
        f"adapter.model={model.absolute() / 'config.yaml'}",
        f"data.path={folder.flow_lm_manifest.absolute()}",
        f"output_dir={run.absolute()}",
        "resume=true",
        *overrides,
    ]
    finished = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if finished.returncode:
        raise UserError(f"The training in {run} ended with exit code {finished.returncode}; its message stands above.")


def build_bundle(folder: BuildFolder, seed: int) -> Path:
    """The final bundle from the last run's export, with the words that it met often."""
    _require(folder.one_step_run / "export" / "config.yaml", "one_step")
    config = write_bundle(folder.bundle, read_state(folder.one_step_run / "export"), folder.tokenizer)
    write_text(folder.bundle / WORDS_NAME, "\n".join(familiar_words(flow_lm_lines(seed))) + "\n")
    return config


def build_asr(folder: BuildFolder, recipe: AsrRecipe, directory: Path, left_out: Collection[str] = ()) -> None:
    """Record the recogniser's clips, train it, or go on from its checkpoint, and write it to `directory`.

    `left_out` names espeak variants that it does not hear.

    The codec is that of the folder's bundle, or of the shipped one where the folder has none.
    """
    _claim_seed(folder, recipe.seed)
    torch.set_num_threads(1)
    lines = asr_lines(recipe.seed, left_out=left_out)
    print(f"recording what is missing of {len(lines)} clips", flush=True)
    clean = write_corpus(folder.asr_clips, lines)
    codec = read_codec(folder.bundle if folder.bundle.is_dir() else _SHIPPED_BUNDLE)
    coded = write_coded_corpus(folder.asr_coded_clips, folder.asr_clips, lines, codec, recipe.seed)
    trainer = AsrTrainer(AsrCorpus([clean, coded]), recipe, folder.asr_checkpoint)
    trainer.run()
    write_asr_asset(directory, trainer)


def _require(path: Path, stage: str) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing: run `python -m tools.nano --stage {stage}` first.")
