"""A run that is killed at random moments and resumed each time ends in the bits of one that was not."""

from pathlib import Path

import pytest

from tests.scripts.sigkill import differences, run_with_kills

NUM_KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_sigkills_change_no_bit_of_a_run(tmp_path: Path) -> None:
    kills = run_with_kills(tmp_path, NUM_KILLS, seed=0)
    assert len(kills) == NUM_KILLS
    assert differences(tmp_path) == []
