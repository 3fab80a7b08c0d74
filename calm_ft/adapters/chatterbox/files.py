"""The files that a Chatterbox is made of, by upstream's names, and what tells one from a tiny one."""

from pathlib import Path

from safetensors import safe_open

NAME = "chatterbox"
"""By which the registry knows the system."""
VOICE_ENCODER, T3_WEIGHTS, S3GEN_WEIGHTS = "ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors"
TOKENIZER, CONDITIONALS = "tokenizer.json", "conds.pt"
REQUIRED_FILES = (VOICE_ENCODER, T3_WEIGHTS, S3GEN_WEIGHTS, TOKENIZER)
REPOSITORY, TINY = "ResembleAI/chatterbox", "tiny"
FULL_WIDTH, TINY_WIDTH = 1024, 64  # channels of T3's embeddings


def t3_width(t3_file: Path) -> int:
    """The channels of T3's embeddings, read from the header of its weights.

    Raises SafetensorError or OSError for a damaged file.
    """
    with safe_open(t3_file, framework="pt") as weights:
        return int(weights.get_slice("speech_emb.weight").get_shape()[1])
