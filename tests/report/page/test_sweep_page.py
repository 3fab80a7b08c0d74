"""The page of a sweep: its finished jobs side by side, the others named with what became of them."""

import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from calm_ft.errors import UserError
from calm_ft.report.page.compare import MAX_RUNS_HEARD, compare_runs
from calm_ft.report.page.sweep_runs import runs_of_sweep
from calm_ft.sweeps.folder import Sweep
from tests.report.page.browser import console, durations_sec, needs_chromium, opened, requested
from tests.report.page.made_runs import add_evaluation, make_run


def _sweep(folder: Path, num_finished: int, num_sentences: int = 2) -> Path:
    """Finished jobs by rate and seed, one that failed before it had a folder, one that was interrupted."""
    sweep = Sweep(folder)
    sweep.begin(["train.py", "-m", "optimizer.lr=1,2", "seed=0,1"])
    for number in range(num_finished):
        overrides = [f"optimizer.lr={number // 2}", f"seed={number % 2}"]
        job = sweep.claim(str(number), overrides, number)
        sweep.write(replace(job, status="finished", value=0.5))
        run = make_run(sweep.run_dir(job), num_sentences, 0, overrides=overrides, seed=number % 2)
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(f"{config}\nseed: {number % 2}\noptimizer: {{lr: {number // 2}}}\n")
        add_evaluation(run, number=number)
    failed = sweep.claim("failed", ["optimizer.lr=-1", "seed=0"], num_finished)
    sweep.write(replace(failed, status="failed", reason="optimizer.lr=-1 must be a number, more than 0."))
    stopped = sweep.claim("stopped", ["optimizer.lr=9", "seed=0"], num_finished + 1)
    sweep.write(replace(stopped, status="interrupted"))
    make_run(sweep.run_dir(stopped), status="interrupted")
    return folder


def test_finished_jobs_are_compared_and_no_other_is_lost(tmp_path: Path) -> None:
    runs, left_out = runs_of_sweep(_sweep(tmp_path / "s", 4))
    assert [run.name for run in runs] == ["s-0", "s-1", "s-2", "s-3"]
    compared = compare_runs(runs, tmp_path / "page.html", left_out=left_out)
    text = " ".join(html.unescape(compared.path.read_text()).split())
    assert "<strong>s-4</strong> (optimizer.lr=-1 seed=0): failed, optimizer.lr=-1 must be" in text
    assert "<strong>s-5</strong> (optimizer.lr=9 seed=0): interrupted, it can be continued" in text
    assert "<td>s-2</td> <td>1</td><td>0</td>" in text
    assert "2 jobs of the sweep have no figures" in " ".join(compared.notices)
    assert "Over seeds" in text


def test_a_finished_job_whose_folder_is_gone_is_listed(tmp_path: Path) -> None:
    folder = _sweep(tmp_path / "s", 2)
    shutil.rmtree(tmp_path / "s-1")
    runs, left_out = runs_of_sweep(folder)
    assert [run.name for run in runs] == ["s-0"]
    assert (left_out[0].name, left_out[0].reason) == ("s-1", "its folder is gone")


@pytest.mark.parametrize(("num_finished", "said"), [(None, "is not a sweep's folder"), (0, "must be a number")])
def test_a_sweep_without_a_finished_job_is_said_in_one_sentence(
    num_finished: int | None, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "s" if num_finished is None else _sweep(tmp_path / "s", num_finished)
    with pytest.raises(UserError, match=said):
        runs_of_sweep(folder)


@pytest.mark.slow
@needs_chromium
def test_a_sweeps_page_is_small_plays_and_is_quiet(tmp_path: Path) -> None:
    num_runs = MAX_RUNS_HEARD + 2
    runs, left_out = runs_of_sweep(_sweep(tmp_path / "s", num_runs, 8))
    page = compare_runs(runs, tmp_path / "page.html", left_out=left_out).path
    assert page.stat().st_size < 8e6
    assert f"spoken by {MAX_RUNS_HEARD} of {num_runs} runs" in re.sub(r"\s+", " ", page.read_text())
    with opened(page, tmp_path / "profile", 390) as driver:
        durations = durations_sec(driver)
        assert len(durations) == 8 * (3 + MAX_RUNS_HEARD)
        assert all(0 < each < 60 for each in durations)
        assert console(driver) == []
        assert requested(driver) == [page.as_uri()]
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        assert len(driver.find_elements("css selector", "section[aria-labelledby=seeds] tbody tr")) == num_runs // 2
