"""Measured cells as a markdown table: mean and standard deviation over seeds.

python -m anomirror.benchmark.tables results/ood/fashion-mnist results/known/fashion-mnist method=ama anomalies=mnist
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomirror.errors import InputError


def read_cells(*wanted: str, root: Path = Path()) -> list[dict[str, Any]]:
    """Every JSON cell below some folders, in order of known anomalies and file name; ``key=value`` keeps only cells with it."""
    folders = [root / word for word in wanted if "=" not in word]
    filters = [word.split("=", 1) for word in wanted if "=" in word]
    cells = [json.loads(file.read_text(encoding="utf-8")) for folder in folders for file in sorted(folder.rglob("*.json"))]
    chosen = [cell for cell in cells if all(cell[key] == value for key, value in filters)]
    return sorted(chosen, key=lambda cell: (cell["known_anomalies"] or {"count": 0})["count"])


def table(cells: list[dict[str, Any]], metric: str = "auroc") -> str:
    """One row for each method, variant and number of known anomalies; one column for each anomaly set.

    Raises
    ------
    InputError : cells of one row come from different scorers, such as those of a release before.
    """
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    scorers: dict[tuple[str, ...], str] = {}
    rows: list[tuple[str, str, str]] = []
    columns = sorted({cell["anomalies"] for cell in cells})
    for cell in cells:
        known = cell["known_anomalies"]
        name = cell["method"] if known is None else f"{cell['method']}, {known['count']} known from {known['set']}"
        row = (name, cell["variant"], cell["preset"])
        if row not in rows:
            rows.append(row)
        if scorers.setdefault(row, cell["scorer"]) != cell["scorer"]:
            raise InputError(
                f"{', '.join(row)}: cells of scorers {scorers[row]} and {cell['scorer']}; measure the older ones again"
            )
        values[(*row, cell["anomalies"])].append(cell["metrics"][metric])
    lines = []
    for row in rows:
        found = [values.get((*row, column), []) for column in columns]
        lines.append([*row, *map(mean_and_spread, found), str(max(map(len, found)))])
    heading = ["method", "score", "preset", *(f"{cells[0]['normal']} → {column}" for column in columns), "seeds"]
    return markdown(heading, lines)


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every row has as many cells as the heading."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean, and the standard deviation if there is more than one value."""
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    print(table(read_cells(*sys.argv[1:])))
