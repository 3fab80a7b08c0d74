"""T3's loss: cross-entropy of the next speech token and, with a weight of its own, of the next text token.

    [speaker 1][prompt: 32 perceiver tokens][emotion 1] [start text ... stop] [start (start) speech 0 ... speech n-1]
    [speaker 1][prompt: up to 375 tokens] [text] [start speech 0 ... speech n-1]                               (Turbo)

Rows are laid out as stock generation consumes them, and no target is masked. `T3.forward` pads the text between text
and speech, where no mask hides it: three pads change the speech logits by 0.34. Here the segments of each row stand
without gaps and padding comes last, where causality keeps it out. Upstream's own `T3.loss` cannot be used: it raises,
and does not shift the targets.

Sources: chatterbox/models/t3/t3.py (`prepare_input_embeds`, `inference`), chatterbox/tts.py (`generate`).
"""

from dataclasses import dataclass

import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.cond_enc import T3Cond
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from calm_ft.adapters.base import LossTerm
from calm_ft.adapters.chatterbox.models import ChatterboxModels
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch, ChatterboxObjective, Terms, valid
from calm_ft.adapters.chatterbox.trunk import below, outputs_from_kept
from calm_ft.adapters.packing import PackedRows, outputs_of_segment, pack_segments
from calm_ft.errors import UserError
from calm_ft.randomness import make_rng


@dataclass
class T3Outputs:
    """text [B, S-1, D] and speech [B, T+1, D]: place s predicts text token s+1, place t speech token t.

    Behind the last speech token comes the stop token.
    """

    text: Tensor
    speech: Tensor


def t3_outputs(
    t3: T3, batch: ChatterboxBatch, double_start: bool, keep_text: Tensor, keep_condition: Tensor
) -> T3Outputs:
    """Outputs of the backbone over packed rows.

    Args:
        double_start: the start of speech stands twice, as in stock generation.
        keep_text: [B] bool; where False the text's embeddings are zero before positions are added, as in the
            unconditional branch of stock guidance; keep_condition: [B] bool; where False the row begins with its text,
            for zeros in the place of speaker, prompt and emotion would stay zeros through all layers, and every norm
            would multiply their gradients by 300.
    """
    packed = packed_rows(t3, batch, double_start, keep_text, keep_condition)
    if batch.kept is None:
        outputs = t3.tfmr(inputs_embeds=packed.embeddings, use_cache=False).last_hidden_state
    else:
        outputs = outputs_from_kept(t3, packed.embeddings, batch.kept, keep_text & keep_condition)
    _, text_start, speech_start = packed.starts
    return T3Outputs(
        outputs_of_segment(outputs, text_start, batch.text_tokens.shape[1] - 1),
        outputs_of_segment(outputs, speech_start + double_start, batch.speech_tokens.shape[1] + 1),
    )


def packed_rows(
    t3: T3, batch: ChatterboxBatch, double_start: bool, keep_text: Tensor, keep_condition: Tensor
) -> PackedRows:
    """Condition, text and speech of each row without gaps; the arguments are those of `t3_outputs`."""
    condition, num_condition = _condition(t3, batch)
    num_condition = num_condition * keep_condition
    text = t3.text_emb(batch.text_tokens) * keep_text[:, None, None]
    if t3.text_pos_emb is not None:
        text = text + t3.text_pos_emb(batch.text_tokens)
    speech, num_starts = _speech_inputs(t3, batch, double_start), 1 + double_start
    masks = [
        valid(num_condition, condition.shape[1]),
        batch.text_mask,
        valid(batch.num_frames + num_starts, speech.shape[1]),
    ]
    return pack_segments([condition, text, speech], masks)


def speech_targets(t3: T3, batch: ChatterboxBatch) -> tuple[Tensor, Tensor]:
    """(targets, mask) [B, T+1]: the speech tokens and, behind the last one, the stop token."""
    places = torch.arange(batch.speech_tokens.shape[1] + 1, device=batch.num_frames.device)[None]
    padded = torch.cat([batch.speech_tokens, batch.speech_tokens[:, :1]], dim=1)
    targets = padded.masked_fill(places == batch.num_frames[:, None], t3.hp.stop_speech_token)
    return targets, places <= batch.num_frames[:, None]


def _condition(t3: T3, batch: ChatterboxBatch) -> tuple[Tensor, Tensor]:
    """([B, C, D], lengths [B]): row by row, for the perceiver knows no mask and would hear a prompt's padding.

    Each with a T3Cond of its own, since upstream keeps a prompt's embeddings in it.
    """
    rows = []
    for i, length in enumerate(batch.num_prompt.tolist()):
        tokens = batch.prompt_tokens[i : i + 1, :length] if length else None
        embeddings = None
        if batch.learned_prompt is not None:
            embeddings = batch.learned_prompt[None]
            tokens = batch.prompt_tokens[i : i + 1]  # upstream wants some beside embeddings, and does not look at them
        condition = T3Cond(
            speaker_emb=batch.speaker_embedding[i : i + 1],
            cond_prompt_speech_tokens=tokens,
            cond_prompt_speech_emb=embeddings,
            emotion_adv=batch.emotion[i].view(1, 1, 1),
        )
        rows.append(t3.prepare_conditioning(condition)[0])
    lengths = torch.tensor([len(row) for row in rows], device=batch.num_frames.device)
    return pad_sequence(rows, batch_first=True), lengths


def _speech_inputs(t3: T3, batch: ChatterboxBatch, double_start: bool) -> Tensor:
    """[B, T + 1 or 2, D]: the start token (twice, both at position 0) and the speech tokens from position 1 on."""
    num_starts = 2 if double_start else 1
    starts = batch.speech_tokens.new_full((len(batch.speech_tokens), num_starts), t3.hp.start_speech_token)
    tokens = torch.cat([starts, batch.speech_tokens], dim=1)
    if t3.speech_pos_emb is None:
        return t3.speech_emb(tokens)
    positions = (torch.arange(tokens.shape[1], device=tokens.device) - (num_starts - 1)).clamp(min=0)
    return t3.speech_emb(tokens) + t3.speech_pos_emb.get_fixed_embedding(positions)


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
        if component == "t3.text_head":
            return self.text_weight > 0
        return component.startswith("t3.") and component != "t3.unused"

    def kept_rows(self, models: ChatterboxModels, batch: ChatterboxBatch) -> list[Tensor]:
        """What T3's frozen layers make of each row, whole, [L, D] without padding."""
        everything = torch.ones_like(batch.num_frames, dtype=torch.bool)
        packed = packed_rows(models.t3, batch, self.double_start, everything, everything)
        hidden = below(models.t3, packed.embeddings)
        lengths = packed.starts[-1] + batch.num_frames + 1 + self.double_start
        return [row[:length] for row, length in zip(hidden, lengths.tolist(), strict=True)]

    def terms(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> Terms:
        draws = torch.stack([torch.rand(2, generator=make_rng(seed, "t3_dropout", place)) for place in batch.places])
        draws = draws.to(batch.num_frames.device)
        keep_text, keep_condition = draws[:, 0] >= self.text_dropout, draws[:, 1] >= self.condition_dropout
        t3 = models.t3
        outputs = t3_outputs(t3, batch, self.double_start, keep_text, keep_condition)
        speech_losses, hits, _ = _speech(t3, outputs, batch)
        terms = {"speech": LossTerm(1.0, speech_losses.sum(), speech_losses.numel())}
        parts = {"speech": speech_losses.detach().mean(), "speech_accuracy": hits.float().mean()}
        if self.text_weight:
            # What of a text whose embeddings are zero is predicted says nothing.
            text_losses, _ = _text(t3, outputs, batch, keep_text)
            terms["text"] = LossTerm(self.text_weight, text_losses.sum(), text_losses.numel())
            if text_losses.numel():
                parts["text"] = text_losses.detach().mean()
        return Terms(terms, parts)

    @torch.no_grad()
    def residuals(self, models: ChatterboxModels, batch: ChatterboxBatch, seed: int) -> dict[str, Tensor]:
        """residual and speech: nats a speech token; speech_accuracy: share of hits; text: nats a text token.

        The last is there where the loss gives it a weight.
        """
        everything = torch.ones(len(batch.num_frames), dtype=torch.bool, device=batch.num_frames.device)
        t3 = models.t3
        outputs = t3_outputs(t3, batch, self.double_start, everything, everything)
        speech_losses, hits, mask = _speech(t3, outputs, batch)
        speech = _row_means(speech_losses, mask)
        text = {}
        if self.text_weight:
            text_losses, text_mask = _text(t3, outputs, batch, everything)
            text = {"text": _row_means(text_losses, text_mask)}
        return {"residual": speech, "speech": speech, **text, "speech_accuracy": _row_means(hits.float(), mask)}


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
