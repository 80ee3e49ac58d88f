"""The likelihood ratio under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.planting import speckled
from tests.methods.reasons import SUBSETS

CASES = [
    Case(
        "likelihood_ratio",
        {
            "filters": 4,
            "mixtures": 2,
            "levels": 2,
            "batch_size": 16,
            "epochs": 2,
            "steps_per_epoch": 3,
        },
        longer={"steps_per_epoch": 40, "filters": 8, "learning_rate": 0.01, "mutation_rate": 0.3},
        planted=speckled,
        expected_failures=SUBSETS,
    ),
]
