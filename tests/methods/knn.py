"""kNN under test."""

from tests.methods import HELD_OUT, Case, not_exact

CASES = [Case("knn", {"n_components": 8}, expected_failures=not_exact(HELD_OUT))]
