"""From scores of normal images that no fit has seen to a decision with a stated rate of false
alarms.
"""

from __future__ import annotations

import math

import numpy as np

from anomirror.scorers import Scores


def least_rate(count: int) -> float:
    """The lowest false-alarm rate that ``count`` calibration images can promise: 1 / (count + 1).

    >>> least_rate(19)
    0.05
    """
    return 1.0 / (count + 1)


def threshold(
    normality: Scores, false_alarm_rate: float, *, unseen: bool = True, noise: float = 0.0
) -> float:
    """Threshold on normalities (high = normal): what lies below it is called an anomaly.

    Parameters
    ----------
    normality : ``(n,)`` of normal images.
    false_alarm_rate : share of normal images that may be called anomalies, in (0, 0.5].
    unseen : whether no fit has seen these images. Then the threshold is the k-th lowest normality
        with k = floor(rate * (n + 1)): a new normal image lies below it with a probability of at
        most k / (n + 1), whatever the distribution (split conformal prediction). Where k is 0
        nothing can be promised at this rate, and the lowest one is taken: see :func:`least_rate`.
        Of images that were fitted it is their quantile, which promises nothing.
    noise : what rounding may move a score at least.

    Notes
    -----
    It is lowered by what rounding may move a score: copies of one image are decided equally, in
    every batch.

    >>> round(threshold(np.arange(1.0, 100.0), 0.05), 1)
    5.0
    """
    if unseen:
        place = max(1, math.floor(false_alarm_rate * (len(normality) + 1) + 1e-9))
        value = float(np.partition(normality, place - 1)[place - 1])
    else:
        value = float(np.quantile(normality, false_alarm_rate))
    return value - max(noise, rounding(normality, value))


def rounding(normality: Scores, value: float) -> float:
    """How far a score near ``value`` may move when its image stands in another batch."""
    return 1e-6 * abs(value) + 1e-4 * float(np.std(normality)) + 1e-12
