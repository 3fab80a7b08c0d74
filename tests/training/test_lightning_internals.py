"""Parts of Lightning, and one of torch, that are used although they are private or undocumented.

A new version may not have them. If a test here fails after an update, mend the file that uses the part, or keep
pyproject.toml's bound on lightning.
"""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

import calm_ft
from tests.training.callbacks.test_throughput import SlowBatches, SlowModule

PACKAGE = Path(calm_ft.__file__).parent


def trainer() -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


def fused_adamw() -> torch.optim.AdamW:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)


PRIVATE = {
    "_should_skip_saving_checkpoint": (lambda: ModelCheckpoint, "callbacks/metric_monitor.py"),
    "_save_topk_checkpoint": (lambda: ModelCheckpoint, "callbacks/metric_monitor.py"),
    "_evaluate_stopping_criteria": (lambda: EarlyStopping, "callbacks/metric_monitor.py"),
    "_batches_that_stepped": (lambda: trainer().fit_loop.epoch_loop, "callbacks/restore.py"),
    "_step_supports_amp_scaling": (lambda: fused_adamw(), "optimizers.py"),
}
UNDOCUMENTED = {
    "fit_loop.epoch_loop.total_batch_idx": "module.py, callbacks/stopping.py",
    "fit_loop.epoch_loop.batch_progress.total.ready": "callbacks/restore.py",
    "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.ready": "callbacks/restore.py",
    "val_check_batch": "callbacks/stopping.py",
    "limit_val_batches": "callbacks/stopping.py",
    "should_stop": "callbacks/stopping.py, callbacks/checkpoints.py",
    "lr_scheduler_configs": "callbacks/restore.py",
    "precision_plugin": "callbacks/restore.py, callbacks/nonfinite.py, run.py",
}


@pytest.mark.parametrize("name", PRIVATE)
def test_lightning_still_has_each_private_attribute_that_is_used(name: str) -> None:
    owner, used_in = PRIVATE[name]
    assert hasattr(owner(), name), f"Lightning has no {name} any more, which calm_ft/training/{used_in} uses"


@pytest.mark.parametrize("path", UNDOCUMENTED)
def test_lightning_still_has_each_undocumented_attribute_that_is_used(path: str) -> None:
    found: Any = trainer()
    for name in path.split("."):
        assert hasattr(found, name), f"Lightning has no trainer.{path} any more, which {UNDOCUMENTED[path]} uses"
        found = getattr(found, name)


def test_a_checkpoint_of_lightning_still_has_the_parts_that_are_put_back(tmp_path: Path) -> None:
    """callbacks/restore.py reads them, and module.py removes `loops`."""
    fitted = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, max_steps=1, default_root_dir=tmp_path)
    fitted.fit(SlowModule(), DataLoader(SlowBatches(1), batch_size=None))
    parts = fitted._checkpoint_connector.dump_checkpoint(weights_only=False)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step", "loops"} <= parts.keys()


def test_no_other_private_attribute_of_a_library_is_used_in_training() -> None:
    """Names that begin with one underscore and are defined nowhere in the package."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    own = {name for tree in trees for name in defined(tree)}
    used = {
        node.attr
        for path in (PACKAGE / "training").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    assert used - own == PRIVATE.keys()


def defined(tree: ast.AST) -> set[str]:
    """Functions, and attributes and fields that are assigned to."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"
