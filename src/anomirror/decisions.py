"""From scores of normal images that no fit has seen to decisions with a guarantee.

A normality is high for normal images. ``calibration`` are normalities of normal images that no fit
has seen, ``(n,)``; a new normal image is exchangeable with them. Then its conformal p-value is at
most alpha with a probability of at most alpha, for every alpha and whatever the distribution of
the scores is (Vovk, Gammerman, Shafer 2005; split conformal prediction).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.stats import beta, false_discovery_control, iqr, ks_2samp, ksone

from anomirror.errors import SettingError
from anomirror.scorers import Scores

Guarantee = Literal["expected", "confident"]
"""What a false-alarm rate promises: on average over calibration sets, or, with 95 % confidence, of
this very calibration set."""

Selection = Literal["bh", "storey", "by"]

CONFIDENCE = 0.95
"""Of a bound on the false-alarm rate of one calibration set."""


# ---------------------------------------------------------------- p-values


def p_values(calibration: Scores, normality: Scores, *, noise: float = 0.0) -> Scores:
    """Conformal p-values (1 + #{calibration <= normality}) / (n + 1), ``(m,)``; low is anomalous.

    Parameters
    ----------
    calibration : ``(n,)``.
    normality : ``(m,)`` of new images. NaN has the lowest p-value, 1 / (n + 1).
    noise : what rounding may move a score at least: scores that differ by less are ties, so that
        copies of one image have one p-value in every batch.

    >>> p_values(np.arange(1.0, 5.0), np.array([0.0, 1.0, 2.5, 9.0, np.nan])).round(2).tolist()
    [0.2, 0.4, 0.6, 1.0, 0.2]
    """
    table = tied(calibration, noise)
    lower = np.searchsorted(table, normality, side="right")
    return (1.0 + np.where(np.isnan(normality), 0, lower)) / (len(table) + 1.0)


def tied(calibration: Scores, noise: float = 0.0) -> Scores:
    """Sorted scores, lowered by what rounding may move each: what is above a place is not below it
    in another batch.
    """
    return np.sort(calibration - np.maximum(noise, _rounding(calibration, calibration)))


def _rounding(calibration: Scores, values: Scores) -> Scores:
    """How far scores near ``values`` may move when their images stand in another batch."""
    # of the middle half: one score far off is no spread of all
    spread = float(iqr(calibration, scale="normal")) or float(np.std(calibration))
    return np.asarray(1e-6 * np.abs(values) + 1e-4 * spread + 1e-12)


def grouped_p_values(
    calibration: Scores,
    normality: Scores,
    calibration_groups: np.ndarray,
    groups: np.ndarray,
    *,
    noise: float = 0.0,
) -> Scores:
    """Conformal p-values within groups such as cameras, shifts or products: valid in each of them.

    Parameters
    ----------
    calibration_groups, groups : ``(n,)`` and ``(m,)``, of the calibration and of the new images.

    Raises
    ------
    SettingError : a group of new images has no calibration image.

    >>> day, night = np.array([1.0, 2.0, 3.0]), np.array([-9.0, -8.0, -7.0])
    >>> of = np.array(["day"] * 3 + ["night"] * 3)
    >>> new, camera = np.array([-8.5, -8.5]), np.array(["day", "night"])
    >>> grouped_p_values(np.r_[day, night], new, of, camera).tolist()
    [0.25, 0.5]
    """
    values = np.empty(len(normality))
    for members, new in within_groups(calibration_groups, groups):
        values[new] = p_values(calibration[members], normality[new], noise=noise)
    return values


def within_groups(
    calibration_groups: np.ndarray, groups: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which calibration images, ``(n,)`` bool, and which new ones, ``(m,)`` bool, are of one group:
    for each group of new images.

    Raises
    ------
    SettingError : a group of new images has no calibration image.
    """
    for group in np.unique(groups):
        members = calibration_groups == group
        if not members.any():
            raise SettingError(f"group {group!s}: no normal image of it calibrates; give some")
        yield members, groups == group


def parts(categories: np.ndarray | None, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each category of so many images, and which ones are of it, ``(count,)`` bool; without
    categories all of them, under the empty name.
    """
    if categories is None:
        yield "", np.ones(count, bool)
        return
    for category in np.unique(categories).tolist():
        yield category, categories == category


def score_otherwise(
    calibration: Scores,
    values: Scores,
    calibration_groups: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> float:
    """p-value of Kolmogorov and Smirnov's two-sample test: whether new images score as those that
    calibrate; within groups that both have the least of all, by Bonferroni (1 where there is none).
    """
    if calibration_groups is None or groups is None:
        return float(ks_2samp(calibration, values).pvalue)
    tests = [
        float(ks_2samp(calibration[calibration_groups == each], values[groups == each]).pvalue)
        for each in np.intersect1d(calibration_groups, groups)
    ]
    return min([1.0, *(len(tests) * p for p in tests)])


# ---------------------------------------------------------------- one threshold


def least_rate(count: int, guarantee: Guarantee = "expected") -> float:
    """The lowest false-alarm rate that ``count`` calibration images can promise.

    1 / (n + 1) on average, and 1 - .05^(1/n) with 95 % confidence.

    >>> least_rate(19), round(least_rate(59, "confident"), 3)
    (0.05, 0.05)
    """
    return 1.0 / (count + 1) if guarantee == "expected" else rate_bound(count, 1)


def least_count(rate: float, guarantee: Guarantee = "expected") -> int:
    """Calibration images without which a false-alarm rate cannot be promised.

    >>> [least_count(rate) for rate in (0.1, 0.05, 0.01)]
    [9, 19, 99]
    >>> [least_count(rate, "confident") for rate in (0.1, 0.05, 0.01)]
    [29, 59, 299]
    """
    if guarantee == "expected":
        return math.ceil(1.0 / rate - 1e-9) - 1
    return math.ceil(math.log(1.0 - CONFIDENCE) / math.log1p(-rate) - 1e-9)


def place(count: int, rate: float, guarantee: Guarantee = "expected") -> int:
    """k: what lies below the k-th lowest of ``count`` normalities is called an anomaly.

    The largest k whose rate of false alarms is at most ``rate``: on average, k / (n + 1), or with
    95 % confidence (:func:`rate_bound`). 0: no k is.

    >>> place(99, 0.05), place(99, 0.05, "confident"), place(10, 0.05)
    (5, 2, 0)
    """
    most = math.floor(rate * (count + 1) + 1e-9)
    if guarantee == "expected":
        return most
    places = np.arange(1, most + 1)
    return int(np.count_nonzero(_rate_quantile(count, places, CONFIDENCE) <= rate + 1e-12))


def place_taken(count: int, rate: float, guarantee: Guarantee = "expected") -> int:
    """:func:`place`, and the lowest one where no place keeps the rate.

    >>> place_taken(99, 0.05), place_taken(10, 0.05)
    (5, 1)
    """
    return max(1, place(count, rate, guarantee))


def rate_bound(count: int, at: int, confidence: float = CONFIDENCE) -> float:
    """Bound on the true false-alarm rate of the threshold at the k-th lowest calibration score.

    Given the calibration set the rate is Beta(k, n + 1 - k) distributed over calibration sets; this
    is its quantile (Clopper and Pearson's bound, with k - 1 images below the threshold).

    >>> round(rate_bound(99, 5), 4)
    0.0901
    """
    return float(_rate_quantile(count, np.asarray(at), confidence))


def highest_rate(count: int, rate: float, guarantee: Guarantee = "expected") -> float:
    """Bound on the true false-alarm rate of the threshold that is taken for a rate: of
    :func:`place_taken`, with 95 % confidence.

    >>> round(highest_rate(199, 0.05), 3)
    0.078
    """
    return rate_bound(count, place_taken(count, rate, guarantee))


def rate_band(count: int, confidence: float = CONFIDENCE) -> np.ndarray:
    """Bounds on the true false-alarm rates of all thresholds at once, ``(n,)`` for k = 1..n.

    However the threshold is chosen after a look at the scores, its rate is below the bound with
    this confidence: (k - 1) / n + d, where d is the quantile of the one-sided Kolmogorov-Smirnov
    statistic.

    >>> rate_band(200)[[0, 9, 199]].round(3).tolist()
    [0.086, 0.131, 1.0]
    """
    d = float(ksone.ppf(confidence, count))
    return np.minimum(1.0, np.arange(count) / count + d)


def _rate_quantile(count: int, at: np.ndarray, confidence: float) -> np.ndarray:
    return np.asarray(beta.ppf(confidence, at, count + 1 - at))


def threshold(
    calibration: Scores,
    rate: float,
    guarantee: Guarantee = "expected",
    *,
    unseen: bool = True,
    noise: float = 0.0,
) -> float:
    """Threshold on normalities: what lies below it is called an anomaly.

    Parameters
    ----------
    rate : share of normal images that may be called anomalies, in (0, 0.5].
    unseen : whether no fit has seen these images. Then an image lies below the threshold where its
        p-value is at most ``rate``, or at most what :func:`place` allows; where nothing can be
        promised at this rate the lowest score is taken: see :func:`least_rate`. Of images that were
        fitted it is their quantile, which promises nothing.

    >>> round(threshold(np.arange(1.0, 100.0), 0.05), 1)
    5.0
    """
    if unseen:
        at = place_taken(len(calibration), rate, guarantee)
        return float(tied(calibration, noise)[at - 1])
    value = np.quantile(calibration, [rate])
    return float(value[0] - max(noise, float(_rounding(calibration, value)[0])))


# ---------------------------------------------------------------- many images at once


def check_fdr(fdr: float) -> None:
    """Refuse what is no false discovery rate.

    Raises
    ------
    SettingError : it is not in (0, 1).
    """
    if not 0 < fdr < 1:
        raise SettingError(f"fdr={fdr!r}: expected a number in (0, 1)")


def select(values: Scores, fdr: float, method: Selection = "bh") -> np.ndarray:
    """Anomalies among many images, ``(m,)`` bool: of those that are selected, ``fdr`` are normal
    at most, on average.

    Parameters
    ----------
    values : ``(m,)`` p-values from one calibration set.
    fdr : false discovery rate, in (0, 1).
    method : "bh", Benjamini and Hochberg, holds for conformal p-values (Bates, Candes, Lei, Romano,
        Sesia 2023); "storey" estimates the share of normal images first and selects more where
        anomalies are many; "by", Benjamini and Yekutieli, holds for p-values of any dependence.

    >>> select(np.array([0.01, 0.02, 0.5, 0.9]), 0.1).tolist()
    [True, True, False, False]
    """
    check_fdr(fdr)
    if method not in ("bh", "storey", "by"):
        raise SettingError(f"method={method!r}: choose bh, storey or by")
    if not len(values):
        return np.zeros(0, bool)
    if method == "storey":
        fdr = min(1.0, fdr / normal_share(values))
    adjusted = false_discovery_control(values, method="by" if method == "by" else "bh")
    return np.asarray(adjusted <= fdr + 1e-12)


def normal_share(values: Scores, beyond: float = 0.5) -> float:
    """Storey's estimate of the share of normal images, from p-values, in (0, 1].

    (1 + #{p > lambda}) / (m (1 - lambda)): anomalies have few p-values beyond lambda.

    >>> normal_share(np.r_[np.full(50, 0.01), np.linspace(0.01, 1, 50)])
    0.52
    """
    return min(1.0, float(1 + np.sum(values > beyond)) / (len(values) * (1.0 - beyond)))


def enough_to_select(count: int, images: int, fdr: float) -> int | None:
    """Calibration images without which a single anomaly among ``images`` cannot be selected.

    None if ``count`` are enough: the lowest p-value, 1 / (n + 1), is at most fdr / m.

    >>> enough_to_select(100, 50, 0.1), enough_to_select(500, 50, 0.1)
    (499, None)
    """
    needed = math.ceil(images / fdr - 1e-9) - 1
    return None if count >= needed else needed
