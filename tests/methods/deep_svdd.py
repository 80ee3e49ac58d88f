"""Deep SVDD under test."""

from tests.methods import SHORT, SUBSETS, Case

ARGUMENTS = {**SHORT, "widths": (4, 4), "latent_dim": 16, "pretrain_epochs": 1}
LONGER = {
    "pretrain_epochs": 2,
    "steps_per_epoch": 60,
    "widths": (8, 8, 8),
    "latent_dim": 32,
    "learning_rate": 0.003,
}
CASES = [
    Case("deep_svdd", ARGUMENTS, longer=LONGER, expected_failures=SUBSETS),
    Case(
        "deep_svdd", {**ARGUMENTS, "contrast_normalization": True}, form="contrast", longer=LONGER
    ),
]
