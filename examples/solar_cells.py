"""Defective solar cells: auto and scattering, AMA, PCA and kNN on electroluminescence images, with
maps of the ten cells that look worst to AMA.

The images are the elpv-dataset's (Buerhop-Lutz et al. 2018, CC BY-NC-SA 4.0): 2,624 cells of
300x300 pixels with the probability of a defect as experts judged it. Normal is 0, anomalous 1; what
lies between is left out. Monocrystalline and polycrystalline cells look different and are fitted
apart. A hash of each cell's number decides which normal cells are trained on.

    pip install 'anomirror[examples]'
    python examples/solar_cells.py --out solar
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror import AMA, KNN, PCA, Auto, Detector, Scattering
from anomirror.benchmark.cells import write_json
from anomirror.benchmark.provenance import versions
from anomirror.detector.variants import with_params
from anomirror.metrics import evaluate
from anomirror.presets import as_published
from anomirror.report.plots import image_rows
from anomirror.scorers import both_sides, scorer_name

DENSITY = {"score": "density", "structure_power": "fitted", "scorer": "negate"}
KINDS = ("mono", "poly")
WORST = 10


@dataclass(frozen=True)
class Cells:
    """Images of one kind of cell, ``(n, 300, 300)`` uint8."""

    train: np.ndarray
    normal: np.ndarray
    defective: np.ndarray


def load_cells(kind: str) -> Cells:
    """Cells of one kind: two thirds of the normal ones for training."""
    from elpv_dataset.utils import load_dataset

    images, probability, kinds = load_dataset()
    numbers = np.flatnonzero((kinds == kind) & (probability == 0))
    trained = np.array([for_training(int(number)) for number in numbers])
    defective = images[(kinds == kind) & (probability == 1)]
    return Cells(images[numbers[trained]], images[numbers[~trained]], defective)


def for_training(number: int) -> bool:
    """A fixed coin for each cell, two to one."""
    return hashlib.sha256(f"elpv {number}".encode()).digest()[0] % 3 < 2


def detectors(size: int, seed: int, epochs: int, steps: int) -> list[Detector]:
    """AMA, which at 64 pixels sees as many of them as under its preset ``cpu`` at 32; and what a
    user would pick instead. Auto and scattering take their own size.

    AMA and PCA are calibrated as for the paper's tables, the others by default: of so few cells in
    folds. docs/first-hour.md has what defaults give.
    """
    common: dict[str, Any] = {"image_size": size, "random_state": seed}
    training = {"epochs": epochs, "steps_per_epoch": steps, "batch_size": 32, "verbose": True}
    return [
        AMA(**{**as_published("ama"), **common, **training}),
        PCA(**{**as_published("pca"), **common}),
        KNN(**common),
        Scattering(random_state=seed),
        Auto(random_state=seed),
    ]


def scorings(detector: Detector) -> dict[str, Detector]:
    """A fitted detector, and AMA by the density of its statistics as well, by name."""
    named = {detector.method: detector}
    if isinstance(detector, AMA):
        named["ama-density"] = with_params(detector, DENSITY)
    return named


def measured(detector: Detector, cells: Cells) -> dict[str, Any]:
    """Metrics of both readings of the raw score."""
    raw_normal, raw_defective = (
        detector.raw_scores(cells.normal),
        detector.raw_scores(cells.defective),
    )
    found: dict[str, Any] = {}
    for side, scorer in both_sides(detector.scorer_).items():
        scorer.fit(detector.calibration_raw_)
        metrics = evaluate(scorer.normality(raw_normal), scorer.normality(raw_defective))
        found[side] = {"scorer": scorer_name(scorer), **metrics.as_dict()}
    return found


def draw_worst(ama: AMA, cells: Cells, file: Path) -> None:
    """The ten cells that look least normal to AMA, with their reconstructions and maps."""
    tested = np.concatenate([cells.normal, cells.defective])
    order = np.argsort(ama.score_samples(tested))[:WORST]
    worst, right = tested[order], int((order >= len(cells.normal)).sum())
    maps = np.clip(ama.explain(worst), 0, 1)
    image_rows(
        {
            f"{right} of {WORST} defective": worst,
            "reconstruction": ama.reconstruct(worst)[..., 0],
            "map": maps,
        },
        file,
    )


def main(
    out: Annotated[Path, typer.Option(help="folder for the figures and the images")] = Path(
        "solar"
    ),
    size: Annotated[
        int, typer.Option(help="pixels that AMA, PCA and kNN see of a side: 64 or 128")
    ] = 64,
    seed: Annotated[int, typer.Option()] = 0,
    epochs: Annotated[int, typer.Option()] = 8,
    steps: Annotated[int, typer.Option(help="minibatches of an epoch")] = 32,
) -> None:
    """Fit on normal cells of each kind, test on unseen normal and defective ones."""
    out.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        cells = load_cells(kind)
        counts = {
            "train": len(cells.train),
            "normal": len(cells.normal),
            "defective": len(cells.defective),
        }
        print(
            f"{kind}: {counts['train']} normal cells to train on, {counts['normal']} normal and "
            f"{counts['defective']} defective"
        )
        for detector in detectors(size, seed, epochs, steps):
            detector.fit(cells.train)
            pixels = detector.image_shape_[1]
            for name, scored in scorings(detector).items():
                metrics = measured(scored, cells)
                told = ", ".join(f"{side} {of['auroc']:.3f}" for side, of in metrics.items())
                print(f"  {name}: AUROC {told}")
                result = {
                    "kind": kind,
                    "size": pixels,
                    "seed": seed,
                    "method": name,
                    "counts": counts,
                    "parameters": scored.stored_parameters(),
                    "metrics": metrics,
                    "data": detector.data_fingerprint_,
                    "versions": versions(),
                    "command": shlex.join(["python", *sys.argv]),
                }
                write_json(out / f"{kind}-{pixels}-{name}-seed{seed}.json", result)
            if isinstance(detector, AMA):
                draw_worst(detector, cells, out / f"{kind}-{pixels}-worst-seed{seed}.png")


if __name__ == "__main__":
    typer.run(main)
