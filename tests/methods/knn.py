"""kNN under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.reasons import HELD_OUT

CASES = [
    Case(
        "knn",
        {"n_components": 8},
        expected_failures=dict.fromkeys(
            ("check_outliers_fit_predict", "check_outliers_train"), HELD_OUT
        ),
    ),
]
