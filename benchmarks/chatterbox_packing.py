"""How much padding packed rows save against the layout of upstream's `T3.forward`.

Upstream's rows are as long as the condition, the batch's longest text and its longest speech together; packed ones as
the longest row. Both over the batches that training makes of the same recordings.

    python -m benchmarks.chatterbox_packing --output packing.json
"""

import json
from pathlib import Path

import torch

from benchmarks import measuring
from calm_ft.adapters.chatterbox.adapter import ChatterboxAdapter
from calm_ft.adapters.chatterbox.objective import ChatterboxBatch
from calm_ft.atomic_file import write_text
from calm_ft.config import ASSETS, compose_config, experiment_from
from calm_ft.data.batch_plan import BatchPlan
from calm_ft.data.dataset import TrainingBatches
from calm_ft.data.prepare import EncodedUtterance
from calm_ft.errors import run_script

NUM_CONDITION = 34  # of the released model: speaker, 32 perceiver tokens, emotion
NUM_STARTS = 1
UNLIMITED = 10**9


def main() -> None:
    parser = measuring.parser_of(__doc__)
    parser.add_argument("--data-path", type=Path, default=ASSETS / "demo_voice" / "train")
    parser.add_argument("--batch-sizes", type=measuring.positive, nargs="+", default=[4, 8, 16])
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    given = parser.parse_args()
    experiment = experiment_from(compose_config(["experiment=chatterbox_t3", "adapter=chatterbox_tiny", "logger=csv"]))
    adapter: ChatterboxAdapter = experiment.adapter_factory()
    clips = measuring.encode_folder(given.data_path, adapter, experiment.data)
    results = [padding(clips, adapter, size) for size in given.batch_sizes]
    print(json.dumps(results, indent=2))
    write_text(given.output, json.dumps({"clips": len(clips), "batches": results}, indent=2) + "\n")


def padding(clips: list[EncodedUtterance], adapter: ChatterboxAdapter, batch_size: int) -> dict[str, float]:
    """Shares of padding over the batches of an epoch."""
    plan = BatchPlan([clip.num_frames for clip in clips], UNLIMITED, batch_size, seed=0)
    batches: TrainingBatches[ChatterboxBatch] = TrainingBatches(
        clips, adapter.prompt_pool(clips), plan, adapter.collate, plan.num_batches_first_epoch, seed=0
    )
    totals = torch.stack([row_lengths(batches[index]) for index in range(len(batches))]).sum(dim=0).tolist()
    valid, packed, upstream = (round(total) for total in totals)
    return {
        "batch_size": batch_size,
        "padding_upstream": round(1 - valid / upstream, 4),
        "padding_packed": round(1 - valid / packed, 4),
        "positions_saved": round(1 - packed / upstream, 4),
    }


def row_lengths(batch: ChatterboxBatch) -> torch.Tensor:
    """(valid, packed, upstream's) positions of a batch [3]."""
    text, speech = batch.num_text, batch.num_frames + NUM_STARTS
    rows = NUM_CONDITION + text + speech
    upstream = NUM_CONDITION + text.max() + speech.max()
    return torch.stack([rows.sum(), rows.max() * len(rows), upstream * len(rows)]).double()


if __name__ == "__main__":
    run_script(main)
