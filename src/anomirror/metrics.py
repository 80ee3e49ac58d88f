"""Figures of merit for anomaly scores; scikit-learn computes them, this adds intervals and FPR@95.

All take normalities (high = normal) of normal and of anomalous images.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from anomirror.errors import InputError
from anomirror.scoring import Scores


@dataclass(frozen=True)
class Metrics:
    """``auroc``, ``aupr`` (anomalies positive) and ``fpr95`` in [0, 1], each with a 95 % interval."""

    auroc: float
    auroc_ci: tuple[float, float]
    aupr: float
    aupr_ci: tuple[float, float]
    fpr95: float
    fpr95_ci: tuple[float, float]

    def as_dict(self) -> dict[str, float | list[float]]:
        """For JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def auroc(normal: Scores, anomalies: Scores) -> float:
    """Probability that a random anomaly has a lower normality than a random normal image; ties count half."""
    _check(normal, anomalies)
    return float(roc_auc_score(_truth(normal, anomalies), -np.concatenate([normal, anomalies])))


def aupr(normal: Scores, anomalies: Scores) -> float:
    """Average precision with anomalies as positives; depends on their share."""
    _check(normal, anomalies)
    return float(average_precision_score(_truth(normal, anomalies), -np.concatenate([normal, anomalies])))


def fpr_at_95(normal: Scores, anomalies: Scores) -> float:
    """FPR@95: share of normal images flagged at the threshold that flags at least 95 % of the anomalies."""
    _check(normal, anomalies)
    threshold = np.sort(anomalies)[math.ceil(0.95 * len(anomalies)) - 1]
    return float(np.mean(normal <= threshold))


def evaluate(normal: Scores, anomalies: Scores, *, resamples: int = 500, seed: int = 0) -> Metrics:
    """All metrics, with 95 % percentile intervals of a bootstrap over images (both groups resampled)."""
    _check(normal, anomalies)
    rng = np.random.default_rng(seed)
    functions = (auroc, aupr, fpr_at_95)
    drawn = np.array(
        [
            [f(*sample) for f in functions]
            for sample in ((rng.choice(normal, len(normal)), rng.choice(anomalies, len(anomalies))) for _ in range(resamples))
        ]
    )
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    point = [f(normal, anomalies) for f in functions]
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Metrics(point[0], intervals[0], point[1], intervals[1], point[2], intervals[2])


def _truth(normal: Scores, anomalies: Scores) -> np.ndarray:
    return np.concatenate([np.zeros(len(normal)), np.ones(len(anomalies))])


def _check(normal: Scores, anomalies: Scores) -> None:
    for name, scores in (("normal", normal), ("anomalous", anomalies)):
        if len(scores) == 0:
            raise InputError(f"no scores of {name} images: both kinds are needed")
        if np.isnan(scores).any():
            raise InputError(f"{int(np.isnan(scores).sum())} scores of {name} images are NaN")
