"""What a check looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import get_args

import numpy as np
from sklearn.base import clone

from anomirror.data.sample import load_sample
from anomirror.detector.contract import Detector
from anomirror.detector.parameters import Arguments, parameters_of


class CheckError(AssertionError):
    """A detector does not keep what every detector does."""


class Subject:
    """A detector that is not fitted, and images to fit and to score.

    Parameters
    ----------
    detector : with arguments under which a fit takes a second.
    normal, anomalies : ``(n, h, w)`` uint8; None: 256 clothes, 100 digits.
    """

    def __init__(
        self,
        detector: Detector,
        normal: np.ndarray | None = None,
        anomalies: np.ndarray | None = None,
    ) -> None:
        sample = load_sample()
        self.detector = detector
        self.normal = sample.train[:256] if normal is None else normal
        self.anomalies = sample.anomalies[:100] if anomalies is None else anomalies

    def make(self, **changes: object) -> Detector:
        """A clone that is not fitted, with other parameters."""
        made: Detector = clone(self.detector).set_params(**changes)
        return made

    @cached_property
    def fitted(self) -> Detector:
        """Fitted on the normal images; checks leave it as it is."""
        return self.make().fit(self.normal)

    def has(self, parameter: str) -> bool:
        """Whether the detector has a parameter."""
        return parameter in self.detector.get_params()


def all_kept(detector: Detector) -> Arguments:
    """Arguments under which a detector of this class keeps every image in the fit."""
    choices = get_args(parameters_of(type(detector))["calibration"].hint)
    if "train" in choices:
        return {"calibration_fraction": 0.0, "calibration": "train"}
    return {"calibration": "folds"}


Check = Callable[[Subject], None]


@contextmanager
def refused(error: type[Exception], words: str) -> Iterator[None]:
    """What is inside must raise an error whose text holds some words."""
    try:
        yield
    except error as raised:
        if words not in str(raised):
            raise AssertionError(f"expected an error about {words!r}, got: {raised}") from raised
    else:
        raise AssertionError(f"expected {error.__name__} about {words!r}, and nothing was raised")
