"""ALAD under test."""

from tests.methods import SHORT, SUBSETS, Case, widths

CASES = [
    Case(
        "alad",
        {**SHORT, "latent_dim": 8, **widths(4, "encoder", "generator", "discriminator")},
        longer={
            "epochs": 6,
            "steps_per_epoch": 60,
            "latent_dim": 16,
            "learning_rate": 0.004,
            "ema_decay": 0.95,
            **widths(8, "encoder", "generator"),
        },
        expected_failures=SUBSETS,
    )
]
