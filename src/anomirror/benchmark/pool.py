"""Many trials: one after the other, or several at once in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import torch

from anomirror.benchmark.measure import measure
from anomirror.benchmark.trial import Trial
from anomirror.errors import InputError

Report = Callable[[Trial, int, int, float, Exception | None], None]
"""Called when a trial ends: it, how many are done, of how many, the seconds left, and its error."""

_End = tuple[Trial, Exception | None]


def run(
    todo: Sequence[Trial],
    out: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    keep_models: bool = False,
    report: Report | None = None,
) -> list[tuple[Trial, Exception]]:
    """Measure every trial, ``jobs`` at once; returns those that failed, which hold up no other."""
    if jobs < 1:
        raise InputError(f"jobs={jobs}: expected at least 1")
    jobs = min(jobs, len(todo))
    failed: list[tuple[Trial, Exception]] = []
    started = time.perf_counter()
    attempt = partial(_attempt, out=out, data_dir=data_dir, keep_model=keep_models)
    ends = _one_by_one(todo, attempt) if jobs <= 1 else _side_by_side(todo, attempt, jobs)
    for done, (trial, error) in enumerate(ends, start=1):
        if error is not None:
            failed.append((trial, error))
        if report is not None:
            left = (time.perf_counter() - started) / done * (len(todo) - done)
            report(trial, done, len(todo), left, error)
    return failed


def _one_by_one(
    todo: Sequence[Trial], attempt: Callable[[Trial], Exception | None]
) -> Iterator[_End]:
    for trial in todo:
        yield trial, attempt(trial)


def _side_by_side(
    todo: Sequence[Trial], attempt: Callable[[Trial], Exception | None], jobs: int
) -> Iterator[_End]:
    """As many at once as ``jobs``; whatever ends this, ends them."""
    waiting = list(todo)
    while waiting:
        spawn = multiprocessing.get_context("spawn")
        threads = max(1, _cores() // jobs)
        pool = ProcessPoolExecutor(jobs, spawn, initializer=_begin_worker, initargs=(threads,))
        at_work: dict[Future[Exception | None], Trial] = {}
        broken = False
        try:
            while at_work or (waiting and not broken):
                while waiting and not broken and len(at_work) < jobs:
                    trial = waiting.pop(0)
                    at_work[pool.submit(attempt, trial)] = trial
                for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                    trial, error = at_work.pop(future), _result(future)
                    broken = broken or isinstance(error, _KilledError)
                    yield trial, error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()


class _KilledError(InputError):
    """The process of a trial ended without a result."""


def _attempt(trial: Trial, out: Path, data_dir: Path | None, keep_model: bool) -> Exception | None:
    """An error as a value: one failed trial does not end the others."""
    try:
        measure(trial, out, data_dir, keep_model=keep_model)
    except Exception as error:
        return error
    return None


def _result(future: Future[Exception | None]) -> Exception | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return _KilledError(
            "a process was killed (out of memory?); the same command goes on where it stopped"
        )
    except Exception as error:
        return error


def _begin_worker(threads: int) -> None:
    """A worker ends with the process that started it, however that ends.

    Otherwise the same command, given once more, would train next to it.
    """
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
