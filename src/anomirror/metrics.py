"""Figures of merit for anomaly scores; scikit-learn computes them, this adds intervals and FPR@95.

All take normalities (high = normal) of normal and of anomalous images as they are: no sigmoid, no
scaling by the tested batch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import beta, binom, norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from anomirror.errors import InputError
from anomirror.scorers import Scores


@dataclass(frozen=True)
class Metrics:
    """In [0, 1], each with a 95 % interval.

    ``auroc``, ``aupr`` (anomalies positive), ``fpr95``, ``aupr_normal``.
    """

    auroc: float
    auroc_ci: tuple[float, float]
    aupr: float
    aupr_ci: tuple[float, float]
    fpr95: float
    fpr95_ci: tuple[float, float]
    aupr_normal: float = math.nan
    aupr_normal_ci: tuple[float, float] = (math.nan, math.nan)

    def as_dict(self) -> dict[str, float | tuple[float, float]]:
        """Values by name, intervals under the name and ``_ci``."""
        return asdict(self)


def auroc(normal: Scores, anomalies: Scores) -> float:
    """Probability that a random anomaly has a lower normality than a random normal image.

    Ties count half.
    """
    _check(normal, anomalies)
    return float(roc_auc_score(_truth(normal, anomalies), -np.concatenate([normal, anomalies])))


def auroc_interval(normal: Scores, anomalies: Scores, level: float = 0.95) -> tuple[float, float]:
    """Interval of the AUROC after DeLong et al. 1988, by ranks (Sun and Xu 2014); exact on ties.

    Normal on the logit of the AUROC, so that it stays within [0, 1]. Where that says nothing
    (groups that do not overlap, or are all tied: no variance) it is the exact binomial interval of
    as many trials as the smaller group has images.
    """
    _check(normal, anomalies)
    value = auroc(normal, anomalies)
    together = rankdata(-np.concatenate([normal, anomalies]))
    # normal images that each anomaly outranks
    below = (together[len(normal) :] - rankdata(-anomalies)) / len(normal)
    # anomalies that outrank each normal image
    above = 1.0 - (together[: len(normal)] - rankdata(-normal)) / len(anomalies)
    few = min(len(normal), len(anomalies))
    error = (
        math.sqrt(np.var(below, ddof=1) / len(anomalies) + np.var(above, ddof=1) / len(normal))
        if few > 1
        else 0.0
    )
    if error == 0.0 or not 0.0 < value < 1.0:
        return _binomial(value, few, level)
    centre, width = (
        math.log(value / (1 - value)),
        float(norm.ppf(0.5 + level / 2)) * error / (value * (1 - value)),
    )
    low, high = (1.0 / (1.0 + math.exp(-bound)) for bound in (centre - width, centre + width))
    return low, high


def _binomial(share: float, trials: int, level: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of so many trials."""
    hits, tail = share * trials, (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1.0 - tail, hits + 1, trials - hits))
    return low, high


def aupr(normal: Scores, anomalies: Scores) -> float:
    """Average precision with anomalies as positives; depends on their share."""
    _check(normal, anomalies)
    return float(
        average_precision_score(_truth(normal, anomalies), -np.concatenate([normal, anomalies]))
    )


def aupr_normal(normal: Scores, anomalies: Scores) -> float:
    """Average precision with normal images as positives; depends on their share."""
    return aupr(-anomalies, -normal)


def fpr_at_95(normal: Scores, anomalies: Scores) -> float:
    """FPR@95: share of normal images flagged at the threshold that flags at least 95 % of the
    anomalies.
    """
    _check(normal, anomalies)
    threshold = np.sort(anomalies)[math.ceil(0.95 * len(anomalies)) - 1]
    return float(np.mean(normal <= threshold))


def fpr_at_95_interval(
    normal: Scores, anomalies: Scores, level: float = 0.95
) -> tuple[float, float]:
    """Interval of FPR@95 that holds for any distribution, of few images too.

    The threshold that flags 95 % of all anomalies lies between two order statistics of these, and
    the share of normal images below each of the two within an exact binomial interval (Bonferroni
    over both). Of fewer than about 75 anomalies none need lie beyond that threshold, and the upper
    end is 1.
    """
    _check(normal, anomalies)
    part, count, descending = (1.0 + level) / 2.0, len(anomalies), np.sort(anomalies)
    tail = (1.0 - part) / 2.0
    # ranks around the quantile
    first, last = int(binom.ppf(tail, count, 0.95)), int(binom.ppf(1.0 - tail, count, 0.95)) + 1
    low = 0.0
    if first >= 1:
        low = _binomial(float(np.mean(normal <= descending[first - 1])), len(normal), part)[0]
    high = 1.0
    if last <= count:
        high = _binomial(float(np.mean(normal <= descending[last - 1])), len(normal), part)[1]
    return low, high


def _hull(*intervals: tuple[float, float]) -> tuple[float, float]:
    """The smallest interval around all of them."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def evaluate(normal: Scores, anomalies: Scores, *, resamples: int = 500, seed: int = 0) -> Metrics:
    """All metrics, with 95 % intervals.

    DeLong's for AUROC; for FPR@95 :func:`fpr_at_95_interval`; for AUPR percentiles of a bootstrap
    over images of both groups, widened to the exact binomial interval of as many trials as the
    smaller group has images: a bootstrap of a few images that are separated without an error would
    say [1, 1].
    """
    _check(normal, anomalies)
    drawn = bootstrap(normal, anomalies, resamples, np.random.default_rng(seed))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    values, few = (
        (aupr(normal, anomalies), aupr_normal(normal, anomalies)),
        min(len(normal), len(anomalies)),
    )
    ap, ap_normal = (
        _hull((float(low[place]), float(high[place])), _binomial(value, few, 0.95))
        for place, value in enumerate(values)
    )
    return Metrics(
        auroc=auroc(normal, anomalies),
        auroc_ci=auroc_interval(normal, anomalies),
        aupr=values[0],
        aupr_ci=ap,
        fpr95=fpr_at_95(normal, anomalies),
        fpr95_ci=fpr_at_95_interval(normal, anomalies),
        aupr_normal=values[1],
        aupr_normal_ci=ap_normal,
    )


def bootstrap(
    normal: Scores, anomalies: Scores, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """``(resamples, 2)``: AUPR, AUPR of normals.

    Sorted once: a resample is a count for each image.
    """
    scores = np.concatenate([normal, anomalies])
    order = np.argsort(scores, kind="stable")
    anomalous = (order >= len(normal)).astype(float)
    # the last image of each distinct score
    distinct = np.flatnonzero(np.diff(scores[order], append=np.inf))
    drawn = np.empty((resamples, 2))
    for row in drawn:
        counts = np.concatenate(
            [rng.multinomial(n, np.full(n, 1.0 / n)) for n in (len(normal), len(anomalies))]
        )[order]
        # anomalies at or below each score, in ascending order
        flagged = np.cumsum(counts * anomalous)[distinct]
        false = np.cumsum(counts * (1.0 - anomalous))[distinct]
        row[0] = _average_precision(flagged, false)
        row[1] = _average_precision(*_reversed(false, flagged))
    return drawn


def _reversed(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative counts from the other end."""
    first, second = (
        np.cumsum(np.diff(counts, prepend=0.0)[::-1]) for counts in (positives, negatives)
    )
    return first, second


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> float:
    """AUPR from cumulative counts at each distinct score, most suspicious first."""
    return float(
        np.sum(np.diff(positives, prepend=0.0) * positives / np.maximum(positives + negatives, 1.0))
        / positives[-1]
    )


def _truth(normal: Scores, anomalies: Scores) -> np.ndarray:
    return np.concatenate([np.zeros(len(normal)), np.ones(len(anomalies))])


def _check(normal: Scores, anomalies: Scores) -> None:
    for name, scores in (("normal", normal), ("anomalous", anomalies)):
        if len(scores) == 0:
            raise InputError(f"no scores of {name} images: both kinds are needed")
        if np.isnan(scores).any():
            raise InputError(f"{int(np.isnan(scores).sum())} scores of {name} images are NaN")
        if np.isinf(scores).any():
            raise InputError(f"{int(np.isinf(scores).sum())} scores of {name} images are infinite")
