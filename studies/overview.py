"""The README's table: seven rows, on sets and on photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from anomirror.benchmark.cells import Entry, read_entries
from anomirror.benchmark.render import markdown, mean_and_spread
from studies.first_hour_tables import cells_of

ROWS = (
    ("ama", "one-sided", "negate"),
    ("ama", "two-sided", "log-gaussian"),
    ("deep_svdd", "one-sided", "negate"),
    ("knn", "one-sided", "negate"),
    ("pca", "one-sided", "negate"),
    ("scattering", "one-sided", "negate"),
    ("auto", "one-sided", "negate"),
)
"""Method, side, and the scorer of that side on photographs."""
COLUMNS = ("mnist", "omniglot", "gtsrb")


def overview_table(results: Path) -> str:
    """AUROC on clothes and on solar cells; seconds of a fit with defaults."""
    first_hour = results / "first-hour"
    entries = read_entries(results / "cpu/fashion-mnist")
    cost = json.loads((first_hour / "cost.json").read_text(encoding="utf-8"))
    rows = []
    for method, side, scorer in ROWS:
        found = [mean_and_spread(_values(entries, method, side, name)) for name in COLUMNS]
        cells = [mean_and_spread(values) for values in cells_of(first_hour, method, scorer)]
        seconds = next(r["seconds"] for r in cost if (r["method"], r["width"]) == (method, 300))
        rows.append([f"{method}, {side}", *found, *cells, f"{seconds:.0f} s"])
    heading = ["AUROC", *(f"clothes → {name}" for name in COLUMNS)]
    heading += ["solar cells, mono", "poly", "fit of 1,000 photos"]
    return markdown(heading, rows)


def _values(entries: list[Entry], method: str, side: str, column: str) -> list[float]:
    """Of every seed."""
    wanted = (method, "", "", side, column)
    found = [
        entry.cell.value("auroc")
        for entry in entries
        if (
            entry.record.method,
            entry.record.variant,
            entry.cell.scoring,
            entry.cell.side,
            entry.cell.anomalies,
        )
        == wanted
    ]
    return [value for value in found if value is not None and np.isfinite(value)]
