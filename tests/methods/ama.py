"""AMA under test."""

from tests.methods import LONG, SHORT, SUBSETS, Case, widths

CASES = [
    Case(
        "ama",
        {
            **SHORT,
            "latent_dim": 8,
            "structure_power": 0.5,
            **widths(8, "encoder", "generator", "critic"),
        },
        longer={**LONG, "learning_rate": 0.002, "generator_width": 16, "latent_dim": 16},
        expected_failures=SUBSETS,
    )
]
