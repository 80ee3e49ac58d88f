"""PCA under test."""

from tests.methods import NOTHING_LEFT, Case, not_exact

CASES = [Case("pca", {"n_components": 8}, expected_failures=not_exact(NOTHING_LEFT))]
