"""AMA under test."""

from tests.methods import LONG, SHORT, SUBSETS, Case, widths

SMALL = {**SHORT, "latent_dim": 8, **widths(8, "encoder", "generator", "critic")}
LONGER = {**LONG, "learning_rate": 0.002, "generator_width": 16, "latent_dim": 16}

CASES = [
    Case("ama", SMALL | {"structure_power": 0.5}, longer=LONGER, expected_failures=SUBSETS),
    Case(
        "ama",
        SMALL | {"score": "density"},
        form="density",
        longer=LONGER,
        expected_failures=SUBSETS,
    ),
]
