"""Fence GAN under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.planting import inverted
from tests.methods.reasons import SUBSETS

CASES = [
    Case(
        "fence_gan",
        {
            "latent_dim": 8,
            "generator_width": 4,
            "discriminator_width": 4,
            "batch_size": 16,
            "epochs": 2,
            "steps_per_epoch": 4,
        },
        longer={"epochs": 3, "steps_per_epoch": 60, "generator_width": 8, "discriminator_width": 8},
        planted=inverted,
        expected_failures=SUBSETS,
    ),
]
