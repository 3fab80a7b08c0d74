"""How much the flow head's gradient varies with the draws of noise and times, mirrored and independent.

The embedded model's head on the demo's recordings, which it does not know yet: the gradient of a batch of clips with
different draws, and its variance summed over all weights; beside it the variance between batches, which no draw can
lower. The last column is what a step takes, forward and backward, beside the first row's, measured in turns.

    python -m benchmarks.noise_draws --output noise_draws.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks import measuring
from benchmarks.training_speed import adapter_of, examples_of
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.rows import PocketTTSBatch
from calm_ft.atomic_file import write_text
from calm_ft.config import compose_config, experiment_from
from calm_ft.errors import run_script
from calm_ft.flow.noise_sampling import IndependentNoise, MirroredNoise, NoiseSampler
from calm_ft.progress import Progress
from calm_ft.randomness import make_rng

SETTINGS: list[tuple[NoiseSampler, int]] = [
    *((IndependentNoise(), num_draws) for num_draws in (4, 2, 8)),
    *((MirroredNoise(), num_draws) for num_draws in (2, 4, 8)),
]
"""Noise, and draws a frame; the first is upstream's recipe."""


def main() -> None:
    given = read_arguments()
    with tempfile.TemporaryDirectory() as folder:
        adapter, batches = head_and_batches(given.clips, Path(folder))
    rows = measure(adapter, batches, given.draws)
    print(table(rows))
    record = {"machine": measuring.machine() | {"processor": measuring.processor()}, "clips": given.clips, "rows": rows}
    write_text(given.output, json.dumps(record, indent=1) + "\n")


def read_arguments() -> argparse.Namespace:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--clips", type=measuring.positive, default=8, help="in a batch (default: 8)")
    parser.add_argument("--draws", type=measuring.positive, default=12, help="of each batch and setting (default: 12)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser.parse_args()


def head_and_batches(num_clips: int, folder: Path) -> tuple[PocketTTSAdapter, list[PocketTTSBatch]]:
    """The model with its heads alone to train, and the demo's recordings as batches."""
    overrides = ["experiment=head_only", "adapter=nano", "logger=csv", f"data.cache_dir={folder}"]
    experiment = experiment_from(compose_config(overrides))
    adapter = adapter_of(experiment, torch.device("cpu"))
    experiment.strategy.apply(adapter, experiment.optimizer.lr)
    clips = measuring.encode_folder(experiment.data.path, adapter, experiment.data)
    starts = range(0, len(clips) - num_clips + 1, num_clips)
    return adapter, [adapter.collate(examples_of(clips, range(first, first + num_clips))) for first in starts]


def measure(adapter: PocketTTSAdapter, batches: Sequence[PocketTTSBatch], num_draws: int) -> list[dict[str, Any]]:
    """A row for each of `SETTINGS`, which take turns draw by draw."""
    variances: list[list[float]] = [[] for _ in SETTINGS]
    means: list[list[Tensor]] = [[] for _ in SETTINGS]
    taken_sec = [0.0] * len(SETTINGS)
    with Progress("batches", len(batches)) as bar:
        for batch in batches:
            gradients: list[list[Tensor]] = [[] for _ in SETTINGS]
            for seed in range(num_draws):
                for place, (sampler, draws_a_frame) in enumerate(SETTINGS):
                    started = time.process_time()
                    gradients[place].append(gradient(adapter, batch, sampler, draws_a_frame, seed))
                    taken_sec[place] += time.process_time() - started
            for place, each in enumerate(map(torch.stack, gradients)):
                variances[place].append(float(each.var(dim=0).sum()))
                means[place].append(each.mean(dim=0))
            bar.update()
    return [
        {
            "noise": type(sampler).__name__,
            "draws": draws_a_frame,
            "variance": round(mean(variances[place]), 4),
            "between_batches": round(between(means[place], mean(variances[place]) / num_draws), 3),
            "relative_sec": round(taken_sec[place] / taken_sec[0], 3),
        }
        for place, (sampler, draws_a_frame) in enumerate(SETTINGS)
    ]


def gradient(
    adapter: PocketTTSAdapter, batch: PocketTTSBatch, sampler: NoiseSampler, num_draws: int, seed: int
) -> Tensor:
    """Of all that trains, as one vector."""
    adapter.objective.noise_sampler, adapter.num_times = sampler, num_draws // sampler.num_per_time
    loss = adapter.loss(batch, make_rng(seed, "noise_draws")).total
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, trained)])


def between(means: Sequence[Tensor], of_their_error: float) -> float:
    """The variance between batches of the true gradient, from means that have an error."""
    return float(torch.stack(list(means)).var(dim=0).sum()) - of_their_error


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| noise | draws a frame | variance by the draws | between batches | time |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row["noise"], row["draws"], row["variance"], row["between_batches"], row["relative_sec"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
