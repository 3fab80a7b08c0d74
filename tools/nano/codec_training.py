"""Trains the codec on one CPU core: spectral losses on noisy latents, Muon + AdamW, EMA, resumable.

Noise on the latents makes the decoder tolerate the FlowLM's errors, and the energy term fixes the scale
against which that noise counts. Source: facts measured on this model (many voices matter most); Muon:
Jordan et al. (2024).
"""

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from pocket_tts.models.mimi import MimiModel
from torch import nn

from calm_ft.atomic_file import atomic_path
from calm_ft.randomness import derive_seed, make_rng
from calm_ft.training.optimizers import Muon
from tools.nano.codec_data import CodecCorpus
from tools.nano.codec_forward import decode, encode
from tools.nano.codec_loss import spectral_loss
from tools.nano.shape import build_codec


@dataclass(frozen=True)
class CodecRecipe:
    """The recipe. Rates fall by a cosine from their peak to 0 over `num_steps`, after a linear warm-up."""

    num_steps: int = 9000
    batch_size: int = 4
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    num_warmup_steps: int = 200
    max_gradient_norm: float = 5.0
    latent_noise_std: float = 0.5
    energy_weight: float = 1e-3
    ema_decay: float = 0.999
    seed: int = 0


class CodecOptimizer:
    """Muon on the hidden weights, seen as matrices `[out, in * kernel]`; AdamW on all else."""

    def __init__(self, codec: MimiModel, recipe: CodecRecipe):
        self._recipe = recipe
        trained = [p for p in codec.parameters() if p.requires_grad]
        self._sources = [p for p in trained if _is_hidden_matrix(p)]
        # A second parameter over the same storage: Muon takes matrices only, and updates in place.
        self._matrices = [nn.Parameter(p.data.view(p.shape[0], -1)) for p in self._sources]
        taken = {id(p) for p in self._sources}
        self._parameters = trained
        others = [p for p in trained if id(p) not in taken]
        self.muon = Muon(self._matrices, lr=recipe.muon_rate, weight_decay=0.0)
        self.adam = torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.8, 0.99), weight_decay=0.0)

    def step(self, step: int) -> None:
        """One clipped update at the rates of this step."""
        factor = self._rate_factor(step)
        nn.utils.clip_grad_norm_(self._parameters, self._recipe.max_gradient_norm)
        for matrix, source in zip(self._matrices, self._sources, strict=True):
            assert source.grad is not None
            matrix.grad = source.grad.view_as(matrix)
        for optimizer, rate in ((self.muon, self._recipe.muon_rate), (self.adam, self._recipe.adam_rate)):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
        for parameter in self._parameters:
            parameter.grad = None

    def _rate_factor(self, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self._recipe.num_steps)))
        return min(1.0, (step + 1) / self._recipe.num_warmup_steps) * cosine


def _is_hidden_matrix(parameter: nn.Parameter) -> bool:
    # The audio-side convolutions and the depthwise upsampling are no mixing matrices.
    at_the_edge = 1 in parameter.shape[:2]
    return parameter.dim() >= 2 and not at_the_edge


def codec_loss(codec: MimiModel, audio: torch.Tensor, noise: torch.Tensor, energy_weight: float) -> torch.Tensor:
    """Loss of audio `[B, 1, S]` with `noise [B, T, C]` added to its latents."""
    latents = encode(codec, audio)
    synthesized = decode(codec, latents + noise)
    return spectral_loss(synthesized[:, 0], audio[:, 0]) + energy_weight * latents.square().mean()


class CodecTrainer:
    """Weights, average, optimizer and position; `run` goes on from the checkpoint if one is there."""

    def __init__(self, corpus: CodecCorpus, recipe: CodecRecipe, checkpoint: Path):
        """Train from fresh weights that are a function of the recipe's seed."""
        torch.manual_seed(derive_seed(recipe.seed, "codec_weights"))
        self.corpus, self.recipe, self.checkpoint = corpus, recipe, checkpoint
        self.codec = build_codec()
        self.average = copy.deepcopy(self.codec).requires_grad_(False)
        self.optimizer = CodecOptimizer(self.codec, recipe)
        self.step = 0
        if checkpoint.exists():
            self._load()

    def run(self, *, report_every: int = 100, save_every: int = 500) -> MimiModel:
        """Train to `num_steps`, saving as it goes, and return the averaged codec in evaluation mode."""
        started, first_step, losses = time.monotonic(), self.step, []
        while self.step < self.recipe.num_steps:
            losses.append(self._train_step())
            if self.step % report_every == 0:
                seconds_per_step = (time.monotonic() - started) / (self.step - first_step)
                eta_min = seconds_per_step * (self.recipe.num_steps - self.step) / 60
                print(
                    f"codec step {self.step}/{self.recipe.num_steps} loss {sum(losses) / len(losses):.4f} "
                    f"{seconds_per_step:.3f} s/step ETA {eta_min:.1f} min",
                    flush=True,
                )
                losses.clear()
            if self.step % save_every == 0 or self.step == self.recipe.num_steps:
                self._save()
        return self.average.eval()

    def _train_step(self) -> float:
        recipe = self.recipe
        audio = self.corpus.draw_batch(recipe.batch_size, seed=recipe.seed, step=self.step)
        num_frames = audio.shape[-1] // self.codec.frame_size
        shape = (recipe.batch_size, num_frames, self.codec.quantizer.dimension)
        noise = torch.randn(shape, generator=make_rng(recipe.seed, "codec_noise", self.step))
        loss = codec_loss(self.codec, audio, recipe.latent_noise_std * noise, recipe.energy_weight)
        loss.backward()
        self.optimizer.step(self.step)
        self.step += 1
        # A short memory at first, or the random initial weights would stay in the average.
        decay = min(recipe.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.codec.parameters()), 1 - decay)
        return loss.item()

    def _save(self) -> None:
        state = {
            "step": self.step,
            "codec": self.codec.state_dict(),
            "average": self.average.state_dict(),
            "muon": self.optimizer.muon.state_dict(),
            "adam": self.optimizer.adam.state_dict(),
        }
        with atomic_path(self.checkpoint) as partial:
            torch.save(state, partial)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.step = state["step"]
        self.codec.load_state_dict(state["codec"])
        self.average.load_state_dict(state["average"])
        self.optimizer.muon.load_state_dict(state["muon"])
        self.optimizer.adam.load_state_dict(state["adam"])


def load_averaged_codec(checkpoint: Path) -> MimiModel:
    """The averaged codec of a checkpoint, in evaluation mode."""
    codec = build_codec()
    codec.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    return codec.eval()
