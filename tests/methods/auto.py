"""The choice among detectors under test."""

from anomirror import KNN, PCA
from tests.methods import Case

CASES = [Case("auto", {"detectors": [PCA(n_components=8), KNN(n_components=8)]})]
