"""Fence GAN under test."""

from tests.methods import LONG, SHORT, SUBSETS, Case, inverted, widths

CASES = [
    Case(
        "fence_gan",
        {**SHORT, "latent_dim": 8, **widths(4, "generator", "discriminator")},
        longer={**LONG, **widths(8, "generator", "discriminator")},
        planted=inverted,
        expected_failures=SUBSETS,
    )
]
