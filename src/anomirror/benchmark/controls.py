"""What brightness, contrast or sharpness alone would find: controls for the tables.

A score is worth something only where it says more than one such number of the picture. For a normal set: the AUROC of each number
on the columns of its out-of-distribution table, read as a detector's raw score is, and how the raw scores that were measured
on the normal test images rank beside it.

    python -m anomirror.benchmark.controls cifar10 --results results/cpu --out results/controls
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import spearmanr

from anomirror.benchmark.experiments import OUT_OF_DISTRIBUTION, on_disk
from anomirror.benchmark.protocols import Comparison, compare
from anomirror.benchmark.runner import command, versions
from anomirror.benchmark.tables import markdown
from anomirror.data import canonical, data_directory
from anomirror.errors import InputError
from anomirror.metrics import auroc
from anomirror.scoring import GaussianDensity, both_sides
from anomirror.storage import replacing


def brightness(images: np.ndarray) -> np.ndarray:
    """Mean of all pixels and channels."""
    return np.asarray(images.mean((1, 2, 3), dtype=np.float64))


def contrast(images: np.ndarray) -> np.ndarray:
    """Standard deviation over all pixels and channels."""
    return np.asarray(images.std((1, 2, 3), dtype=np.float64))


def sharpness(images: np.ndarray) -> np.ndarray:
    """Mean absolute difference of neighbouring pixels."""
    steps = (np.abs(np.diff(images.astype(np.float32), axis=axis)).mean((1, 2, 3), dtype=np.float64) for axis in (1, 2))
    return np.asarray(sum(steps) / 2)


NUMBERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "brightness": brightness,
    "contrast": contrast,
    "sharpness": sharpness,
}
"""Name to a function of images ``(n, h, w, c)`` uint8."""


def found_by_numbers(comparison: Comparison) -> dict[str, dict[str, dict[str, float]]]:
    """AUROC by number, reading and column: one-sided, where a *higher* number is anomalous, and two-sided."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, number in NUMBERS.items():
        train, normal = number(comparison.train), number(comparison.normal)
        for side, scorer in both_sides(GaussianDensity()).items():
            scorer.fit(train)
            found.setdefault(name, {})[side] = {
                column: auroc(scorer.normality(normal), scorer.normality(number(images[comparison.sampled[column]])))
                for column, images in comparison.anomalies.items()
            }
    return found


def rank_correlations(comparison: Comparison, scores: Path) -> dict[str, dict[str, float]]:
    """Spearman's, of each raw score of the normal test images that a file holds, with each number.

    Raises
    ------
    InputError : the file is of other images.
    """
    found: dict[str, dict[str, float]] = {}
    with np.load(scores, allow_pickle=False) as stored:
        for name in (name for name in stored.files if name.endswith("raw_normal")):
            raw = stored[name]
            if len(raw) != len(comparison.normal):
                raise InputError(
                    f"{scores}: {name} has {len(raw)} scores, and there are {len(comparison.normal)} normal test images"
                )
            scoring = name.removesuffix("raw_normal").strip("_")
            found[scoring] = {of: float(spearmanr(raw, number(comparison.normal)).statistic) for of, number in NUMBERS.items()}
    return found


def controls_table(folder: Path, normal: str) -> str:
    """AUROC of each number and reading."""
    cell = json.loads((folder / f"{normal}.json").read_text(encoding="utf-8"))
    columns = list(next(iter(next(iter(cell["auroc"].values())).values())))
    rows = [
        [f"{name}, {side}", *(f"{by_column[column]:.3f}" for column in columns)]
        for name, by_side in cell["auroc"].items()
        for side, by_column in by_side.items()
    ]
    return markdown([f"{normal} is normal, AUROC", *(f"→ {column}" for column in columns)], rows)


def correlations_table(folder: Path) -> str:
    """How raw scores of normal test images rank beside each number."""
    rows = []
    for file in sorted(folder.glob("*.json")):
        cell = json.loads(file.read_text(encoding="utf-8"))
        for method, by_number in cell["rank_correlation"].items():
            rows.append([cell["normal"], method, *(f"{by_number[name]:.2f}" for name in NUMBERS)])
    return markdown(["normal set", "raw score", *NUMBERS], rows)


def main(
    normal: Annotated[str, typer.Argument(help="a normal set of the out-of-distribution table")],
    results: Annotated[Path, typer.Option(help="where its trainings lie")] = Path("results/cpu"),
    out: Annotated[Path, typer.Option()] = Path("results/controls"),
    seed: Annotated[int, typer.Option()] = 0,
    methods: Annotated[str, typer.Option(help="separated by commas")] = "ama,pca,knn",
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure one normal set."""
    normal = canonical(normal)
    root = data_directory(data_dir)
    if normal not in OUT_OF_DISTRIBUTION:
        raise typer.BadParameter(f"{normal}: choose one of {', '.join(OUT_OF_DISTRIBUTION)}")
    columns = [column for column in OUT_OF_DISTRIBUTION[normal] if on_disk(root)(column)]
    comparison = compare(normal, columns, seed=seed, data_dir=root)
    correlations: dict[str, dict[str, float]] = {}
    for method in methods.split(","):
        for scoring, by_number in rank_correlations(comparison, results / normal / f"{method}-seed{seed}.npz").items():
            correlations[f"{method}, {scoring}" if scoring else method] = by_number
    cell: dict[str, Any] = {"normal": normal, "seed": seed, "auroc": found_by_numbers(comparison)}
    cell |= {"rank_correlation": correlations, "splits": {column: comparison.hash_of(column) for column in columns}}
    cell |= {"versions": versions(), "command": command("anomirror.benchmark.controls")}
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / f"{normal}.json") as temporary:
        temporary.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
