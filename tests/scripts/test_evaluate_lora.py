"""A LoRA run and its export are one model: evaluation says the same of both."""

from pathlib import Path

import pytest

from tests.scripts.evaluation_run import NO_BASE_VOICES, evaluate_run, rows_of
from tests.training.tiny_run import run_train


@pytest.mark.slow
def test_a_lora_run_and_its_export_have_the_same_figures_and_the_base_others(
    recordings_dir: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = [f"data.path={recordings_dir}", f"output_dir={tmp_path / 'run'}"]
    assert run_train(monkeypatch, "experiment=lora", *tiny, *place, "trainer.max_steps=6", "optimizer.lr=3e-3") == 0
    measured = {}
    for name, model in (("run", tmp_path / "run"), ("export", tmp_path / "run" / "export")):
        given = [model, "--heldout-path", recordings_dir, "--num-sentences", 3, *NO_BASE_VOICES]
        assert evaluate_run(monkeypatch, *given, "--output-dir", tmp_path / name) == 0
        rows = rows_of(tmp_path / name)
        measured[name] = {(row["system"], row["index"]): row["metrics"]["mcd_db"] for row in rows}
    assert measured["export"] == pytest.approx(measured["run"], abs=1e-3)
    pairs = [(measured["run"]["base", index], measured["run"]["tuned", index]) for index in range(3)]
    assert all(base != pytest.approx(tuned, abs=1e-3) for base, tuned in pairs)
