"""What AMA's R-score owes to the structure of an image, and how it is taken off.

The correction is ours, not the paper's.

As reconstructions become good, the critic looks at ever finer detail, and R comes to measure how
much structure an image has. S(x), what R would be if none of it were reconstructed, says how much;
R is divided by the power of S with which it grows among normal images (docs/references.md).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from anomirror.images import within_border

FEWEST = 32
"""Normal images of which a power is fitted, at least; nearly blank ones do not count."""


def flat_in_mean_colour(x: Tensor) -> Tensor:
    """Each image ``(b, c, h, w)`` flat in its mean colour within its black border, which padding
    is.
    """
    inside = within_border(x).to(x.dtype)
    mean = ((x + 1) * inside).sum((2, 3), keepdim=True) / inside.sum(
        (2, 3), keepdim=True
    ).clamp_min(1)
    return mean * inside - 1


def corrected(r: np.ndarray, s: np.ndarray, floor: float, power: float) -> np.ndarray:
    """R(x) / max(S(x), floor)^power, ``(n,)``.

    >>> corrected(np.array([8.0, 8.0]), np.array([4.0, 0.0]), 1.0, 0.5).tolist()
    [4.0, 8.0]
    """
    return np.asarray(r / np.maximum(s, floor) ** power)


def slope(r: np.ndarray, s: np.ndarray) -> float:
    """Least squares of log r on log s, both ``(n,)`` and positive.

    The power of s with which r grows; 0 where s is all one.

    >>> s = np.array([1.0, 2.0, 4.0])
    >>> round(slope(3 * s**0.5, s), 6), slope(s, np.ones(3))
    (0.5, 0.0)
    """
    log_r, log_s = (np.log(np.maximum(values, np.finfo(np.float64).tiny)) for values in (r, s))
    return float(np.polyfit(log_s, log_r, 1)[0]) if log_s.std() > 1e-6 else 0.0


def floor_of(s: np.ndarray) -> float:
    """What stands in for a smaller S of an image; normal ones below it are nearly blank."""
    return max(0.01 * float(s.mean()), 1e-3)


def usual_power(r: np.ndarray, s: np.ndarray) -> float:
    """The slope among normal images that are not all but blank, within [0, 1].

    What is fitted neither rewards structure, nor divides by more than all of it. Of fewer than 32
    images it is one half, in the middle: their slope is luck.

    >>> s = np.linspace(1, 9, 32)
    >>> usual_power(s**1.5, s), usual_power(1 / s, s), usual_power(s[:31], s[:31])
    (1.0, 0.0, 0.5)
    """
    structured = s > floor_of(s)
    return (
        min(max(slope(r[structured], s[structured]), 0.0), 1.0)
        if structured.sum() >= FEWEST
        else 0.5
    )
