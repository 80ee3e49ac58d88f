"""What a second process brings.

Steps of AMA with preset `cpu`, the same minibatch by one process and shared by two.

    python -m studies.speed.scaling > results/speed/scaling.json

In turn: one process with one thread, two processes with one thread each (torchrun, gloo), one
process with two threads.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from functools import partial
from typing import Any

import torch

from anomirror import preset
from anomirror.benchmark.provenance import command, versions
from anomirror.minibatch import Batch
from anomirror.processes import together
from studies.speed.train_step import CHANNELS, prepared, ratio, timed

BATCH, STEPS, REPEATS = 64, 20, 5
WAYS = {"one process": (1, 1), "two processes": (2, 1), "one process, two threads": (1, 2)}
"""Processes, and threads of each."""


def steps() -> None:
    """In each process: prints on the first one how many seconds the steps took."""
    device = torch.device("cpu")
    ama, run = prepared(preset("ama", "cpu"), "auto", device)
    run.group = together()
    share = BATCH // run.group.size
    x = (
        torch.rand(share, CHANNELS, 32, 32, generator=torch.Generator().manual_seed(run.group.rank))
        * 2
        - 1
    )
    batch = Batch(
        x.contiguous(memory_format=torch.channels_last), torch.zeros(share, dtype=torch.bool)
    )

    def some(count: int) -> None:
        for _ in range(count):
            with run.autocast():
                ama.phases()[0].step(batch, run)

    some(3)
    seconds = timed(partial(some, STEPS), device)
    if run.group.rank == 0:
        print(seconds)


def launched(processes: int, threads: int) -> float:
    """Seconds for the steps in that many processes."""
    arguments = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        "-m",
        "studies.speed.scaling",
        "steps",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def measured(repeats: int) -> dict[str, Any]:
    """All ways, one after the other, ``repeats`` times."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, (processes, threads) in WAYS.items():
            seconds[name].append(launched(processes, threads))
    return {
        "scaling": ratio(seconds, "one process", "two processes"),
        "scaling_of_threads": ratio(seconds, "one process", "one process, two threads"),
        "images_per_second": {
            name: BATCH * STEPS / statistics.median(s) for name, s in seconds.items()
        },
        "seconds": seconds,
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["steps"]:
        steps()
    else:
        result = measured(REPEATS)
        result |= {
            "batch": BATCH,
            "steps": STEPS,
            "versions": versions(),
            "command": command("studies.speed.scaling"),
        }
        print(json.dumps(result, indent=2))
