"""Work in several processes that a broken file cannot stop: what crashes a process costs that file alone."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Self, TypeVar

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


class Crash:
    """In place of the result of a job whose process was ended by its decoder or by the system."""


class Workers:
    """The processes of one preparation: started when the first job comes, ended when its context ends.

    Processes are spawned, not forked, because libraries that have started threads may hang in a fork; each computes
    with one thread. Loading those libraries takes seconds, so the same processes serve one stage after another.
    """

    def __init__(self, num_processes: int) -> None:
        """`num_processes`: how many work at once; with one the jobs are done in this process."""
        self._num_processes = num_processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self._end_pool(at_once=fault is not None)

    def do(self, function: Callable[[JobT], ResultT], jobs: Iterable[JobT]) -> Iterator[tuple[JobT, ResultT | Crash]]:
        """Each job with its result, as they are done.

        Few jobs wait at a time, so `jobs` may be many. What a job raises is raised here, and the jobs behind it are
        given up.
        """
        if self._num_processes == 1:
            for job in jobs:
                yield job, function(job)
            return
        waiting = iter(jobs)
        while suspects := (yield from self._in_pool(function, waiting, 2 * self._num_processes)):
            one_by_one = iter(suspects)  # one of them ended its process: which, shows when each is alone
            while culprit := (yield from self._in_pool(function, one_by_one, 1)):
                yield culprit[0], Crash()

    def _in_pool(
        self, function: Callable[[JobT], ResultT], waiting: Iterator[JobT], num_ahead: int
    ) -> Generator[tuple[JobT, ResultT | Crash], None, list[JobT]]:
        """Yields what is done; returns the jobs, at most `num_ahead`, that were under way when a process ended."""
        pool = self._started()
        running: dict[Future[ResultT], JobT] = {}
        try:
            while True:
                for job in islice(waiting, num_ahead - len(running)):
                    running[pool.submit(function, job)] = job
                if not running:
                    return []
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    if isinstance(future.exception(), BrokenProcessPool):
                        self._end_pool()
                        return list(running.values())
                    yield running.pop(future), future.result()
        except BrokenProcessPool:  # it broke between two jobs
            self._end_pool()
            return [*running.values(), job]
        except BaseException:  # interrupted, or nobody wants the rest
            self._end_pool(at_once=True)
            raise

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._num_processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_process
            )
        return self._pool

    def _end_pool(self, at_once: bool = False) -> None:
        """One that lost a process takes no more jobs; `at_once`: what is under way is not waited for."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if at_once:
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_process() -> None:
    """One thread; Ctrl-C is the first process's affair; a process whose parent was killed ends too."""
    os.environ["OMP_NUM_THREADS"] = "1"  # torch and CTranslate2 read it when a job imports them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
