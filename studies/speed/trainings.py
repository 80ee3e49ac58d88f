"""How long a whole training of every method takes with preset ``cpu``, and how fast it scores, all
in one run.

    python -m studies.speed.trainings --json results/speed/trainings-cifar10.json
    python -m studies.speed.trainings --normal mnist:0 --json results/speed/trainings-mnist-0.json

What is written stands after each method; nothing else should run next to it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from anomirror.benchmark.cells import write_json
from anomirror.benchmark.experiments import chosen_preset
from anomirror.benchmark.protocols import of_class, parse_normal
from anomirror.data import load_dataset
from anomirror.detectors import Detector, make_detector
from anomirror.devices import choose_device, use_bf16
from anomirror.presets import PRESETS, preset

SCORED = 1024
ROUNDS = 3
"""Of scoring; the median counts."""


def timed(detector: Detector, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Seconds of the fit and images a second.

    ``trained`` counts the images of all minibatches against the whole fit, with its calibration and
    what its history scores; None for a method without minibatches.
    """
    started = time.perf_counter()
    detector.fit(train)
    seconds = time.perf_counter() - started
    scoring = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        detector.raw_scores(test)
        scoring.append(time.perf_counter() - started)
    steps = detector.history_[-1]["step"] if detector.history_ else 0
    return {
        "fit_seconds": seconds,
        "trained": steps * detector.batch_size / seconds if steps else None,
        "scored": len(test) / statistics.median(scoring),
    }


def processor() -> str:
    """Its model, as Linux names it."""
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def main(
    normal: Annotated[str, typer.Option(help="a set, or one class of it, as mnist:0")] = "cifar10",
    methods: Annotated[str, typer.Option(help="separated by commas")] = ",".join(PRESETS),
    threads: int = 2,
    out: Annotated[Path | None, typer.Option("--json")] = None,
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Print what was measured, and write it."""
    torch.set_num_threads(threads)
    name, label = parse_normal(normal)
    (train, classes), (test, _) = (load_dataset(name, part, data_dir) for part in ("train", "test"))
    train = train[of_class(classes, label, normal)]
    told: dict[str, Any] = {
        "normal": normal,
        "images": len(train),
        "threads": threads,
        "torch": torch.__version__,
    }
    told |= {
        "bf16": use_bf16("auto", choose_device(None)),
        "processor": processor(),
        "load_before": os.getloadavg()[0],
    }
    told["methods"] = {}
    for method in methods.split(","):
        detector = make_detector(method, **preset(method, chosen_preset(method, "cpu", normal)))
        told["methods"][method] = timed(detector, train, test[:SCORED])
        print(method, json.dumps(told["methods"][method]), flush=True)
        if out is not None:
            write_json(out, told)


if __name__ == "__main__":
    typer.run(main)
