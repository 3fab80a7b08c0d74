"""T3's loss: cross-entropy of the next speech token and, with a weight of its own, of the next text token.

No target is masked. Upstream's own `T3.loss` cannot be used: it raises, and does not shift the targets
(chatterbox/models/t3/t3.py).
"""

import torch
from chatterbox.models.t3 import T3
from torch import Tensor
from torch.nn import functional as F

from calm_ft.adapters.base import LossTerm
from calm_ft.adapters.chatterbox.batch import ChatterboxBatch
from calm_ft.adapters.chatterbox.models import Models
from calm_ft.adapters.chatterbox.objective import ChatterboxObjective, Terms
from calm_ft.adapters.chatterbox.t3_rows import T3Outputs, speech_targets, t3_outputs
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng


class T3CrossEntropy(ChatterboxObjective):
    """Cross-entropy in nats a token, on rows whose text or conditions are dropped at random."""

    def __init__(
        self,
        text_weight: float,
        text_dropout: float,
        condition_dropout: float,
        double_start: bool,
    ) -> None:
        """Settings; see conf/objective/chatterbox_t3.yaml. Raises UserError for a value out of range."""
        if not text_weight >= 0:
            raise UserError(f"objective.text_weight must not be negative, but is {text_weight}.")
        for name, probability in (("text_dropout", text_dropout), ("condition_dropout", condition_dropout)):
            if not 0 <= probability < 1:
                raise UserError(f"objective.{name} is a probability below 1, not {probability}.")
        self.text_weight = text_weight
        self.text_dropout = text_dropout
        self.condition_dropout = condition_dropout
        self.double_start = double_start

    def reaches(self, component: str) -> bool:
        return component.startswith("t3.") and component != "t3.unused"

    def terms(self, models: Models, batch: ChatterboxBatch, seed: int) -> Terms:
        draws = torch.stack([torch.rand(2, generator=make_rng(seed, "t3_dropout", place)) for place in batch.places])
        draws = draws.to(batch.num_frames.device)
        keep_text, keep_condition = draws[:, 0] >= self.text_dropout, draws[:, 1] >= self.condition_dropout
        t3 = models.t3
        outputs = t3_outputs(t3, batch, self.double_start, keep_text, keep_condition)
        speech_losses, hits, _ = _speech(t3, outputs, batch)
        # What of a text whose embeddings are zero is predicted says nothing.
        text_losses, _ = _text(t3, outputs, batch, keep_text)
        terms = {"speech": LossTerm(1.0, speech_losses.sum(), speech_losses.numel())}
        parts = {"speech": speech_losses.detach().mean(), "speech_accuracy": hits.float().mean()}
        if self.text_weight:
            terms["text"] = LossTerm(self.text_weight, text_losses.sum(), text_losses.numel())
        if text_losses.numel():
            parts["text"] = text_losses.detach().mean()
        return Terms(terms, parts)

    @torch.no_grad()
    def residuals(self, models: Models, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        """residual and speech: nats a speech token; text: nats a text token; speech_accuracy: share of hits."""
        everything = torch.ones(len(batch.num_frames), dtype=torch.bool, device=batch.num_frames.device)
        t3 = models.t3
        outputs = t3_outputs(t3, batch, self.double_start, everything, everything)
        speech_losses, hits, mask = _speech(t3, outputs, batch)
        text_losses, text_mask = _text(t3, outputs, batch, everything)
        speech = _row_means(speech_losses, mask)
        return {
            "residual": speech,
            "speech": speech,
            "text": _row_means(text_losses, text_mask),
            "speech_accuracy": _row_means(hits.float(), mask),
        }


def _speech(t3: T3, outputs: T3Outputs, batch: ChatterboxBatch) -> tuple[Tensor, Tensor, Tensor]:
    """(losses [N], whether the likeliest token is right [N], mask [B, T+1] of the N places)."""
    targets, mask = speech_targets(t3, batch)
    logits = t3.speech_head(outputs.speech[mask]).float()
    chosen = targets[mask]
    return F.cross_entropy(logits, chosen, reduction="none"), logits.argmax(dim=-1) == chosen, mask


def _text(t3: T3, outputs: T3Outputs, batch: ChatterboxBatch, keep_text: Tensor) -> tuple[Tensor, Tensor]:
    """(losses [N], mask [B, S-1] of the N places), of the rows whose text was kept."""
    mask = batch.text_mask[:, 1:] & keep_text[:, None]
    logits = t3.text_head(outputs.text[mask]).float()
    return F.cross_entropy(logits, batch.text_tokens[:, 1:][mask], reduction="none"), mask


def _row_means(values: Tensor, mask: Tensor) -> Tensor:
    """Means [B] of values [N] that lie at the True places of `mask`."""
    return torch.stack([row.mean() for row in values.split(mask.sum(dim=1).tolist())])
