"""Bad input: exit code 2, one sentence, no traceback, nothing half-written; what is bad in part costs no good clip."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.bad_input import left
from tests.scripts.bad_input.place import Place
from tests.scripts.bad_input.table import FAULTS

ROOT = Path(__file__).parents[3]


LONG = ("checkpoint:", "chatterbox:", "disk:")
"""Groups whose faults take a run, or another system's model."""


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[pytest.mark.slow] if what.startswith(LONG) else []) for what in FAULTS]
)
def test_a_fault_is_one_sentence_and_costs_nothing_that_is_good(
    what: str, place: Place, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    fault = FAULTS[what]
    fault.prepare(place)
    before = place.tree()
    assert place.train(*fault.overrides) == fault.code
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (1 if fault.code else 0)
    assert fault.said in (errors[0] if errors else printed.out + caplog.text)
    assert "Traceback" not in printed.err + printed.out
    if fault.leaves is left.unchanged:  # then no training had begun
        assert printed.err.splitlines() == errors
    fault.leaves(place, before)


@pytest.mark.parametrize(
    "what", ["config: unknown adapter", pytest.param("data: missing folder", marks=pytest.mark.slow)]
)
def test_the_process_ends_with_code_2_and_one_line(what: str, tmp_path: Path) -> None:
    overrides = [each.replace("{here}", str(tmp_path)) for each in FAULTS[what].overrides]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "output_dir=run", "logger=csv", *overrides]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
