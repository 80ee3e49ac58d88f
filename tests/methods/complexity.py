"""Complexity under test."""

from tests.methods import SHORT, SUBSETS, Case, inverted

CASES = [
    Case(
        "complexity",
        {**SHORT, "filters": 4, "mixtures": 2, "levels": 2, "steps_per_epoch": 3},
        longer={"steps_per_epoch": 40, "filters": 8, "learning_rate": 0.01},
        planted=inverted,
        expected_failures=SUBSETS,
    )
]
