"""Detectors small enough to fit in a second or two, as `tests/methods` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from anomirror import DETECTORS, Detector, make_detector
from anomirror.detector.parameters import parameters_of
from tests.methods import CASES
from tests.methods.planting import shuffled, turned

__all__ = [
    "METHODS",
    "TINY",
    "all_kept",
    "calibrates_on_train",
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


def all_kept(name: str) -> dict[str, Any]:
    """Arguments that keep every image in the training."""
    if calibrates_on_train(name):
        return {"heldout": 0.0, "calibration": "train"}
    return {"calibration": "folds"}


def calibrates_on_train(name: str) -> bool:
    """Whether ``calibration="train"`` is one of its choices."""
    return "train" in get_args(parameters_of(type(tiny(name)))["calibration"].hint)


def frozen(name: str) -> dict[str, float]:
    """Arguments that leave its networks, if it has any, as they began."""
    return {rate: 1e-12 for rate in tiny(name).get_params() if rate.endswith("learning_rate")}
