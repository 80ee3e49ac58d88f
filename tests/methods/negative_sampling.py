"""Negative sampling under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.reasons import SUBSETS

CASES = [
    Case(
        "negative_sampling",
        {
            "latent_dim": 8,
            "encoder_width": 4,
            "generator_width": 4,
            "layer_width": 16,
            "batch_size": 16,
            "autoencoder_epochs": 1,
            "epochs": 2,
            "steps_per_epoch": 4,
        },
        longer={
            "autoencoder_epochs": 4,
            "epochs": 3,
            "steps_per_epoch": 60,
            "latent_dim": 16,
            "encoder_width": 8,
            "generator_width": 8,
        },
        expected_failures=SUBSETS,
    ),
]
