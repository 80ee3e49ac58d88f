"""Skip-GANomaly under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.planting import speckled
from tests.methods.reasons import IN_BF16

CASES = [
    Case(
        "skip_ganomaly",
        {
            "generator_width": 4,
            "discriminator_width": 4,
            "batch_size": 16,
            "epochs": 2,
            "steps_per_epoch": 4,
        },
        longer={
            "epochs": 3,
            "steps_per_epoch": 60,
            "discriminator_width": 8,
            "learning_rate": 0.002,
        },
        planted=speckled,
        expected_failures=IN_BF16,
    ),
]
