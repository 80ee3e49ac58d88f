"""Fence GAN under test."""

from tests.methods import HARDLY, LONG, SHORT, SUBSETS, Case, inverted, not_exact, widths

CASES = [
    Case(
        "fence_gan",
        {**SHORT, "latent_dim": 8, **widths(4, "generator", "discriminator")},
        longer={**LONG, **widths(8, "generator", "discriminator")},
        planted=inverted,
        expected_failures=SUBSETS | not_exact(HARDLY),
    )
]
