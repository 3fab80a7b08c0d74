"""The files that each model of the Chatterbox family is made of, by upstream's names, and what tells a tiny one."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

CONDITIONALS = "conds.pt"
"""A voice; with a model's files, the one that it comes with."""
TINY = "tiny"
FULL_WIDTH, TINY_WIDTH = 1024, 64  # channels of T3's embeddings


@dataclass(frozen=True)
class Release:
    """A model of the family as it lies on the hub and in a folder.

    Args:
        name: by which the registry knows it; title: how messages call it; repository: where the hub has it.
        tokenizer: the text tokenizer's files that must be there; optional: files that are taken along where they are.
    """

    name: str
    title: str
    repository: str
    voice_encoder: str
    t3: str
    s3gen: str
    tokenizer: tuple[str, ...]
    optional: tuple[str, ...] = (CONDITIONALS,)

    @property
    def required(self) -> tuple[str, ...]:
        """What a folder must hold."""
        return (self.voice_encoder, self.t3, self.s3gen, *self.tokenizer)

    @property
    def tokenizer_files(self) -> tuple[str, ...]:
        """All files that the tokenizer may have."""
        return (*self.tokenizer, *(name for name in self.optional if name != CONDITIONALS))


ENGLISH = Release(
    "chatterbox",
    "the English Chatterbox",
    "ResembleAI/chatterbox",
    "ve.safetensors",
    "t3_cfg.safetensors",
    "s3gen.safetensors",
    ("tokenizer.json",),
)


def t3_width(t3_file: Path) -> int:
    """The channels of T3's embeddings, read from the header of its weights.

    Raises SafetensorError or OSError for a damaged file.
    """
    with safe_open(t3_file, framework="pt") as weights:
        return int(weights.get_slice("speech_emb.weight").get_shape()[1])
