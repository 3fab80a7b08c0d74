"""Key/value states of several rows side by side, for upstream's streaming attention.

It keeps one position for all rows, and room for padding before each of them (`pad`, which its mask leaves out). So
rows of unequal length are aligned at their ends. Positions enter by rotation alone (RoPE), hence as differences: keys
that move by n positions are rotated by n more and mean what they meant. Source: pocket_tts/modules/attention.py
(`_LinearKVCacheBackend`), pocket_tts/modules/rope.py.
"""

import torch
from pocket_tts.modules.rope import RotaryEmbedding
from pocket_tts.modules.stateful_module import ModelState


def num_positions(state: ModelState) -> int:
    """How many entries a state's caches hold, padding included."""
    return int(next(iter(state.values()))["offset"].view(-1)[0])


def copies(state: ModelState, num_rows: int, num_positions: int) -> ModelState:
    """A state of one row as that of `num_rows`, with room for `num_positions` entries; unused ones are NaN."""
    rows: ModelState = {}
    for name, part in state.items():
        cache = part["cache"]
        capacity = max(num_positions, cache.shape[2])
        longer = cache.new_full((2, num_rows, capacity, *cache.shape[3:]), torch.nan)
        longer[:, :, : cache.shape[2]] = cache
        offset = part["offset"].view(-1).repeat(num_rows)
        rows[name] = {"cache": longer, "offset": offset, "pad": torch.zeros_like(offset)}
    return rows


def align_at_end(state: ModelState, rope: RotaryEmbedding, unused: list[int]) -> None:
    """Move each row's entries back by its number of `unused` ones at the end, which become padding before it."""
    end = num_positions(state)
    for part in state.values():
        part["pad"] = part["offset"].new_tensor(unused)
        for row, by in enumerate(unused):
            if by:
                keys, values = part["cache"][:, row, : end - by].clone()
                keys = rope(keys[:, None], keys[:, None], by)[1][:, 0]  # each entry a row of one position: `by`
                part["cache"][0, row, by:end], part["cache"][1, row, by:end] = keys, values
                part["cache"][:, row, :by] = 0  # a weight of zero does not hide a NaN


def keep_rows(state: ModelState, rows: list[int]) -> None:
    """The other rows leave; layer by layer, so that little is held twice."""
    for part in state.values():
        part.update({key: part[key][:, rows] if key == "cache" else part[key][rows] for key in part})
