"""scikit-learn's own checks, through a wrapper that makes images of flat rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from tests.methods import CASES
from tests.tiny import METHODS, all_kept, tiny


class FlatImages(OutlierMixin, BaseEstimator):
    """Rows of features as one-line images, scaled to [0, 1] by the range seen in ``fit``."""

    def __init__(
        self, method: str = "pca", contamination: float = 0.1, random_state: int | None = 0
    ) -> None:
        self.method = method
        self.contamination = contamination
        self.random_state = random_state

    def _pictures(self, X: np.ndarray) -> np.ndarray:
        scaled = (X.astype(np.float64) - self.low_) / max(self.high_ - self.low_, 1e-12)
        return np.clip(scaled, 0, 1).reshape(len(X), 1, -1)

    def fit(self, X: Any, y: Any = None) -> Self:
        X = validate_data(self, X, ensure_min_samples=2)
        self.low_, self.high_ = float(X.min()), float(X.max())
        seed = 0 if self.random_state is None else self.random_state
        settings = {
            "false_alarm_rate": self.contamination,
            "random_state": seed,
            **all_kept(self.method),
        }
        self.detector_ = tiny(self.method, **settings)
        self.detector_.fit(self._pictures(X))
        self.offset_ = self.detector_.offset_
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.detector_.score_samples(self._pictures(validate_data(self, X, reset=False)))

    def decision_function(self, X: Any) -> np.ndarray:
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        return np.where(self.decision_function(X) < 0, -1, 1)


@parametrize_with_checks(
    [FlatImages(method) for method in METHODS],
    expected_failed_checks=lambda estimator: CASES[estimator.method].expected_failures,
)
@pytest.mark.filterwarnings("ignore")
def test_check_estimator(estimator: Any, check: Any) -> None:
    check(estimator)
