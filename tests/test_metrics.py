"""Metrics by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from anomirror.errors import InputError
from anomirror.metrics import (
    aupr,
    aupr_normal,
    auroc,
    auroc_interval,
    bootstrap,
    evaluate,
    fpr_at_95,
)

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
    assert auroc(NORMAL, ANOMALIES) == pytest.approx(
        roc_auc_score(truth, -np.r_[NORMAL, ANOMALIES])
    )
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


TIED = (RNG.integers(0, 6, 300).astype(float), RNG.integers(-3, 4, 120).astype(float))


def test_every_metric_is_exact_on_ties_and_agrees_with_scikit_learn() -> None:
    for normal, anomalies in ((NORMAL, ANOMALIES), TIED):
        truth, scores = (
            np.r_[np.zeros(len(normal)), np.ones(len(anomalies))],
            -np.r_[normal, anomalies],
        )
        metrics = evaluate(normal, anomalies, resamples=2)
        assert metrics.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
        assert metrics.aupr == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
        assert metrics.aupr_normal == pytest.approx(
            average_precision_score(1 - truth, -scores), abs=1e-12
        )
        pairs = (anomalies[:, None] < normal).mean() + 0.5 * (anomalies[:, None] == normal).mean()
        assert metrics.auroc == pytest.approx(pairs, abs=1e-12)


def test_a_resample_that_draws_every_image_once_has_the_metrics_themselves() -> None:
    class Once:
        def multinomial(self, count: int, _: np.ndarray) -> np.ndarray:
            return np.ones(count)

    for normal, anomalies in ((NORMAL, ANOMALIES), TIED):
        found = bootstrap(normal, anomalies, 1, Once())[0]  # type: ignore[arg-type]
        expected = [f(normal, anomalies) for f in (aupr, aupr_normal)]
        assert found == pytest.approx(expected, abs=1e-12)


def test_delongs_interval_is_that_of_the_pairs_and_holds_the_truth_as_often_as_it_says() -> None:
    normal, anomalies = TIED
    wins = (anomalies[:, None] < normal) + 0.5 * (anomalies[:, None] == normal)
    variance = wins.mean(1).var(ddof=1) / len(anomalies) + wins.mean(0).var(ddof=1) / len(normal)
    value = wins.mean()
    logit = np.log(value / (1 - value)) + np.array([-1, 1]) * 1.959964 * np.sqrt(variance) / (
        value * (1 - value)
    )
    assert auroc_interval(normal, anomalies) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)

    truth, held = 0.8413447, 0  # P(a < n) for means one deviation of their difference apart
    for _ in range(300):
        low, high = auroc_interval(RNG.normal(np.sqrt(2), 1, 60), RNG.normal(0, 1, 40))
        held += low <= truth <= high
    assert 0.91 <= held / 300 <= 0.985


def test_intervals_of_groups_that_do_not_overlap_or_are_tiny() -> None:
    """No variance is no certainty: they are as wide as their smaller group allows."""
    for count in (3, 9, 2000):
        low, high = auroc_interval(np.ones(count), np.zeros(5000))
        assert (low, high) == (pytest.approx(0.025 ** (1 / count)), 1.0)
        assert auroc_interval(np.zeros(count), np.ones(5000)) == (0.0, pytest.approx(1 - low))
    tied = auroc_interval(np.zeros(100), np.zeros(300))
    assert tied == pytest.approx((0.398, 0.602), abs=1e-3)
    assert auroc_interval(np.ones(1), np.zeros(9)) == (pytest.approx(0.025), 1.0)
    with pytest.raises(InputError, match="1 scores of anomalous images are infinite"):
        auroc(NORMAL, np.array([-np.inf, 1.0]))
