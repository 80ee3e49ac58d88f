"""Deep SVDD under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.reasons import SUBSETS

ARGUMENTS = {
    "widths": (4, 4),
    "latent_dim": 16,
    "batch_size": 16,
    "pretrain_epochs": 1,
    "epochs": 2,
    "steps_per_epoch": 4,
}
LONGER = {
    "pretrain_epochs": 2,
    "steps_per_epoch": 60,
    "widths": (8, 8, 8),
    "latent_dim": 32,
    "learning_rate": 0.003,
}
CASES = [
    Case(
        "deep_svdd",
        ARGUMENTS,
        longer=LONGER,
        expected_failures=SUBSETS,
    ),
    Case(
        "deep_svdd",
        {**ARGUMENTS, "contrast_normalization": True},
        form="contrast",
        longer=LONGER,
    ),
]
