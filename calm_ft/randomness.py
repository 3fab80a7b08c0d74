"""Randomness as a function of (seed, stream, counters), never of what ran before.

Data order, prompts, noise and times each draw from a stream of their own, addressed by step and rank. Validation and
sampling therefore cannot shift training, and a resumed run draws what the uninterrupted one would have drawn.
"""

import hashlib

import torch


def derive_seed(seed: int, stream: str, *counters: int) -> int:
    """A 63-bit seed that is a hash of its arguments: near counters give unrelated seeds."""
    key = ":".join([str(seed), stream, *map(str, counters)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def make_rng(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A CPU generator for one stream at one place; draws move to the device after drawing, so all devices agree."""
    return torch.Generator().manual_seed(derive_seed(seed, stream, *counters))
