"""f-AnoGAN under test."""

from tests.methods import LONG, SHORT, SUBSETS, Case, inverted, widths

CASES = [
    Case(
        "fanogan",
        {
            **SHORT,
            "latent_dim": 8,
            "encoder_epochs": 2,
            **widths(4, "generator", "discriminator", "encoder"),
        },
        longer={**LONG, "encoder_epochs": 3, **widths(8, "generator", "discriminator", "encoder")},
        planted=inverted,
        expected_failures=SUBSETS,
    )
]
