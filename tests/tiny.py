"""Detectors small enough to fit in a second or two, as `tests/methods` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomirror import DETECTORS, Detector, make_detector
from anomirror.images import to_network
from anomirror.testing.subject import all_kept as _all_kept
from tests.methods import CASES
from tests.methods.planting import shuffled, turned

__all__ = [
    "METHODS",
    "TINY",
    "all_kept",
    "calibrates_on_train",
    "framed",
    "frozen",
    "shuffled",
    "tiny",
    "turned",
]

METHODS = list(DETECTORS)
TINY: dict[str, Mapping[str, Any]] = {name: case.arguments for name, case in CASES.items()}
"""Arguments, by method, or by method and form."""


def tiny(name: str, **more: Any) -> Detector:
    """One of them, on the CPU, with a seed."""
    case = CASES[name]
    return make_detector(
        case.method, **{**case.arguments, "device": "cpu", "random_state": 0, **more}
    )


def framed(images: np.ndarray) -> Tensor:
    """``(n, 28, 28)`` uint8 as the networks see them."""
    return to_network(torch.from_numpy(np.pad(images, ((0, 0), (2, 2), (2, 2))))[:, None])


def all_kept(name: str) -> dict[str, Any]:
    """Arguments that keep every image in the training."""
    return _all_kept(tiny(name))


def calibrates_on_train(name: str) -> bool:
    """Whether ``calibration="train"`` is one of its choices."""
    return bool(all_kept(name)["calibration"] == "train")


def frozen(name: str) -> dict[str, float]:
    """Arguments that leave its networks, if it has any, as they began."""
    return {rate: 1e-12 for rate in tiny(name).get_params() if rate.endswith("learning_rate")}
