"""AMA under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.reasons import IN_BF16

CASES = [
    Case(
        "ama",
        {
            "latent_dim": 8,
            "encoder_width": 8,
            "generator_width": 8,
            "critic_width": 8,
            "batch_size": 16,
            "epochs": 2,
            "steps_per_epoch": 4,
            "structure_power": 0.5,
        },
        longer={
            "epochs": 3,
            "steps_per_epoch": 60,
            "learning_rate": 0.002,
            "generator_width": 16,
            "latent_dim": 16,
        },
        expected_failures=IN_BF16,
    ),
]
