"""The choice among detectors under test."""

from anomirror import KNN, PCA
from tests.methods import Case, not_exact
from tests.methods.reasons import COMPARED

MEMBERS = [PCA(n_components=8), KNN(n_components=8)]
CASES = [Case("auto", {"detectors": MEMBERS}, expected_failures=not_exact(COMPARED))]
