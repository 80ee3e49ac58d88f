"""AnoGAN under test."""

from tests.methods import LONG, SHORT, SOME, SUBSETS, Case, inverted, not_exact, widths

CASES = [
    Case(
        "anogan",
        {**SHORT, "latent_dim": 8, "search_steps": 4, **widths(4, "generator", "discriminator")},
        longer={**LONG, "search_steps": 30, **widths(8, "generator", "discriminator")},
        planted=inverted,
        expected_failures=SUBSETS | not_exact(SOME),
    )
]
