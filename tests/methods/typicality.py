"""Typicality under test."""

from tests.methods import SHORT, SUBSETS, Case, speckled

CASES = [
    Case(
        "typicality",
        {**SHORT, "flow_steps": 1, "hidden_width": 8, "lr_warmup": 2},
        longer={"steps_per_epoch": 60, "learning_rate": 0.01, "lr_warmup": 20},
        planted=speckled,
        expected_failures=SUBSETS,
    )
]
