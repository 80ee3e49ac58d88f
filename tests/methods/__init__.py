"""What the tests need to know of each method: a file each, found by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.methods.planting import inverted, shuffled, speckled, turned
from tests.methods.reasons import HARDLY, HELD_OUT, NOTHING_LEFT, SOME, SUBSETS, not_exact

__all__ = [
    "CASES",
    "HARDLY",
    "HELD_OUT",
    "LONG",
    "NOTHING_LEFT",
    "SHORT",
    "SOME",
    "SUBSETS",
    "Case",
    "inverted",
    "not_exact",
    "shuffled",
    "speckled",
    "turned",
    "widths",
]

SHORT = {"batch_size": 16, "epochs": 2, "steps_per_epoch": 4}
"""A training of a second or so."""
LONG = {"epochs": 3, "steps_per_epoch": 60}
"""One of ten seconds."""


def widths(channels: int, *networks: str) -> dict[str, int]:
    """The same width for several networks."""
    return {f"{network}_width": channels for network in networks}


@dataclass(frozen=True)
class Case:
    """A method under test, or a form of it that trains otherwise."""

    method: str
    arguments: Mapping[str, Any]
    """With which a fit takes a second or two."""
    form: str = ""
    longer: Mapping[str, Any] = field(default_factory=dict)
    """Added where a test needs the detector to be any good."""
    planted: Callable[[np.ndarray], np.ndarray] = turned
    """Makes anomalies of normal images: what a likelihood sees first is its neighbourhoods."""
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    """Checks of scikit-learn that it cannot pass, and why."""

    @property
    def name(self) -> str:
        """The method and its form."""
        return f"{self.method}-{self.form}" if self.form else self.method


def _cases() -> dict[str, Case]:
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        module = import_module(f"tests.methods.{file.stem}") if file.stem != "__init__" else None
        for case in getattr(module, "CASES", ()):
            found[case.name] = case
    return found


CASES: dict[str, Case] = _cases()
"""By name."""
