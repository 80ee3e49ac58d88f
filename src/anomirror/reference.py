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
    """How far raw scores of unseen normal images reach, of one member.

    One sample of them, ``(n,)``, or one for each of m images, ``(m, n)``.
    """

    centre: Scores
    """Their median: of the logarithm, where raw scores are at least 0."""
    spread: Scores
    """Half of the distance of their 16 % and 84 % quantiles."""
    deviations: Scores
    """All of them in these units, sorted."""
    far: Scores
    """Quantile of these beyond which the tail begins."""
    tail: Scores
    """Mean excess of the fifth that is oddest, in these units."""

    @classmethod
    def of(cls, values: Scores) -> Self:
        """From raw scores, or their logarithms, ``(n,)`` or ``(m, n)``."""
        low, centre, high = np.quantile(values, [0.16, 0.5, 0.84], axis=-1)
        spread = np.maximum((high - low) / 2, 1e-3)
        deviations = np.sort((values - centre[..., None]) / spread[..., None])
        far = np.quantile(deviations, FAR, axis=-1)
        excess = np.maximum(deviations - far[..., None], 0)
        beyond = np.count_nonzero(excess, axis=-1)
        tail = np.where(beyond, excess.sum(-1) / np.maximum(beyond, 1), 1.0)
        return cls(centre, spread, deviations, far, np.maximum(tail, 1e-3))

    @classmethod
    def of_others(cls, values: Scores) -> Self:
        """For each of these values all but itself, ``(n, n - 1)``."""
        count = len(values)
        every = np.broadcast_to(values, (count, count))
        return cls.of(every[~np.eye(count, dtype=bool)].reshape(count, count - 1))

    def deviation(self, values: Scores) -> Scores:
        """(v - median) / spread"""
        return (values - self.centre) / self.spread

    def surprise(self, deviations: Scores) -> Scores:
        """-log of the conformal p-value, which goes on exponentially beyond the fifth that is
        oddest: of odd images it says how odd.
        """
        count = self.deviations.shape[-1]
        if self.deviations.ndim == 1:
            at_least = count - np.searchsorted(self.deviations, deviations, side="left")
        else:
            at_least = np.count_nonzero(self.deviations >= deviations[:, None], axis=1)
        within = -np.log((1 + at_least) / (count + 1))
        beyond = -math.log(1 - FAR) + (deviations - self.far) / self.tail
        return np.asarray(np.where(deviations > self.far, beyond, within))
