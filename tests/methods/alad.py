"""ALAD under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.reasons import IN_BF16

CASES = [
    Case(
        "alad",
        {
            "latent_dim": 8,
            "encoder_width": 4,
            "generator_width": 4,
            "discriminator_width": 4,
            "batch_size": 16,
            "epochs": 2,
            "steps_per_epoch": 4,
        },
        longer={
            "epochs": 6,
            "steps_per_epoch": 60,
            "latent_dim": 16,
            "encoder_width": 8,
            "generator_width": 8,
            "learning_rate": 0.004,
            "ema_decay": 0.95,
        },
        expected_failures=IN_BF16,
    ),
]
