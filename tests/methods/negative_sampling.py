"""Negative sampling under test."""

from tests.methods import LONG, SHORT, SUBSETS, Case, inverted, widths

CASES = [
    Case(
        "negative_sampling",
        {
            **SHORT,
            "latent_dim": 8,
            "layer_width": 16,
            "autoencoder_epochs": 1,
            **widths(4, "encoder", "generator"),
        },
        longer={
            **LONG,
            "autoencoder_epochs": 4,
            "latent_dim": 16,
            "layer_width": 64,
            **widths(8, "encoder", "generator"),
        },
        planted=inverted,
        expected_failures=SUBSETS,
    )
]
