"""Skip-GANomaly under test."""

from tests.methods import IN_BF16, LONG, SHORT, Case, speckled, widths

CASES = [
    Case(
        "skip_ganomaly",
        {**SHORT, **widths(4, "generator", "discriminator")},
        longer={**LONG, "discriminator_width": 8, "learning_rate": 0.002},
        planted=speckled,
        expected_failures=IN_BF16,
    )
]
