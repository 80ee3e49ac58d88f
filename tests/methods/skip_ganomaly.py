"""Skip-GANomaly under test."""

from tests.methods import LONG, SHORT, SUBSETS, Case, speckled, widths

CASES = [
    Case(
        "skip_ganomaly",
        {**SHORT, **widths(4, "generator", "discriminator")},
        longer={**LONG, "discriminator_width": 8, "learning_rate": 0.002},
        planted=speckled,
        expected_failures=SUBSETS,
    )
]
