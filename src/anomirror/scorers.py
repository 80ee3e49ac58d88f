"""From a detector's raw statistic to its score: the same step for every method.

A raw score is high for anomalies; a normality is high for normal images.
"""

from __future__ import annotations

import copy
import math
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy.stats import median_abs_deviation

from anomirror.errors import SettingError

Scores = npt.NDArray[np.float64]

Domain = Literal["real", "nonnegative"]
Sided = Literal["one", "two"]


@runtime_checkable
class Scorer(Protocol):
    """Fitted on the raw scores of normal images, turns raw scores into normalities."""

    @property
    def domain(self) -> Domain:
        """Raw scores that it can read."""
        ...

    @property
    def sided(self) -> Sided:
        """Whether only a high raw score is anomalous ("one"), or a low one as well ("two")."""
        ...

    def fit(self, raw: Scores) -> Scorer: ...

    def normality(self, raw: Scores) -> Scores: ...

    def state(self) -> dict[str, float]:
        """Fitted numbers, as they are stored with a model."""
        ...

    def restore(self, state: dict[str, float]) -> Scorer: ...


class Negate:
    """Normality is the negative raw score: one-sided, only a high raw score is anomalous.

    >>> Negate().fit(np.zeros(3)).normality(np.array([1.0, 2.0]))
    array([-1., -2.])
    """

    domain: Domain = "real"
    sided: Sided = "one"

    def fit(self, raw: Scores) -> Negate:
        return self

    def normality(self, raw: Scores) -> Scores:
        return -raw

    def state(self) -> dict[str, float]:
        return {}

    def restore(self, state: dict[str, float]) -> Negate:
        return self

    def __repr__(self) -> str:
        return "Negate()"


class GaussianDensity:
    """The A-score, Eq. (6).

    Log density of the raw score under a Gaussian fitted to the normal ones; two-sided.

    Notes
    -----
    The paper uses the density itself, which is exactly 0 in float64 beyond about 38 sigma, so that
    all far outliers tie. The logarithm orders images the same way and never ties.

    >>> scorer = GaussianDensity().fit(np.array([-1.0, 1.0]))
    >>> scorer.normality(np.array([0.0, 50.0])).round(2).tolist()
    [-0.92, -1250.92]
    """

    domain: Domain = "real"
    sided: Sided = "two"

    mean_: float
    std_: float

    def fit(self, raw: Scores) -> GaussianDensity:
        self.mean_ = float(np.mean(raw))
        self.std_ = _positive(float(np.std(raw)), self.mean_)
        return self

    def normality(self, raw: Scores) -> Scores:
        return _log_density((raw - self.mean_) / self.std_, self.std_)

    def state(self) -> dict[str, float]:
        return {"mean": self.mean_, "std": self.std_}

    def restore(self, state: dict[str, float]) -> GaussianDensity:
        self.mean_, self.std_ = float(state["mean"]), float(state["std"])
        if not self.std_ > 0:
            raise ValueError(f"the scorer's standard deviation is {self.std_}")
        return self

    def __repr__(self) -> str:
        return "GaussianDensity()"


class LogGaussianDensity:
    """Log density of log(raw) under a Gaussian whose centre is the median and whose width is the
    scaled MAD; two-sided.

    Notes
    -----
    For raw scores that are at least 0 and have a long tail, such as a ratio: their mean is that of
    a few large values, and a Gaussian around it calls the commonest normal images too low. On the
    logarithm half as much and twice as much are equally far, and the median leaves the tail alone.
    The width only scales the scores; their order, and so every decision, comes from the logarithm
    and its centre. A raw score below a millionth of the median counts as that.

    >>> scorer = LogGaussianDensity().fit(np.array([0.5, 1.0, 2.0, 1000.0, 0.001]))
    >>> scorer.normality(np.array([0.25, 1.0, 4.0])).round(2).tolist()
    [-1.86, -0.95, -1.86]
    """

    domain: Domain = "nonnegative"
    sided: Sided = "two"

    floor_: float
    median_: float
    scale_: float

    def fit(self, raw: Scores) -> LogGaussianDensity:
        if (raw < 0).any():
            raise SettingError(
                "scorer='log-gaussian' needs raw scores of at least 0, and the lowest is "
                f"{raw.min():g}; use scorer='gaussian'"
            )
        self.floor_ = 1e-6 * (float(np.median(raw)) or float(raw.max()) or 1.0)
        logs = self._log(raw)
        self.median_ = float(np.median(logs))
        # 0 if half of them are equal
        width = float(median_abs_deviation(logs, scale="normal")) or float(np.std(logs))
        self.scale_ = _positive(width, self.median_)
        return self

    def normality(self, raw: Scores) -> Scores:
        return _log_density((self._log(raw) - self.median_) / self.scale_, self.scale_)

    def _log(self, raw: Scores) -> Scores:
        logs: Scores = np.log(np.maximum(raw, self.floor_))
        return logs

    def state(self) -> dict[str, float]:
        return {"floor": self.floor_, "median": self.median_, "scale": self.scale_}

    def restore(self, state: dict[str, float]) -> LogGaussianDensity:
        self.floor_, self.median_, self.scale_ = (
            float(state[name]) for name in ("floor", "median", "scale")
        )
        if not (self.floor_ > 0 and self.scale_ > 0):
            raise ValueError(f"the scorer's floor is {self.floor_} and its scale {self.scale_}")
        return self

    def __repr__(self) -> str:
        return "LogGaussianDensity()"


def _positive(width: float, centre: float) -> float:
    """The width, or next to nothing if there is none."""
    return max(width, 1e-12 * max(abs(centre), 1.0))


def _log_density(standard: Scores, width: float) -> Scores:
    """Of a Gaussian with that width, at so many widths from its centre."""
    return -0.5 * standard**2 - math.log(width) - 0.5 * math.log(2 * math.pi)


SCORERS: dict[str, type[Negate] | type[GaussianDensity] | type[LogGaussianDensity]] = {
    "negate": Negate,
    "gaussian": GaussianDensity,
    "log-gaussian": LogGaussianDensity,
}
"""Every scorer by the name that presets, the command line and model files use."""


SIDES = ("one-sided", "two-sided")
"""Both ways to read a raw score; of AMA they are the R-score and the A-score."""


def both_sides(own: Scorer) -> dict[str, Scorer]:
    """A scorer for each of :data:`SIDES`, to be fitted.

    Two-sided is a detector's own one if that is a density.
    """
    return {
        "one-sided": Negate(),
        "two-sided": copy.deepcopy(own) if own.sided == "two" else GaussianDensity(),
    }


def make_scorer(scorer: str | Scorer) -> Scorer:
    """A fresh scorer from its name, or a copy of an instance, with its settings."""
    if isinstance(scorer, str):
        if scorer not in SCORERS:
            raise SettingError(f"scorer={scorer!r}: choose one of {', '.join(SCORERS)}")
        return SCORERS[scorer]()
    if isinstance(scorer, Scorer) and not isinstance(scorer, type):
        return copy.deepcopy(scorer)
    raise SettingError(
        f"scorer={scorer!r}: expected a name ({', '.join(SCORERS)}) or a scorer such as "
        "GaussianDensity()"
    )


def scorer_name(scorer: Scorer) -> str:
    """The registered name of a scorer's class."""
    for name, kind in SCORERS.items():
        if type(scorer) is kind:
            return name
    raise SettingError(
        f"{type(scorer).__name__} is not a registered scorer, so a model with it cannot be saved"
    )
