"""Which of the numbers that a method measures of an image is odd, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import median_abs_deviation

from anomirror.decisions import parts
from anomirror.detectors import Detector
from anomirror.scorers import Scores


class Reasons:
    """Compares statistics of new images with those of the images that calibrate a detector, of
    their own category where it has some.

    A statistic's distance is counted from the median in robust standard deviations (of its
    logarithm, where all are above 0: most have a long tail). It says what is unusual, and promises
    nothing: the p-value does.
    """

    def __init__(self, detector: Detector) -> None:
        available, categories = detector.available_statistics(), detector.calibration_categories_
        values = {
            name: values
            for name, values in detector.calibration_statistics_.items()
            if name in available and _Scale.of(values) is not None
        }
        self.names = tuple(values)
        """Of the statistics that are compared."""
        self._scales = {
            category: {name: _Scale.of(values[name][members]) for name in values}
            for category, members in parts(categories, len(detector.calibration_raw_))
        }

    def of(
        self, measured: Mapping[str, Scores], count: int, by: np.ndarray | None = None
    ) -> list[str]:
        """The oddest statistic of each image, such as "code norm 4.1 sigma high"; empty where none
        can be compared.

        Parameters
        ----------
        measured : ``(count,)`` values of each of :attr:`names`.
        count : images.
        by : their categories, where the detector has some.
        """
        words = [""] * count
        for category, members in parts(by, count):
            scales = self._scales[category]
            distances = {
                name: scale.distance(measured[name][members])
                for name, scale in scales.items()
                if scale is not None
            }
            if not distances:
                continue
            table = np.stack(list(distances.values()))
            oddest = np.abs(table).argmax(axis=0)
            for at, image in enumerate(np.flatnonzero(members)):
                place = oddest[at]
                words[image] = _words(list(distances)[place], float(table[place, at]))
        return words


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
