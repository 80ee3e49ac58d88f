"""Metrics by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from anomirror.errors import InputError
from anomirror.metrics import aupr, auroc, evaluate, fpr_at_95

RNG = np.random.default_rng(0)
NORMAL, ANOMALIES = RNG.normal(1, 1, 400), RNG.normal(-1, 1, 150)


def test_by_hand() -> None:
    normal, anomalies = np.array([3.0, 2.0, 1.0, 0.0]), np.array([0.5, -1.0])
    assert auroc(normal, anomalies) == 7 / 8
    assert aupr(normal, anomalies) == pytest.approx((1.0 + 2 / 3) / 2)
    assert fpr_at_95(normal, anomalies) == 0.25


def test_auroc_and_fpr_agree_with_the_roc_curve() -> None:
    truth = np.r_[np.zeros(400), np.ones(150)]
    fpr, tpr, _ = roc_curve(truth, -np.r_[NORMAL, ANOMALIES], drop_intermediate=False)
    assert auroc(NORMAL, ANOMALIES) == pytest.approx(roc_auc_score(truth, -np.r_[NORMAL, ANOMALIES]))
    assert fpr_at_95(NORMAL, ANOMALIES) == fpr[np.argmax(tpr >= 0.95)]


def test_intervals_hold_the_value_and_are_reproducible() -> None:
    metrics = evaluate(NORMAL, ANOMALIES)
    assert metrics.auroc_ci[0] < metrics.auroc < metrics.auroc_ci[1]
    assert metrics.fpr95_ci[0] <= metrics.fpr95 <= metrics.fpr95_ci[1]
    assert metrics == evaluate(NORMAL, ANOMALIES)


def test_missing_groups_and_nan_are_refused() -> None:
    with pytest.raises(InputError, match="no scores of anomalous"):
        auroc(NORMAL, np.array([]))
    with pytest.raises(InputError, match="1 scores of normal images are NaN"):
        auroc(np.array([np.nan, 1.0]), ANOMALIES)
