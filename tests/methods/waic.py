"""WAIC under test."""

from tests.methods import SUBSETS, Case, inverted

CASES = [
    Case(
        "waic",
        {
            "members": 2,
            "latent_dim": 8,
            "critic_width": 2,
            "generator_width": 4,
            "batch_size": 16,
            "epochs": 1,
            "cross_entropy_epochs": 1,
            "steps_per_epoch": 4,
        },
        longer={
            "epochs": 5,
            "steps_per_epoch": 60,
            "cross_entropy_epochs": 3,
            "critic_width": 4,
            "generator_width": 16,
            "learning_rate": 0.002,
        },
        planted=inverted,
        expected_failures=SUBSETS,
    )
]
