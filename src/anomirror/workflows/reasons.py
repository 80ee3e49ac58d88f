"""Which of the numbers that a method measures of an image is odd, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import median_abs_deviation

from anomirror.detectors import Detector
from anomirror.scorers import Scores


class Reasons:
    """Compares statistics of new images with those of the images that calibrate a detector.

    A statistic's distance is counted from the median in robust standard deviations (of its
    logarithm, where all are above 0: most have a long tail). It says what is unusual, and promises
    nothing: the p-value does.
    """

    def __init__(self, detector: Detector) -> None:
        available, self._scales = set(detector.available_statistics()), {}
        for name, values in detector.calibration_statistics_.items():
            scale = _Scale.of(values)
            if name in available and scale is not None:
                self._scales[name] = scale

    @property
    def names(self) -> tuple[str, ...]:
        """Of the statistics that are compared."""
        return tuple(self._scales)

    def of(self, measured: Mapping[str, Scores]) -> list[str]:
        """The oddest statistic of each image, such as "code norm 4.1 sigma high"; empty where none
        can be compared.

        Parameters
        ----------
        measured : ``(n,)`` values of each of :attr:`names`.
        """
        count = len(next(iter(measured.values()), ()))
        if not self._scales:
            return [""] * count
        distances = np.stack([self._scales[name].distance(measured[name]) for name in self.names])
        oddest = np.abs(distances).argmax(axis=0)
        return [
            _words(self.names[place], float(distances[place, image]))
            for image, place in enumerate(oddest)
        ]


class _Scale:
    """Median and robust standard deviation of one statistic."""

    def __init__(self, centre: float, spread: float, floor: float | None) -> None:
        self._centre, self._spread, self._floor = centre, spread, floor

    @classmethod
    def of(cls, values: Scores) -> _Scale | None:
        """None of values that are all equal, or not finite."""
        floor = float(values.min()) / 1e3 if (values > 0).all() else None
        values = _logged(values, floor)
        spread = float(median_abs_deviation(values, scale="normal")) or float(np.std(values))
        known = np.isfinite(values).all() and spread > 1e-9 * max(1.0, abs(float(values.mean())))
        return cls(float(np.median(values)), spread, floor) if known else None

    def distance(self, values: Scores) -> Scores:
        """Standard deviations above the median; NaN is infinitely far."""
        distances = (_logged(values, self._floor) - self._centre) / self._spread
        return np.where(np.isnan(distances), np.inf, distances)


def _logged(values: Scores, floor: float | None) -> Scores:
    return values if floor is None else np.log(np.maximum(values, floor))


def _words(name: str, distance: float) -> str:
    side = "high" if distance > 0 else "low"
    return f"{name.replace('_', ' ')} {abs(distance):.1f} sigma {side}"
