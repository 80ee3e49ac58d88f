"""What each of two processes does in tests/test_processes.py: torchrun starts it with the folder for its models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from anomirror import AMA
from anomirror.data.sample import load_sample
from anomirror.detectors.base import NetworkDetector
from anomirror.processes import rank
from tests.tiny import TINY

IMAGES = 256
SETTINGS: dict[str, Any] = {
    **TINY["ama"],
    "epochs": 3,
    "device": "cpu",
    "random_state": 0,
    "precision": "float32",
    "average": None,
    "recompute_statistics": False,
    "learning_rate": 1e-3,
}


class Interrupted(RuntimeError):
    """Somebody stopped the run."""


def stop_after_two(detector: NetworkDetector) -> dict[str, float]:
    """A monitor that stops the run in its second epoch, so that the checkpoint is that of the first."""
    stop_after_two.calls += 1  # type: ignore[attr-defined]
    if stop_after_two.calls == 2:  # type: ignore[attr-defined]
        raise Interrupted
    return {}


stop_after_two.calls = 0  # type: ignore[attr-defined]


def main(out: Path) -> None:
    torch.set_num_threads(1)
    images = load_sample().train[:IMAGES]
    AMA(**SETTINGS).fit(images).save(out / f"whole-{rank()}")
    checkpointed = SETTINGS | {"checkpoint_dir": out / "checkpoint"}
    try:
        AMA(**checkpointed, monitor=stop_after_two).fit(images)
    except Interrupted:
        AMA(**checkpointed).fit(images).save(out / f"resumed-{rank()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
