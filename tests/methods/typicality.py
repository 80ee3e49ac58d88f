"""Typicality under test."""

from __future__ import annotations

from tests.methods import Case
from tests.methods.planting import speckled
from tests.methods.reasons import SUBSETS

CASES = [
    Case(
        "typicality",
        {
            "flow_steps": 1,
            "hidden_width": 8,
            "batch_size": 16,
            "epochs": 2,
            "steps_per_epoch": 4,
            "lr_warmup": 2,
        },
        longer={"steps_per_epoch": 60, "learning_rate": 0.01, "lr_warmup": 20},
        planted=speckled,
        expected_failures=SUBSETS,
    ),
]
