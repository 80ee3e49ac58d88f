"""What R should be relative to.

One fitted AMA scored with every blank image and power, on proxies alone.

anomirror reproduce table1 --methods ama --keep-models
python -m studies.references results/cpu/cifar10/ama-seed0.model --normal cifar10
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror.benchmark.cells import read_json, write_json
from anomirror.benchmark.provenance import command, versions
from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.data import canonical, data_directory, load_dataset
from anomirror.data.proxies import defects
from anomirror.detector.variants import with_params
from anomirror.detectors import AMA, load
from anomirror.errors import InputError
from anomirror.images import fingerprint, open_images
from anomirror.metrics import auroc
from anomirror.scorers import SIDES, LogGaussianDensity, Scores, both_sides
from anomirror.structure import corrected, floor_of, slope, usual_power
from studies.stability import PROXIES, proxy_sets

BLANKS, POWERS = ("mean", "median"), (0.25, 0.5, 0.75, 1.0)
PLAIN = "R"
"""Eq. (5); the others are named by :func:`label`."""
SETS = ("defects", *PROXIES)
CALIBRATE, NORMAL = 2000, 300


def label(blank: str, power: float | str) -> str:
    """A relative R in a cell and a table.

    >>> label("mean", 0.5)
    'R / S(mean)^0.5'
    """
    return f"R / S({blank})^{power}" if isinstance(power, str) else f"R / S({blank})^{power:g}"


FITTED = "fitted"
"""The power that normal training images show, in place of one chosen."""

_Statistics = dict[str, Scores]
"""R under :data:`PLAIN`, and S under the name of each blank image."""
_Floors = dict[str, float]
_Rule = Callable[[_Statistics], Scores]


def study(ama: AMA, normal: str, data_dir: Path | None) -> dict[str, Any]:
    """AUROC by reference, reading and proxy.

    Normal images, and those that get a defect, were held out of the training.

    Raises
    ------
    InputError : the model was trained on other images, or nothing is known to have been held out.
    """
    train = load_dataset(normal, "train", data_dir)[0]
    images = open_images(train, shape=ama.image_shape_)
    if fingerprint(images) != ama.data_fingerprint_:
        raise InputError(f"the model was trained on other images than {normal}'s train split")
    if ama.random_state is None or ama.calibration_fraction == 0:
        raise InputError(
            "a model without random_state or with calibration_fraction=0: which images it has not "
            "seen is not known"
        )
    kept, heldout = ama.split(images, ama.calibration_fraction)
    rng = np.random.default_rng(0)
    unseen = train[rng.permutation(heldout.indices)]
    count = min(NORMAL, len(unseen) // 2)
    sets = {
        "defects": defects(unseen[count : 2 * count]),
        **proxy_sets(ama.image_shape_[0] == 3, rng, data_dir),
    }
    calibration, floors = statistics_of(ama, train[rng.permutation(kept.indices)[:CALIBRATE]])
    unchanged = statistics_of(ama, unseen[:count])[0]
    anomalous = {name: statistics_of(ama, images)[0] for name, images in sets.items()}
    found: dict[str, dict[str, dict[str, float]]] = {}
    rules: dict[str, _Rule] = {PLAIN: lambda statistics: statistics[PLAIN]}
    for blank in BLANKS:
        rules |= {label(blank, power): partial(relative, floors, blank, power) for power in POWERS}
        rules[label(blank, FITTED)] = partial(
            relative, floors, blank, usual_power(calibration[PLAIN], calibration[blank])
        )
    rules |= {f"S({blank}) alone": partial(_floored, floors, blank) for blank in BLANKS}
    for name, rule in rules.items():
        for side, scorer in both_sides(LogGaussianDensity()).items():
            scorer.fit(rule(calibration))
            normality = scorer.normality(rule(unchanged))
            found.setdefault(name, {})[side] = {
                proxy: auroc(normality, scorer.normality(rule(statistics)))
                for proxy, statistics in anomalous.items()
            }
    counts = {
        "normal": count,
        "calibration": len(calibration[PLAIN]),
        **{name: len(images) for name, images in sets.items()},
    }
    told = {
        "normal": normal,
        "seed": ama.random_state,
        "parameters": ama.stored_parameters(),
        "counts": counts,
    }
    slopes = {
        blank: slope(calibration[PLAIN], _floored(floors, blank, calibration)) for blank in BLANKS
    }
    return told | {"auroc": found, "slope": slopes}


def statistics_of(ama: AMA, images: np.ndarray) -> tuple[_Statistics, _Floors]:
    """R and S of each blank image, and the floor of each S if these are the normal images."""
    found = {PLAIN: ama.statistics(images, ("r",))["r"]}
    for blank in BLANKS:
        found[blank] = with_params(ama, {"reference_image": blank}).statistics(images, ("s",))["s"]
    return found, {blank: floor_of(found[blank]) for blank in BLANKS}


def _floored(floors: _Floors, blank: str, statistics: _Statistics) -> Scores:
    return np.maximum(statistics[blank], floors[blank])


def relative(floors: _Floors, blank: str, power: float, statistics: _Statistics) -> Scores:
    return corrected(statistics[PLAIN], statistics[blank], floors[blank], power)


# ---------------------------------------------------------------------- the page


def _read(folder: Path) -> list[dict[str, Any]]:
    """Every cell; of one kind of training alone."""
    cells = [read_json(file) for file in sorted(folder.glob("*.json"))]
    if not cells:
        raise InputError(f"{folder}: holds no study of references")
    trainings = {
        json.dumps(cell["parameters"] | {"random_state": None}, sort_keys=True) for cell in cells
    }
    if len(trainings) > 1:
        raise InputError(
            f"{folder}: studies of models with different parameters do not stand in one table"
        )
    return cells


def proxies_table(folder: Path, normal: str) -> str:
    """Two-sided AUROC of every reference on each proxy."""
    cells = [cell for cell in _read(folder) if cell["normal"] == normal]
    rows = [
        [
            name,
            *(
                mean_and_spread([cell["auroc"][name]["two-sided"][proxy] for cell in cells])
                for proxy in SETS
            ),
        ]
        for name in cells[0]["auroc"]
    ]
    counts = cells[0]["counts"]
    return markdown(
        [
            f"{normal} ({counts['normal']} images), two-sided",
            *(f"{name} ({counts[name]})" for name in SETS),
        ],
        rows,
    )


def means_table(folder: Path) -> str:
    """The mean over proxies of each normal set and reading, and over the normal sets."""
    cells = _read(folder)
    normals = sorted({cell["normal"] for cell in cells})
    rows = []
    for name in cells[0]["auroc"]:
        row = [name]
        for side in SIDES:
            by_set = [
                [
                    float(np.mean(list(cell["auroc"][name][side].values())))
                    for cell in cells
                    if cell["normal"] == normal
                ]
                for normal in normals
            ]
            row += [
                *map(mean_and_spread, by_set),
                f"{np.mean([np.mean(values) for values in by_set]):.3f}",
            ]
        rows.append(row)
    return markdown(
        [
            "mean over proxies",
            *(f"{normal}, {side}" for side in SIDES for normal in (*normals, "all")),
        ],
        rows,
    )


def slopes_table(folder: Path) -> str:
    """The power of S with which R grows among normal training images."""
    cells = _read(folder)
    rows = []
    for normal in sorted({cell["normal"] for cell in cells}):
        found = [cell["slope"] for cell in cells if cell["normal"] == normal]
        rows.append(
            [
                normal,
                *(mean_and_spread([slope[blank] for slope in found]) for blank in BLANKS),
                str(len(found)),
            ]
        )
    return markdown(
        ["normal set", *(f"slope of log R on log S({blank})" for blank in BLANKS), "seeds"], rows
    )


def main(
    model: Annotated[
        Path, typer.Argument(help="an AMA that `anomirror reproduce --keep-models` kept")
    ],
    normal: Annotated[str, typer.Option(help="the set that it was trained on")],
    out: Annotated[Path, typer.Option()] = Path("results/references"),
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure one model."""
    ama = load(model)
    if not isinstance(ama, AMA):
        raise InputError(f"{model}: a model of {ama.method!r}, not of AMA")
    cell = study(ama, canonical(normal), data_directory(data_dir))
    cell |= {"versions": versions(), "command": command("studies.references")}
    write_json(out / f"{canonical(normal)}-{model.stem}.json", cell)


if __name__ == "__main__":
    typer.run(main)
