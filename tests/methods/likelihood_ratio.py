"""The likelihood ratio under test."""

from tests.methods import SHORT, SUBSETS, Case, speckled

CASES = [
    Case(
        "likelihood_ratio",
        {**SHORT, "filters": 4, "mixtures": 2, "levels": 2, "steps_per_epoch": 3},
        longer={"steps_per_epoch": 40, "filters": 8, "learning_rate": 0.01, "mutation_rate": 0.3},
        planted=speckled,
        expected_failures=SUBSETS,
    )
]
