"""AnoGAN under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.planting import inverted
from tests.methods.reasons import IN_BF16, SOME

CASES = [
    Case(
        "anogan",
        {
            "latent_dim": 8,
            "generator_width": 4,
            "discriminator_width": 4,
            "batch_size": 16,
            "search_steps": 4,
            "epochs": 2,
            "steps_per_epoch": 4,
        },
        longer={
            "epochs": 3,
            "steps_per_epoch": 60,
            "generator_width": 8,
            "discriminator_width": 8,
            "search_steps": 30,
        },
        planted=inverted,
        expected_failures={
            **IN_BF16,
            "check_outliers_fit_predict": SOME,
            "check_outliers_train": SOME,
        },
    ),
]
