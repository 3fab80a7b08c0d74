"""How much memory a device has free, how much was in use at most, and whether an error says that it ran out."""

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from calm_ft.errors import UserError

SPARE_SHARES = {"cuda": 0.1, "cpu": 0.3}
"""Of what is free: prompts and texts differ from batch to batch, and other programs take memory too. On a CPU, steps on
batches of one size were seen to take up to a seventh more than one another, by the holes between blocks in use; with a
fifth spare, 4 of 8 runs of `full` ran out of memory under a hard limit, with three tenths none of 8.
"""
SAMPLING_SEC = 0.005
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",  # where cuBLAS finds no room for itself
    "std::bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or an allocator of the CPU, had no memory left."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(each in text for each in OUT_OF_MEMORY)


def give_back(device: torch.device) -> None:
    """Free what nothing refers to, and give back to the device what is kept for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # glibc keeps what a large batch took, and a smaller one would seem to take as much


class MemoryGauge:
    """What can be used of a device, and how much was, from when the gauge is made; all in bytes.

    A GPU is a process's own. The memory of a CPU is shared: in equal parts by the processes of a run, and with whatever
    else runs. There an allocation hardly ever fails, but the system kills a process that uses too much. So what is used
    has to be measured, and what would be too much must not be tried.
    """

    def __init__(self, device: torch.device, num_processes: int = 1) -> None:
        """Takes the spare share away for as long as the gauge lives. Raises UserError for other devices."""
        if device.type not in SPARE_SHARES:
            raise UserError(
                f"data.max_frames_per_batch=auto knows GPUs of CUDA and CPUs, not {device.type}: give a number."
            )
        self.device = device
        self.spare_share = SPARE_SHARES[device.type]
        give_back(device)
        self.free = _free_on_gpu(device) if device.type == "cuda" else _free_on_cpu() // num_processes
        self.limit = round(self.free * (1 - self.spare_share))
        # On a CPU this takes none of its memory, but of the addresses that `ulimit -v` allows a process.
        self.allowed = self.free if device.type == "cuda" else min(self.free, _addresses_left())
        self._spare = torch.empty(round(self.allowed * self.spare_share), dtype=torch.uint8, device=device)
        self._before = self._used()
        self.peak = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """`peak` is how much more than before the gauge was made was in use at most within the context."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            yield
            self.peak = torch.cuda.max_memory_reserved(self.device) - self._before
            return
        sampler = _Sampler()
        sampler.start()
        try:
            yield
        finally:
            sampler.stop()
        self.peak = sampler.peak - self._before

    def _used(self) -> int:
        return (
            torch.cuda.memory_reserved(self.device)
            if self.device.type == "cuda"
            else psutil.Process().memory_info().rss
        )


class _Sampler(threading.Thread):
    """Looks again and again how much memory this process has in use."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self._process = psutil.Process()
        self.peak = self._process.memory_info().rss

    def run(self) -> None:
        while not self._stopped.wait(SAMPLING_SEC):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _free_on_gpu(device: torch.device) -> int:
    """What the driver has left and what torch holds without using it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _free_on_cpu() -> int:
    """What the machine has left, or less where a container or a job has a limit of its own."""
    return min([psutil.virtual_memory().available, *left_in_cgroups(OWN_CGROUPS, CGROUPS)])


def left_in_cgroups(own: Path, root: Path) -> list[int]:
    """Bytes left under every limit of control groups that this process is in.

    Args:
        own: the list of its groups, as /proc/self/cgroup (Linux; elsewhere there is none).
        root: where groups are mounted: version 2 in the folder itself, version 1 in its folder `memory`.
    """
    lines = own.read_text().splitlines() if own.is_file() else []
    left: list[int] = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            top, limit, used, cached = root, "memory.max", "memory.current", "inactive_file"
        elif controllers == "memory":
            top, limit, used, cached = (
                root / "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                left += _left_in(folder, limit, used, cached)
    return left


def _left_in(folder: Path, limit: str, used: str, cached: str) -> list[int]:
    """Bytes left in one group, files that the system may forget counted as free; empty without a limit."""
    try:
        allowed = (folder / limit).read_text().strip()
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return [int(allowed) - int((folder / used).read_text()) + int(statistics[cached])] if allowed != "max" else []
    except (OSError, ValueError, KeyError):
        return []


def _addresses_left() -> int:
    """Bytes that `ulimit -v` leaves to this process; where there is no limit, more than any machine has."""
    limit = psutil.Process().rlimit(psutil.RLIMIT_AS)[0] if hasattr(psutil, "RLIMIT_AS") else -1
    return 2**62 if limit < 0 else max(0, limit - psutil.Process().memory_info().vms)
