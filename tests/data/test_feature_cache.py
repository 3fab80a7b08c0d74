"""The cache on disk: what is written is read, and neither a kill nor damage nor company corrupts it."""

import logging
import os
import pickle
import subprocess
import sys
import time

import pytest
import torch

from calm_ft.data import feature_cache
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
from calm_ft.errors import UserError


def entries(*keys):
    """For each key features that are known from it: as many frames as its last figure says."""
    return {
        key: CacheEntry(
            {
                "latents": torch.full((int(key[-1]), 4), float(key[-1])),
                "mask": torch.ones(2, dtype=torch.bool),
            },
            num_frames=int(key[-1]),
            duration_sec=int(key[-1]) / 12.5,
        )
        for key in keys
    }


def shards(cache):
    return sorted(cache.folder.glob("shard-*.safetensors"))


def test_a_reopened_cache_returns_what_was_written(tmp_path):
    FeatureCache(tmp_path, "f").write_shard(entries("a1", "b2"))
    FeatureCache(tmp_path, "f").write_shard(entries("c3"))
    cache = FeatureCache(tmp_path, "f")
    assert len(cache) == 3
    for key, entry in entries("a1", "b2", "c3").items():
        features = cache.read(key)
        assert features.keys() == entry.features.keys()
        assert all(torch.equal(features[name], entry.features[name]) for name in features)
        assert (cache.info(key).num_frames, cache.info(key).duration_sec) == (
            entry.num_frames,
            entry.duration_sec,
        )


def test_another_fingerprint_knows_nothing(tmp_path):
    FeatureCache(tmp_path, "f").write_shard(entries("a1"))
    assert "a1" not in FeatureCache(tmp_path, "g")


def test_slices_of_one_padded_batch_can_be_stored(tmp_path):
    batch = torch.arange(24.0).view(2, 3, 4)
    cache = FeatureCache(tmp_path, "f")
    cache.write_shard({str(row): CacheEntry({"latents": batch[row, :2]}, 2, 0.1) for row in range(2)})
    assert torch.equal(cache.read("1")["latents"], batch[1, :2])


def test_a_reader_that_writes_into_its_tensors_changes_nobody_elses(tmp_path):
    cache = FeatureCache(tmp_path, "f")
    cache.write_shard(entries("a1"))
    cache.read("a1")["latents"].zero_()
    assert torch.equal(cache.read("a1")["latents"], torch.ones(1, 4))


def test_a_pickled_cache_reads_as_before(tmp_path):
    cache = FeatureCache(tmp_path, "f")
    cache.write_shard(entries("a1"))
    cache.read("a1")
    copied = pickle.loads(pickle.dumps(cache))  # noqa: S301 - what a DataLoader does with its workers
    assert torch.equal(copied.read("a1")["latents"], torch.ones(1, 4))


def test_more_shards_than_may_be_open_can_all_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "MAX_OPEN_SHARDS", 2)
    cache = FeatureCache(tmp_path, "f")
    for number in range(1, 6):
        cache.write_shard(entries(f"clip{number}"))
    for number in [1, 2, 3, 4, 5, 1, 3]:
        assert cache.read(f"clip{number}")["latents"].mean() == number
    assert len(cache._handles) == 2


@pytest.mark.parametrize("damage", ["half", "one byte short", "empty", "zeros", "no description"])
def test_a_damaged_shard_is_set_aside_with_a_warning_and_the_others_stay(tmp_path, caplog, damage):
    cache = FeatureCache(tmp_path, "f")
    cache.write_shard(entries("a1"))
    cache.write_shard(entries("b2"))
    broken = shards(cache)[-1]
    content = broken.read_bytes()
    damaged = {
        "half": content[: len(content) // 2],
        "one byte short": content[:-1],
        "empty": b"",
        "zeros": bytes(len(content)),
        "no description": content.replace(b'"clips"', b'"parts"'),
    }
    broken.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        reopened = FeatureCache(tmp_path, "f")
    assert "a1" in reopened
    assert "b2" not in reopened
    assert len(caplog.messages) == 1
    assert "is damaged" in caplog.messages[0]
    assert [path.suffix for path in cache.folder.iterdir() if path.stem == broken.stem] == [".damaged"]
    reopened.write_shard(entries("b2"))
    assert torch.equal(FeatureCache(tmp_path, "f").read("b2")["latents"], torch.full((2, 4), 2.0))


def test_a_partial_temporary_file_is_ignored_and_once_old_removed(tmp_path):
    cache = FeatureCache(tmp_path, "f")
    cache.write_shard(entries("a1"))
    partial = cache.folder / ".tmp-00001-0123456789ab"
    partial.write_bytes(shards(cache)[0].read_bytes()[:50])
    assert len(FeatureCache(tmp_path, "f")) == 1
    assert partial.exists()  # it may be another process's, in the midst of its writing
    an_hour_ago = time.time() - 3600
    os.utime(partial, (an_hour_ago, an_hour_ago))
    assert len(FeatureCache(tmp_path, "f")) == 1
    assert not partial.exists()


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path, "f")

    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr(feature_cache.os, "fsync", no_space)
    with pytest.raises(UserError, match="no space"):
        cache.write_shard(entries("a1"))
    assert list(cache.folder.iterdir()) == []
    assert "a1" not in cache


WRITER = """
import sys, torch
from calm_ft.data.feature_cache import CacheEntry, FeatureCache
directory, name, count = sys.argv[1:]
cache = FeatureCache(directory, "f")
for number in range(int(count)):
    entry = CacheEntry({"latents": torch.full((50, 32), float(number))}, 50, 4.0)
    cache.write_shard({f"shared-{number}": entry, f"{name}-{number}": entry})
    print(number, flush=True)
"""


def start_writer(directory, name, count):
    command = [sys.executable, "-c", WRITER, str(directory), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_writers_at_once_one_of_them_killed_leave_only_whole_shards(tmp_path, caplog):
    steady, killed = start_writer(tmp_path, "steady", 40), start_writer(tmp_path, "killed", 10**6)
    last = [killed.stdout.readline() for _ in range(20)][-1]
    assert steady.wait(timeout=60) == 0
    killed.kill()
    killed.wait(timeout=60)
    cache = FeatureCache(tmp_path, "f")
    assert caplog.messages == []
    written = [f"steady-{n}" for n in range(40)] + [f"killed-{n}" for n in range(int(last) + 1)]
    for key in written:
        assert torch.equal(cache.read(key)["latents"], torch.full((50, 32), float(key.split("-")[1])))
    assert "shared-39" in cache
