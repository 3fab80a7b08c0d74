"""Trains the embedded world's recogniser on one CPU core: CTC on worsened clips, AdamW, EMA, resumable.

Source of the criterion: Graves et al. 2006, "Connectionist Temporal Classification".
"""

import copy
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from calm_ft.atomic_file import atomic_path, write_text
from calm_ft.metrics.embedded_recogniser import BLANK, CTCNetwork, LogMel
from calm_ft.randomness import derive_seed
from tools.nano.asr_data import AsrCorpus, mask_features

LINE_EVERY_STEPS = 50


@dataclass(frozen=True)
class AsrRecipe:
    """The rate rises for `num_warmup_steps`, then falls by a cosine to 0 at `num_steps`."""

    num_steps: int = 11_000
    batch_size: int = 16
    rate: float = 2e-3
    num_warmup_steps: int = 300
    weight_decay: float = 1e-2
    max_gradient_norm: float = 5.0
    ema_decay: float = 0.998
    seed: int = 0


def ctc_loss(log_probs: torch.Tensor, texts: list[torch.Tensor]) -> torch.Tensor:
    """Mean over rows of the negative log-likelihood a unit; `log_probs` `[B, T, C]`, all `T` frames of each row count.

    A text that does not fit into its frames counts 0: it could not be learned, and would make all else infinite.
    """
    num_frames = torch.full((len(texts),), log_probs.shape[1])
    num_units = torch.tensor([len(text) for text in texts])
    return functional.ctc_loss(
        log_probs.transpose(0, 1), torch.cat(texts), num_frames, num_units, blank=BLANK, zero_infinity=True
    )


class AsrTrainer:
    """Weights, average, optimizer and position; `run` goes on from the checkpoint if one is there."""

    def __init__(self, corpus: AsrCorpus, recipe: AsrRecipe, checkpoint: Path):
        torch.manual_seed(derive_seed(recipe.seed, "asr_weights"))
        self.corpus, self.recipe, self.checkpoint = corpus, recipe, checkpoint
        self.features, self.network = LogMel(), CTCNetwork()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        if checkpoint.exists():
            self._load()

    def run(self, *, save_every: int = 250) -> CTCNetwork:
        """Train to `num_steps`, saving as it goes, and return the averaged network in evaluation mode."""
        total = self.recipe.num_steps
        on_terminal = sys.stderr.isatty()
        loss = math.nan
        with tqdm(total=total, initial=self.step, desc="asr", disable=not on_terminal, dynamic_ncols=True) as bar:
            while self.step < total:
                # A short memory, for the line only.
                newest = self.train_step()
                loss = newest if math.isnan(loss) else 0.95 * loss + 0.05 * newest
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
                bar.update()
                if not on_terminal and self.step % LINE_EVERY_STEPS == 0:
                    self._print_line(loss)
                if self.step % save_every == 0 or self.step == total:
                    self.save()
        return self.average.eval()

    def train_step(self) -> float:
        """One update; returns its loss. A function of the weights, the optimizer and the step alone."""
        started, recipe = time.monotonic(), self.recipe
        batch = self.corpus.draw_batch(recipe.batch_size, seed=recipe.seed, step=self.step)
        torch.manual_seed(derive_seed(recipe.seed, "asr_dropout", self.step))
        masked = mask_features(self.features(batch.audio), seed=recipe.seed, step=self.step)
        loss = ctc_loss(self.network(masked), batch.texts)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.max_gradient_norm)
        self.optimizer.param_groups[0]["lr"] = recipe.rate * self._rate_factor()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        # A short memory at first, or the random initial weights would stay in the average.
        decay = min(recipe.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        self.seconds += time.monotonic() - started
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(self.checkpoint) as partial:
            torch.save(state, partial)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _rate_factor(self) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.recipe.num_steps)))
        return min(1.0, (self.step + 1) / self.recipe.num_warmup_steps) * cosine

    def _print_line(self, loss: float) -> None:
        seconds_per_step = self.seconds / self.step
        eta_min = seconds_per_step * (self.recipe.num_steps - self.step) / 60
        print(
            f"asr step {self.step}/{self.recipe.num_steps} loss {loss:.4f} "
            f"{seconds_per_step:.3f} s/step ETA {eta_min:.1f} min",
            flush=True,
        )


def write_asr_asset(directory: Path, trainer: AsrTrainer) -> None:
    """The averaged weights at half precision, and how they were made: `model.safetensors`, `config.json`."""
    half = {name: tensor.half().contiguous() for name, tensor in trainer.average.state_dict().items()}
    with atomic_path(directory / "model.safetensors") as partial:
        safetensors.torch.save_file(half, partial)
    made = {"recipe": asdict(trainer.recipe), "training_minutes": round(trainer.seconds / 60, 1)}
    write_text(directory / "config.json", json.dumps({"name": "nano_asr", "made_by": made}, indent=2) + "\n")
