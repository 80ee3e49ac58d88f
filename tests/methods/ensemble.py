"""The ensemble under test."""

from anomirror import KNN, PCA
from tests.methods import Case

MEMBERS = {"detectors": [PCA(n_components=8), KNN(n_components=8)]}

CASES = [
    Case("ensemble", MEMBERS),
    Case("ensemble", {**MEMBERS, "combination": "harmonic"}, form="harmonic"),
]
