"""Whether the backbone trains faster with the clips of a batch in one row and a block mask than in padded rows.

Clips of natural lengths in the batches that training plans; the layers of a released Pocket TTS with random weights,
forward and backward, both layouts in turns in one process. The positions of upstream's rotary embedding are relative,
so that a packed clip has the outputs of a padded one.

    python -m benchmarks.pocket_packing --output pocket_packing.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn

from benchmarks import measuring
from benchmarks.training_speed import frames_of
from calm_ft.adapters.pocket_tts.loading import load_config, load_tts
from calm_ft.atomic_file import write_text
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.errors import run_script
from calm_ft.progress import Progress
from tools.nano.released_shape import write_released_shape


def main() -> None:
    given = read_arguments()
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_released_shape(Path(folder), 6)
        layers = load_tts(load_config(str(bundle), None)).flow_lm.transformer.layers
    lengths = frames_of("natural", given.num_clips)
    plan = BatchPlan(lengths, given.max_frames, None, seed=0)
    batches = [[lengths[clip] for clip in plan.batch(index)] for index in range(plan.num_batches_first_epoch)]
    figures = compare(layers, batches, given.turns)
    print(json.dumps(figures, indent=2))
    record = {"machine": measuring.machine(), "num_clips": given.num_clips, "max_frames": given.max_frames, **figures}
    write_text(given.output, json.dumps(record, indent=2) + "\n")


def read_arguments() -> argparse.Namespace:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--num-clips", type=measuring.positive, default=300)
    parser.add_argument("--max-frames", type=measuring.positive, default=1500, help="in a batch, padding with it")
    parser.add_argument("--turns", type=measuring.positive, default=8)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser.parse_args()


def compare(layers: nn.ModuleList, batches: Sequence[Sequence[int]], turns: int) -> dict[str, float]:
    """Seconds a batch of both layouts, their ratio with its standard error, and the share of padding."""
    ratios, padded_sec, packed_sec = [], [], []
    with Progress("turns", turns) as bar:
        for turn in range(turns):
            lengths = batches[turn * len(batches) // turns]  # from the shortest to the longest clips
            rows = [torch.randn(1, length, width_of(layers)) for length in lengths]
            padded_sec.append(seconds_of(partial(padded, layers, rows)))
            packed_sec.append(seconds_of(partial(packed, layers, rows)))
            ratios.append(padded_sec[-1] / packed_sec[-1])
            bar.update()
    frames = sum(map(sum, batches))
    return {
        "padding": round(1 - frames / sum(max(batch) * len(batch) for batch in batches), 4),
        "padded_sec": round(mean(padded_sec), 3),
        "packed_sec": round(mean(packed_sec), 3),
        "padded_over_packed": round(mean(ratios), 3),
        "standard_error": round(stdev(ratios) / len(ratios) ** 0.5, 3) if turns > 1 else 0.0,
    }


def width_of(layers: nn.ModuleList) -> int:
    return int(next(layers.parameters()).shape[-1])


def padded(layers: nn.ModuleList, rows: Sequence[Tensor]) -> list[Tensor]:
    """The outputs [1, T, D] of each clip, run side by side in rows as long as the longest."""
    x = nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
    length = x.shape[1]
    outputs = through(layers, x, torch.ones(length, length, dtype=torch.bool).tril())
    return [each[None, : row.shape[1]] for each, row in zip(outputs, rows, strict=True)]


def packed(layers: nn.ModuleList, rows: Sequence[Tensor]) -> list[Tensor]:
    """The same, run one behind the other in one row; each clip hears itself alone."""
    lengths = [row.shape[1] for row in rows]
    clip = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths))
    mask = (clip[:, None] == clip[None, :]).tril()
    return list(through(layers, torch.cat(list(rows), dim=1), mask).split(lengths, dim=1))


def through(layers: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    """Rows [B, T, D] through all layers, which see what `mask` [T, T] allows."""
    for layer in layers:
        x = layer(x, None, attn_mask=mask)
    return x


def seconds_of(run: Callable[[], list[Tensor]]) -> float:
    """Of forward and backward."""
    start_sec = time.perf_counter()
    torch.stack([output.square().sum() for output in run()]).sum().backward()
    return time.perf_counter() - start_sec


if __name__ == "__main__":
    run_script(main)
