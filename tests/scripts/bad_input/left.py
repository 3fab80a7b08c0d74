"""What a fault leaves on the disk."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from calm_ft.training.resume import read_checkpoint
from tests.scripts.bad_input.bad_audio import KINDS
from tests.scripts.bad_input.place import NUM_STEPS, Place, Tree
from tests.scripts.bad_input.preparations import BEYOND_CHATTERBOX, training_clip
from tests.training.tiny_run import NUM_CLIPS, assert_same

Left = Callable[[Place, Tree], None]


def unchanged(place: Place, before: Tree) -> None:
    assert place.tree() == before


def run_unchanged(place: Place, before: Tree) -> None:
    """Another model's features may have joined the cache."""
    assert {path: content for path, content in place.tree().items() if place.cache not in path.parents} == {
        path: content for path, content in before.items() if place.cache not in path.parents
    }


def nothing_half_written(place: Place, before: Tree) -> None:
    """No temporary file in the run's folder and the cache; what can be read there is whole."""
    assert not [path for path in (*place.run.rglob(".*"), *place.cache.rglob(".*"))]
    for path in place.run.rglob("*.json"):
        json.loads(path.read_text())
    for path in place.run.glob("checkpoints/*.ckpt"):
        read_checkpoint(path)


def failed_at(*steps: int) -> Left:
    """The run says that it failed, and these steps' checkpoints are there."""

    def check(place: Place, before: Tree) -> None:
        nothing_half_written(place, before)
        assert place.facts()["status"] == "failed"
        assert place.steps() == list(steps)
        assert {path: content for path, content in place.tree().items() if place.run not in path.parents} == {
            path: content for path, content in before.items() if place.run not in path.parents
        } | {place.run: None}

    return check


def failed_and_resumes(*steps: int) -> Left:
    """The same; with room on the disk the run comes to the end of one that never failed."""

    def check(place: Place, before: Tree) -> None:
        failed_at(*steps)(place, before)
        assert place.train("resume=true") == 0
        as_if_nothing_had_been(place, before)

    return check


def as_if_nothing_had_been(place: Place, before: Tree) -> None:
    """The run is finished with all good clips, the weights of the pristine one, and each step logged once."""
    nothing_half_written(place, before)
    facts = place.facts()
    assert facts["status"] == "finished"
    assert facts["num_train_clips"] + facts["num_validation_clips"] == NUM_CLIPS
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (read_checkpoint(run / "checkpoints" / name) for run in (place.pristine.run, place.run))
        assert first["global_step"] == second["global_step"] == NUM_STEPS
        assert_same(first["state_dict"], second["state_dict"])
    assert (place.run / "metrics.csv").read_text().count("\n") == (
        (place.pristine.run / "metrics.csv").read_text().count("\n")
    )


def each_bad_clip_named(place: Place, before: Tree) -> None:
    """A row for each, and no good clip lost."""
    as_if_nothing_had_been(place, before)
    rows = [json.loads(line) for line in (place.run / "excluded.jsonl").read_text().splitlines()]
    reasons = {Path(row["path"]).stem: row["reason"] for row in rows}
    assert len(rows) == place.facts()["num_excluded"]
    assert reasons.keys() == KINDS.keys()
    for name, (_, reason) in KINDS.items():
        assert reason in reasons[name]


def last_good_checkpoint(place: Place, before: Tree) -> None:
    """The clip is named in run.json, all checkpoints are finite, and the step's batch is kept beside them."""
    nothing_half_written(place, before)
    facts = place.facts()
    assert facts["status"] == "failed"
    assert training_clip(place).id in facts["error"]
    assert max(place.steps()) >= NUM_STEPS
    weights = read_checkpoint(place.run / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert len(list(place.run.glob("nonfinite-step-*.pt"))) == 1


def failed_but_for_best(place: Place, before: Tree) -> None:
    """The last checkpoint is whole, and exporting it ends the run well."""
    assert place.facts()["status"] == "failed"
    assert place.train("resume=true", "export.which=last") == 0
    assert place.facts()["status"] == "finished"


def no_run(place: Place, before: Tree) -> None:
    """No run began, and no recording and no shard was touched."""
    nothing_half_written(place, before)
    assert not place.run.exists()
    assert {path: content for path, content in place.tree().items() if place.cache not in path.parents} == {
        **{path: content for path, content in before.items() if place.cache not in path.parents},
        place.cache: None,
    }


def each_beyond_chatterbox_named(place: Place, before: Tree) -> None:
    """The run is finished with all good clips, and names the three others with their reasons."""
    nothing_half_written(place, before)
    facts = place.facts()
    assert facts["status"] == "finished"
    assert facts["num_train_clips"] + facts["num_validation_clips"] == NUM_CLIPS
    rows = [json.loads(line) for line in (place.run / "excluded.jsonl").read_text().splitlines()]
    reasons = {Path(row["path"]).name: row["reason"] for row in rows}
    assert reasons.keys() == BEYOND_CHATTERBOX.keys()
    assert all(reason in reasons[name] for name, (_, _, reason) in BEYOND_CHATTERBOX.items())
