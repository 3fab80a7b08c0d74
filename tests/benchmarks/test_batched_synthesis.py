"""What the benchmark of batched synthesis makes of its times, and that both ways say as much."""

import time
from pathlib import Path

import pytest
import torch

from benchmarks.batched_synthesis import in_turns, measure_rows, summary
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.synthesis import voice_from_audio
from tests.adapters.tiny_bundle import write_tiny_bundle
from tests.conftest import default_objective


def test_ratios_are_of_the_smallest_of_the_median_and_of_the_processors_times() -> None:
    times = {"slow": [(4.0, 3.0), (6.0, 2.0), (9.0, 4.0)], "fast": [(3.0, 0.5), (1.0, 1.0), (2.0, 1.0)]}
    figures = summary(times, "fast", "slow")
    assert (figures["ratio"], figures["ratio_median"], figures["ratio_processor"]) == (4.0, 3.0, 4.0)
    assert (figures["slow_sec"], figures["slow_sec_median"]) == (4.0, 6.0)


def test_ways_take_turns_and_waiting_is_wall_time_alone() -> None:
    order: list[str] = []

    def wait() -> None:
        order.append("wait")
        time.sleep(0.2)

    times = in_turns({"wait": wait, "other": lambda: order.append("other")}, 2)
    assert order == ["wait", "other", "wait", "other"]
    assert all(wall >= 0.2 and cpu < 0.1 for wall, cpu in times["wait"])


def test_rows_are_measured_on_as_many_sentences_as_asked_for(tmp_path: Path) -> None:
    tiny = PocketTTSAdapter(str(write_tiny_bundle(tmp_path / "bundle")), default_objective()).eval()
    voice = voice_from_audio(tiny.tts, torch.zeros(tiny.sample_rate_hz))
    figures = measure_rows(tiny, voice, num_rows=3, repeats=1)
    assert figures["rows"] == 3
    assert figures["audio_sec"] > 3 * 6 / tiny.frame_rate_hz
    assert 0 < figures["codec_sec"] < figures["one_by_one_sec"]
    assert figures["together_x_real_time"] == pytest.approx(figures["audio_sec"] / figures["together_sec"], rel=0.1)
