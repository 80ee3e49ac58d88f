"""The ensemble under test."""

from anomirror import KNN, PCA
from tests.methods import Case, not_exact
from tests.methods.reasons import COMPARED

MEMBERS = {"detectors": [PCA(n_components=8), KNN(n_components=8)]}

CASES = [
    Case("ensemble", MEMBERS, expected_failures=not_exact(COMPARED)),
    Case("ensemble", {**MEMBERS, "combination": "harmonic"}, form="harmonic"),
]
