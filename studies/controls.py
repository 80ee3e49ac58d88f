"""What brightness, contrast or sharpness alone would find: controls for the tables.

A score is worth something only where it says more than one such number of the image. For a normal
set: the AUROC of each number on the columns of its out-of-distribution table, read as a detector's
raw score is, and how the raw scores that were measured on the normal test images rank next to it.

    python -m studies.controls cifar10 --results results/cpu --out results/controls
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import spearmanr

from anomirror.benchmark.cells import Entry, read_entries, read_json, write_json
from anomirror.benchmark.experiments import OUT_OF_DISTRIBUTION, on_disk
from anomirror.benchmark.protocols import Comparison, compare
from anomirror.benchmark.provenance import command, versions
from anomirror.benchmark.render import markdown
from anomirror.data import canonical, data_directory
from anomirror.errors import InputError
from anomirror.metrics import auroc
from anomirror.scorers import GaussianDensity, both_sides


def brightness(images: np.ndarray) -> np.ndarray:
    """Mean of all pixels and channels."""
    return np.asarray(images.mean((1, 2, 3), dtype=np.float64))


def contrast(images: np.ndarray) -> np.ndarray:
    """Standard deviation over all pixels and channels."""
    return np.asarray(images.std((1, 2, 3), dtype=np.float64))


def sharpness(images: np.ndarray) -> np.ndarray:
    """Mean absolute difference of neighbouring pixels."""
    steps = (
        np.abs(np.diff(images.astype(np.float32), axis=axis)).mean((1, 2, 3), dtype=np.float64)
        for axis in (1, 2)
    )
    return np.asarray(sum(steps) / 2)


NUMBERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "brightness": brightness,
    "contrast": contrast,
    "sharpness": sharpness,
}
"""Name to a function of images ``(n, h, w, c)`` uint8."""


def found_by_numbers(comparison: Comparison) -> dict[str, dict[str, dict[str, float]]]:
    """AUROC by number, reading and column.

    One-sided, where a *higher* number is anomalous, and two-sided.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, number in NUMBERS.items():
        train, normal = number(comparison.train), number(comparison.normal)
        for side, scorer in both_sides(GaussianDensity()).items():
            scorer.fit(train)
            found.setdefault(name, {})[side] = {
                column: auroc(
                    scorer.normality(normal),
                    scorer.normality(number(images[comparison.sampled[column]])),
                )
                for column, images in comparison.anomalies.items()
            }
    return found


def rank_correlations(
    comparison: Comparison, entries: Iterable[Entry]
) -> dict[str, dict[str, Any]]:
    """Spearman's, of the raw scores of normal test images with each number; each raw score once.

    Raises
    ------
    InputError : a cell is of other images than these.
    """
    numbers = {name: number(comparison.normal) for name, number in NUMBERS.items()}
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        record, cell = entry.record, entry.cell
        row = ", ".join(part for part in (record.method, record.variant, cell.scoring) if part)
        if row in found:
            continue
        if entry.column.split != comparison.hash_of(cell.anomalies):
            raise InputError(f"{entry.file}: was measured on other images than these")
        raw = entry.raw_scores("normal")
        correlations = {name: float(spearmanr(raw, of).statistic) for name, of in numbers.items()}
        parameters = record.parameters_of(cell)
        found[row] = {"parameters": parameters, "record": entry.file.name, **correlations}
    return found


def controls_table(folder: Path, normal: str) -> str:
    """AUROC of each number and reading."""
    cell = read_json(folder / f"{normal}.json")
    columns = list(next(iter(next(iter(cell["auroc"].values())).values())))
    rows = [
        [f"{name}, {side}", *(f"{by_column[column]:.3f}" for column in columns)]
        for name, by_side in cell["auroc"].items()
        for side, by_column in by_side.items()
    ]
    return markdown([f"{normal} is normal, AUROC", *(f"→ {column}" for column in columns)], rows)


def correlations_table(folder: Path) -> str:
    """How raw scores of normal test images rank next to each number."""
    rows = []
    for file in sorted(folder.glob("*.json")):
        cell = read_json(file)
        for method, by_number in cell["rank_correlation"].items():
            rows.append([cell["normal"], method, *(f"{by_number[name]:.2f}" for name in NUMBERS)])
    return markdown(["normal set", "raw score", *NUMBERS], rows)


def main(
    normal: Annotated[str, typer.Argument(help="a normal set of the out-of-distribution table")],
    results: Annotated[Path, typer.Option(help="where its trainings lie")] = Path("results/cpu"),
    out: Annotated[Path, typer.Option()] = Path("results/controls"),
    seed: Annotated[int, typer.Option()] = 0,
    methods: Annotated[str, typer.Option(help="separated by commas")] = "ama,pca,knn",
    anomalies: Annotated[
        str, typer.Option(help="columns, separated by commas; else those of the table")
    ] = "",
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure one normal set."""
    normal = canonical(normal)
    root = data_directory(data_dir)
    if normal not in OUT_OF_DISTRIBUTION:
        raise typer.BadParameter(f"{normal}: choose one of {', '.join(OUT_OF_DISTRIBUTION)}")
    named = [canonical(name) for name in anomalies.split(",") if name]
    columns = named or [name for name in OUT_OF_DISTRIBUTION[normal] if on_disk(root)(name)]
    comparison = compare(normal, columns, seed=seed, data_dir=root)
    chosen = [
        entry
        for entry in read_entries(results / normal)
        if (entry.record.seed, entry.cell.side) == (seed, "one-sided")
    ]
    entries = [
        entry for method in methods.split(",") for entry in chosen if entry.record.method == method
    ]
    if not entries:
        raise InputError(
            f"{results / normal}: no cell of {methods}, seed {seed}; `anomirror reproduce table1` "
            "makes them"
        )
    correlations = rank_correlations(comparison, entries)
    cell: dict[str, Any] = {"normal": normal, "seed": seed, "auroc": found_by_numbers(comparison)}
    cell |= {
        "rank_correlation": correlations,
        "splits": {column: comparison.hash_of(column) for column in columns},
    }
    cell |= {"versions": versions(), "command": command("studies.controls")}
    write_json(out / f"{normal}.json", cell)


if __name__ == "__main__":
    typer.run(main)
