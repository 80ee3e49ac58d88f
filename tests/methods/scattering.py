"""Wavelet scattering under test."""

from tests.methods import Case

CASES = [Case("scattering", {"angles": 4, "channels": 16, "n_components": 8})]
