"""Decisions about a stream: which images are anomalies, and whether normal images have changed."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import Literal

import numpy as np

from anomirror.decisions import check_fdr, parts
from anomirror.errors import SettingError
from anomirror.scorers import Scores

OnlineMethod = Literal["lord", "saffron"]


class OnlineSelection:
    """Anomalies in a stream: of all that were selected so far, ``fdr`` are normal at most, on
    average, at every moment.

    Parameters
    ----------
    fdr : false discovery rate, in (0, 1).
    method : "saffron" spends nothing on images that are plainly normal, and finds more where
        anomalies come often; "lord" is LORD++. Both suppose independent p-values.

    References
    ----------
    Ramdas, Yang, Wainwright, Jordan: Online control of the false discovery rate with decaying
    memory, NeurIPS 2017 (LORD++). Ramdas, Zrnic, Wainwright, Jordan: SAFFRON, ICML 2018.

    >>> stream = OnlineSelection(0.1)
    >>> [stream.select(p) for p in (1e-5, 0.8, 1e-4, 0.03, 0.6)]
    [True, False, True, False, False]
    """

    def __init__(self, fdr: float, method: OnlineMethod = "saffron") -> None:
        check_fdr(fdr)
        if method not in ("lord", "saffron"):
            raise SettingError(f"method={method!r}: choose lord or saffron")
        self.fdr, self.method = fdr, method
        self._wealth = fdr / 2
        self._seen = 0
        """Images that the sequence of levels counts: for SAFFRON those with p > 1/2."""
        self._selected: list[int] = []
        """That count when each was selected."""

    @property
    def level(self) -> float:
        """The p-value up to which the next image is selected."""
        ages = self._seen + 1 - np.array(self._selected, dtype=float)
        level = self._wealth * self._weight(np.array([self._seen + 1.0]))[0]
        if len(ages):
            gained = self._weight(ages)
            level += (self.fdr - self._wealth) * gained[0] + self.fdr * gained[1:].sum()
        if self.method == "saffron":
            return float(min(0.5, 0.5 * level))
        return float(level)

    def select(self, p_value: float) -> bool:
        """Whether the next image of the stream is called an anomaly.

        Raises
        ------
        SettingError : the p-value is not in [0, 1]; nothing is counted then.
        """
        if not 0 <= p_value <= 1:
            raise SettingError(f"p_value={p_value!r}: expected a number in [0, 1]")
        chosen = p_value <= self.level
        self._seen += self.method == "lord" or p_value > 0.5
        if chosen:
            self._selected.append(self._seen)
        return bool(chosen)

    def _weight(self, ages: np.ndarray) -> np.ndarray:
        """gamma_j of a sequence that sums to 1."""
        if self.method == "saffron":
            return np.asarray(0.4374901658 * ages**-1.6)
        logs = np.log(np.maximum(ages, 1.0))
        return np.asarray(
            0.07720838 * np.log(np.maximum(ages, 2.0)) / (ages * np.exp(np.sqrt(logs)))
        )


class DriftMonitor:
    """Whether images of a stream still come from where the calibration images do.

    :attr:`e_value` bets against it: while they do, it exceeds 1 / alpha with a probability of at
    most alpha, however long and however often one looks (Ville). It grows when scores move.

    Parameters
    ----------
    calibration : ``(n,)`` normalities of normal images that no fit has seen.
    random_state : seed of what breaks ties among scores.
    two_sided : whether it grows when scores rise, too. False where folds calibrate: new images
        score a little higher than those, which is no drift.
    by : ``(n,)`` categories of the calibration images, such as cameras: each image of the stream is
        compared with those of its own, so that another mixture of cameras is no drift.

    Notes
    -----
    Each image gets its p-value among the calibration images *and* all images before it, ties
    broken at random: these are independent and uniform while all are exchangeable. On them bets the
    simple jumper martingale (Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman: Retrain or not
    retrain, 2021), a mixture of 1 + e (p - 1/2) for e in {-1, 0, 1}; for e in {-1, 0} it is a
    supermartingale as well where p-values are too high.

    >>> rng = np.random.default_rng(0)
    >>> monitor = DriftMonitor(rng.normal(size=200))
    >>> monitor.update(rng.normal(size=200)) < 20 < monitor.update(rng.normal(-1, 1, size=100))
    True
    """

    jump = 0.01

    def __init__(
        self,
        calibration: Scores,
        random_state: int = 0,
        *,
        two_sided: bool = True,
        by: Sequence[object] | np.ndarray | None = None,
    ) -> None:
        names = None if by is None else np.array([str(each) for each in by])
        self._sorted = {
            category: np.sort(calibration[members]).tolist()
            for category, members in parts(names, len(calibration))
        }
        self._rng = np.random.default_rng(random_state)
        self._stakes = np.array([-1.0, 0.0, 1.0] if two_sided else [-1.0, 0.0])
        self._log_capital = np.full(len(self._stakes), -math.log(len(self._stakes)))
        self.history: list[float] = []
        """log10 of the e-value after each image."""

    @property
    def e_values(self) -> Scores:
        """After each image, ``(n,)``; at most 1e308."""
        return _e_values(self.history)

    @property
    def e_value(self) -> float:
        """After the last image."""
        return float(_e_values(self.history[-1:] or [0.0])[0])

    @property
    def highest(self) -> float:
        """The highest e-value so far: an alarm at 1 / alpha is one at any time."""
        return float(_e_values([max(self.history, default=0.0)])[0])

    def update(self, normality: Scores, by: Sequence[object] | np.ndarray | None = None) -> float:
        """Take the next images of the stream, in order; returns :attr:`e_value`.

        NaN counts as lower than every score.

        Parameters
        ----------
        by : their categories, where the calibration images have some.

        Raises
        ------
        SettingError : a category of which there is no calibration image.
        """
        categories = [""] * len(normality) if by is None else [str(each) for each in by]
        if unknown := set(categories) - self._sorted.keys():
            what = "give by=, a category for each image" if by is None else f"not {min(unknown)!r}"
            raise SettingError(f"calibration images are of {sorted(self._sorted)}: {what}")
        if len(categories) != len(normality):
            raise SettingError(f"by: {len(categories)} categories of {len(normality)} images")
        values = np.where(np.isnan(normality), -np.inf, normality).tolist()
        for value, category in zip(values, categories, strict=True):
            p = self._p_value(value, self._sorted[category])
            all_of_it = np.logaddexp.reduce(self._log_capital)
            mixed = all_of_it + math.log(self.jump / len(self._stakes))
            kept = self._log_capital + math.log1p(-self.jump)
            self._log_capital = np.logaddexp(kept, mixed) + np.log1p(self._stakes * (p - 0.5))
            self.history.append(float(np.logaddexp.reduce(self._log_capital)) / math.log(10))
        return self.e_value

    def _p_value(self, value: float, others: list[float]) -> float:
        lower, upper = bisect_left(others, value), bisect_right(others, value)
        insort(others, value)
        return (lower + self._rng.uniform() * (upper - lower + 1)) / len(others)

    def since(self) -> int | None:
        """Image from which on the e-value grew to its highest: its last minimum before it.

        None where it never reached 20, which no drift explains worse than one in twenty.
        """
        if not self.history or max(self.history) < math.log10(20):
            return None
        peak = int(np.argmax(self.history))
        return int(np.argmin(self.history[: peak + 1]))


def _e_values(log10: Sequence[float]) -> Scores:
    return np.asarray(10.0 ** np.minimum(log10, 308.0))
