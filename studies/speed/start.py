"""How long the command line takes to say its help, next to Python that does nothing.

In turn, medians.

python -m studies.speed.start > results/start.json
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from functools import partial

import torch

from anomirror.benchmark.provenance import command, versions
from studies.speed.train_step import in_turn

WAYS = {"anomirror --help": ["-m", "anomirror.cli", "--help"], "bare Python": ["-c", "pass"]}


def say(arguments: list[str]) -> None:
    """One run of the interpreter, its output thrown away."""
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    seconds = in_turn(
        {name: partial(say, arguments) for name, arguments in WAYS.items()}, 9, torch.device("cpu")
    )
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    result = {
        "medians": medians,
        "seconds": seconds,
        "versions": versions(),
        "command": command("studies.speed.start"),
    }
    print(json.dumps(result, indent=2))
