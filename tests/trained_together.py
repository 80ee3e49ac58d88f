"""What each of two processes does in tests/test_processes.py: torchrun starts it with the folder
for its models.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomirror import AMA, make_detector
from anomirror.data.sample import load_sample
from anomirror.detector.network import NetworkDetector
from anomirror.errors import AnomirrorError, CheckpointError, SettingError
from anomirror.processes import rank
from tests.tiny import TINY

IMAGES = 256
SETTINGS: dict[str, Any] = {
    **TINY["ama"],
    "epochs": 3,
    "device": "cpu",
    "random_state": 0,
    "precision": "float32",
    "ema_decay": 0.9,
    "recompute_statistics": False,
    "learning_rate": 1e-3,
}


STARTED: dict[str, tuple[str, dict[str, Any]]] = {
    "first weights by a minibatch": ("complexity", {"dropout": 0.2}),
    "best epoch": ("alad", {"learning_rate": 0.1, "epochs": 4}),
    "centre": ("deep_svdd", {}),
    "box": ("negative_sampling", {"ema_decay": 0.9}),
    "resting networks": ("fanogan", {"encoder_epochs": 2}),
}
"""What both processes must find or choose alike, and where: a method and further arguments."""


class Interrupted(RuntimeError):
    """Somebody stopped the run."""


class Watch:
    """A monitor that counts epochs, and stops the run in one of them: the checkpoint is then that
    of the epoch before.
    """

    def __init__(self, stop_in: int = 0) -> None:
        self.epochs = 0
        self.stop_in = stop_in

    def __call__(self, detector: NetworkDetector) -> dict[str, float]:
        self.epochs += 1
        if self.epochs == self.stop_in:
            raise Interrupted
        return {}


def refused(error: type[AnomirrorError], message: str, images: np.ndarray, **settings: Any) -> None:
    """Both processes must say no, instead of one waiting for the other."""
    with pytest.raises(error, match=message):
        AMA(**settings).fit(images)


def note_threads(file: Path) -> None:
    """The threads of gloo that are still there; on Linux alone."""
    names = [comm.read_text().strip() for comm in Path("/proc/self/task").glob("*/comm")]
    file.write_text("\n".join(name for name in names if "gloo" in name))


def main(out: Path) -> None:
    torch.set_num_threads(1)
    # runs last: after the group is dissolved
    atexit.register(note_threads, out / f"threads-{rank()}")
    images = load_sample().train[:IMAGES]
    AMA(**SETTINGS).fit(images).save(out / f"whole-{rank()}")
    for name, (method, more) in STARTED.items():
        make_detector(method, **TINY[method] | more, device="cpu").fit(images).save(
            out / f"{name}-{rank()}"
        )
    checkpointed = SETTINGS | {"checkpoint_dir": out / "checkpoint"}
    try:
        AMA(**checkpointed, callback=Watch(stop_in=2)).fit(images)
    except Interrupted:
        watch = Watch()
        AMA(**checkpointed, callback=watch).fit(images).save(out / f"resumed-{rank()}")
        assert watch.epochs == SETTINGS["epochs"] - 1, watch.epochs
    refused(
        SettingError,
        "differ in parameters or images",
        images,
        **SETTINGS | {"random_state": rank()},
    )
    refused(SettingError, "differ in parameters or images", images[rank() :], **SETTINGS)
    refused(
        SettingError,
        "several processes need a random_state",
        images,
        **SETTINGS | {"random_state": None},
    )
    unshared = out / "checkpoint" if rank() == 0 else out / "elsewhere"
    refused(
        CheckpointError,
        "do not continue from one checkpoint",
        images,
        **SETTINGS | {"checkpoint_dir": unshared},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
