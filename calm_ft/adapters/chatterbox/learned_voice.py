"""What is learned of a voice itself while the networks stay as they are: an offset of T3's speaker embedding, a prompt.

    speaker_emb + speaker_offset                    [1, 256]
    prompt in the place of the embeddings of a recording's speech tokens       [P, D]

Stock takes both from conds.pt: the first as the speaker embedding, the second as `cond_prompt_speech_emb`, which it
makes of the prompt's tokens only where there is none (chatterbox/models/t3/t3.py, `prepare_conditioning`). So an
export of what was learned is the base's own files with another conds.pt.

Sources: Lester et al., arXiv 2104.08691 (prompts of embeddings that are learned, begun with those of tokens).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from chatterbox.models.t3 import T3
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.tts import Conditionals
from torch import Tensor, nn

from calm_ft.adapters.base import Component
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.data.feature_cache import Features
from calm_ft.tensor_hash import add_tensors

SPEAKER_OFFSET, PROMPT = "speaker_offset", "prompt"


@dataclass
class LearnedConditionals(Conditionals):
    """A voice with what was learned of it.

    speaker_offset: [1, 256], the part of `t3.speaker_emb` that was learned, None where none was; has_prompt: whether
    `t3.cond_prompt_speech_emb` [1, P, D] was learned, and is no more than what T3 made of tokens where it was not.
    """

    speaker_offset: Tensor | None = None
    has_prompt: bool = False


def has_learned_prompt(voice: Conditionals) -> bool:
    """Whether a voice's prompt was learned; then it cannot be made again from tokens."""
    return isinstance(voice, LearnedConditionals) and voice.has_prompt


class LearnedVoice(nn.Module):
    """The parts that are learned, tables of embeddings with one row a token; none at first."""

    def __init__(self) -> None:
        super().__init__()
        self.speaker_offset: nn.Embedding | None = None
        self.prompt: nn.Embedding | None = None
        self.prompt_is_fresh = False
        """Whether the prompt is none of a speaker's yet."""

    @classmethod
    def of(cls, voice: Conditionals) -> "LearnedVoice":
        """What was learned of a voice that was read from a file."""
        learned = cls()
        if isinstance(voice, LearnedConditionals) and voice.speaker_offset is not None:
            learned.speaker_offset = _table(voice.speaker_offset)
        if has_learned_prompt(voice):
            learned.prompt = _table(voice.t3.cond_prompt_speech_emb[0])
        return learned

    @property
    def trains(self) -> bool:
        """Whether any of it is to change."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that was learned or is to be."""
        return self.speaker_offset is None and self.prompt is None

    def components(self, is_reached: bool) -> dict[str, Component]:
        """The parts by name, for `TTSAdapter.components`; is_reached: whether the loss reaches them."""
        return {f"voice.{name}": Component(part, "voice", trainable=is_reached) for name, part in self.named_children()}

    def add_speaker_offset(self, t3: T3) -> None:
        """Zeros, unless there is one."""
        if self.speaker_offset is None:
            self.speaker_offset = _table(torch.zeros(1, t3.hp.speaker_embed_size, device=t3.device))

    def add_prompt(self, t3: T3, num_tokens: int) -> None:
        """A prompt of tokens from the whole vocabulary, unless there is one: `start_prompt` puts a speaker's there."""
        if self.prompt is None:
            tokens = torch.arange(num_tokens, device=t3.device) * t3.hp.start_speech_token // num_tokens
            self.prompt = _table(prompt_embeddings(t3, tokens))
            self.prompt_is_fresh = True

    def start_prompt(self, t3: T3, clips: Iterable[Features]) -> None:
        """Begin with what T3 makes of the prompts of the first clips, as many as fill it; a lone short one is repeated.

        A prompt that was learned before stays. Of one clip that fills it, it is that clip's own prompt.
        """
        if self.prompt is None or not self.prompt_is_fresh:
            return
        wanted, found, tokens = self.prompt.num_embeddings, 0, []
        for features in clips:
            tokens.append(features["prompt_tokens"])
            found += len(tokens[-1])
            if found >= wanted:
                break
        if found:
            joined = torch.cat(tokens).repeat(-(-wanted // found))[:wanted]
            self.prompt.weight.data.copy_(prompt_embeddings(t3, joined.to(t3.device)))
            self.prompt_is_fresh = False

    def conditioning(self, batch: ChatterboxBatch) -> ChatterboxBatch:
        """A batch whose rows are conditioned on what was learned."""
        if self.speaker_offset is not None:
            batch = replace(batch, speaker_embedding=batch.speaker_embedding + self.speaker_offset.weight)
        return batch if self.prompt is None else replace(batch, learned_prompt=self.prompt.weight)

    def applied_to(self, voice: Conditionals) -> Conditionals:
        """A voice with what was learned; the voice itself where nothing was, or where it has something of its own.

        The prompt's tokens stay beside a learned prompt: where stock is asked for another exaggeration than the
        file's, it makes a prompt of them again.
        """
        if self.is_empty or isinstance(voice, LearnedConditionals):
            return voice
        fields = dict(vars(voice.t3))
        if self.speaker_offset is not None:
            fields["speaker_emb"] = fields["speaker_emb"] + self.speaker_offset.weight.detach()
        if self.prompt is not None:
            fields["cond_prompt_speech_emb"] = self.prompt.weight.detach().clone()[None]
        offset = None if self.speaker_offset is None else self.speaker_offset.weight.detach().clone()
        return LearnedConditionals(type(voice.t3)(**fields), voice.gen, offset, self.prompt is not None)

    def fingerprint(self) -> str:
        """A hash of what was learned; empty where nothing was."""
        if self.is_empty:
            return ""
        digest = hashlib.sha256()
        add_tensors(digest, self.state_dict().items())
        return digest.hexdigest()[:16]


@torch.no_grad()
def prompt_embeddings(t3: T3, tokens: Tensor) -> Tensor:
    """What T3 makes of a prompt's speech tokens [P] by upstream's own code, [P, D]."""
    condition = T3Cond(
        speaker_emb=torch.zeros(1, t3.hp.speaker_embed_size, device=t3.device),
        cond_prompt_speech_tokens=tokens[None],
        emotion_adv=torch.zeros(1, 1, 1, device=t3.device),
    )
    t3.prepare_conditioning(condition)
    embeddings = condition.cond_prompt_speech_emb
    assert embeddings is not None
    return embeddings[0].clone()


def _table(rows: Tensor) -> nn.Embedding:
    """Rows that train. As a table of embeddings they are not decayed, and none of them is drawn at random."""
    return nn.Embedding.from_pretrained(rows.detach().clone().float(), freeze=False)
