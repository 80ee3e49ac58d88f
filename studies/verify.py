"""Computes every stored AUROC once more, from the stored raw scores, with scikit-learn.

    python -m studies.verify results

A cell whose AUROC differs by more than a thousandth is named, and the exit code is 1. Stored raw
scores are rounded to five digits, so that the last digits may differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.metrics import roc_auc_score

from anomirror.benchmark.cells import Entry, read_entries

TOLERANCE = 1e-3


def recomputed(entry: Entry) -> float:
    """AUROC of a cell from its scorer's stored numbers and its stored raw scores."""
    scorer = entry.cell.restored_scorer()
    normal, anomalies = (
        scorer.normality(entry.raw_scores(images)) for images in ("normal", "anomalies")
    )
    labels = np.r_[np.ones(len(normal)), np.zeros(len(anomalies))]
    return float(roc_auc_score(labels, np.r_[normal, anomalies]))


def main(folders: Annotated[list[Path], typer.Argument(help="of results")]) -> None:
    """Name every cell that does not follow from its scores."""
    entries = read_entries(*folders)
    wrong, largest = 0, 0.0
    for entry in entries:
        stored, found = entry.cell.value("auroc"), recomputed(entry)
        difference = abs(found - stored) if stored is not None else np.inf
        largest = max(largest, difference)
        if not difference <= TOLERANCE:
            wrong += 1
            print(
                f"{entry.file}: {' '.join(entry.cell.place)}: stored {stored}, computed {found:.5f}"
            )
    print(
        f"{len(entries) - wrong:,} of {len(entries):,} agree; the largest difference is "
        f"{largest:.1e}"
    )
    if wrong or not entries:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
