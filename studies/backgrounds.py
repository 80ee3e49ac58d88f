"""Which background model the likelihood ratio should have.

Every mutation rate and weight decay of its paper, on proxies alone.

    python -m studies.backgrounds fashion-mnist
    python -m studies.backgrounds cifar10

A third of the minibatches of the preset ``cpu``. What is measured already is not measured again.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror.benchmark.cells import read_json, write_json
from anomirror.benchmark.provenance import command, versions
from anomirror.benchmark.render import markdown
from anomirror.benchmark.resume import refuse_difference
from anomirror.data import canonical, data_directory, load_dataset
from anomirror.detector.variants import raw_scores_under
from anomirror.detectors import LikelihoodRatio
from anomirror.errors import InputError
from anomirror.images import open_images
from anomirror.metrics import auroc
from studies.stability import PROXIES, proxy_sets

RATES, DECAYS = (0.1, 0.2, 0.3), (0.0, 10.0, 100.0)
"""The grid of the paper."""
NORMAL = 500
LENGTH: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 200}


def study(
    normal: str, rate: float, decay: float, seed: int, data_dir: Path | None, **more: Any
) -> dict[str, Any]:
    """One-sided AUROC on each proxy of one background model.

    The normal images were held out of the training.
    """
    train = load_dataset(normal, "train", data_dir)[0]
    ratio = LikelihoodRatio(
        mutation_rate=rate, weight_decay=decay, random_state=seed, **{**LENGTH, **more}
    ).fit(train)
    rng = np.random.default_rng(0)
    _, heldout = ratio.split(
        open_images(train, shape=ratio.image_shape_), ratio.calibration_fraction
    )
    unseen = train[rng.permutation(heldout.indices)[:NORMAL]]
    scorings: dict[str, dict[str, Any]] = {"ratio": {}, "likelihood": {"likelihood_only": True}}
    normal_raw = raw_scores_under(ratio, unseen, scorings)
    found: dict[str, dict[str, float]] = {scoring: {} for scoring in scorings}
    counts = {"normal": len(unseen)}
    for proxy, images in proxy_sets(ratio.image_shape_[0] == 3, rng, data_dir).items():
        counts[proxy] = len(images)
        for scoring, raw in raw_scores_under(ratio, images, scorings).items():
            found[scoring][proxy] = auroc(-normal_raw[scoring], -raw)
    told = {
        "normal": normal,
        "seed": seed,
        "parameters": ratio.stored_parameters(),
        "counts": counts,
    }
    return told | {"auroc": found, "history": ratio.history_}


def refuse_other_settings(file: Path, rate: float, decay: float, seed: int) -> None:
    """A background that is there must have been measured as it would be now."""
    now = LikelihoodRatio(mutation_rate=rate, weight_decay=decay, random_state=seed, **LENGTH)
    refuse_difference(file, read_json(file)["parameters"], now.stored_parameters())


def backgrounds_table(folder: Path, normal: str) -> str:
    """Every background model of one normal set, and the likelihood alone."""
    cells = [
        cell
        for file in sorted(folder.glob("*.json"))
        if (cell := read_json(file))["normal"] == normal
    ]
    if not cells:
        raise InputError(f"{folder}: holds no background of {normal}")
    rows = []
    for cell in cells:
        row = (
            f"rate {cell['parameters']['mutation_rate']:g}, decay "
            f"{cell['parameters']['weight_decay']:g}"
        )
        rows.append([row, *_values(cell["auroc"]["ratio"])])
    rows.append(["likelihood alone", *_values(cells[0]["auroc"]["likelihood"])])
    counts = cells[0]["counts"]
    heading = [
        f"{normal} ({counts['normal']} images)",
        *(f"{proxy} ({counts[proxy]})" for proxy in PROXIES),
        "mean",
    ]
    return markdown(heading, rows)


def _values(found: dict[str, float]) -> list[str]:
    values = [found[proxy] for proxy in PROXIES]
    return [f"{value:.3f}" for value in (*values, float(np.mean(values)))]


def main(
    normal: str,
    seed: int = 0,
    out: Annotated[Path, typer.Option()] = Path("results/backgrounds"),
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure what is missing of one normal set."""
    name = canonical(normal)
    for decay, rate in product(DECAYS, RATES):
        file = out / f"{name}-rate{rate:g}-decay{decay:g}-seed{seed}.json"
        if file.exists():
            refuse_other_settings(file, rate, decay, seed)
        else:
            cell = study(name, rate, decay, seed, data_directory(data_dir))
            write_json(
                file, cell | {"versions": versions(), "command": command("studies.backgrounds")}
            )


if __name__ == "__main__":
    typer.run(main)
