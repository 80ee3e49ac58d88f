"""How far raw scores of unseen normal images reach: what several detectors have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from anomirror.scorers import Scores

FAR = 0.8
"""Quantile beyond which p-values go on as those of an exponential tail."""


@dataclass(frozen=True)
class Reference:
    """How far raw scores of unseen normal images reach, of one member."""

    centre: float
    """Their median: of the logarithm, where raw scores are at least 0."""
    spread: float
    """Half of the distance of their 16 % and 84 % quantiles."""
    deviations: Scores
    """All of them in these units, sorted."""
    tail: float
    """Mean excess of the fifth that is oddest, in these units."""

    @classmethod
    def of(cls, values: Scores) -> Self:
        """From raw scores, or their logarithms, ``(n,)``."""
        low, middle, high = np.quantile(values, [0.16, 0.5, 0.84])
        centre, spread = float(middle), max(float(high - low) / 2, 1e-3)
        deviations = np.sort((values - centre) / spread)
        far = np.quantile(deviations, FAR)
        beyond = deviations[deviations > far]
        tail = float(np.mean(beyond - far)) if len(beyond) else 1.0
        return cls(centre, spread, deviations, max(tail, 1e-3))

    def deviation(self, values: Scores) -> Scores:
        """(v - median) / spread"""
        return (values - self.centre) / self.spread

    def surprise(self, deviations: Scores) -> Scores:
        """-log of the conformal p-value, which goes on exponentially beyond the fifth that is
        oddest: of odd images it says how odd.
        """
        count, far = len(self.deviations), np.quantile(self.deviations, FAR)
        at_least = count - np.searchsorted(self.deviations, deviations, side="left")
        within = -np.log((1 + at_least) / (count + 1))
        beyond = -math.log(1 - FAR) + (deviations - far) / self.tail
        return np.asarray(np.where(deviations > far, beyond, within))
