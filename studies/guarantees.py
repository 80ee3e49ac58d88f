"""Whether decisions keep their word: false alarms on unseen normal images, against what was asked.

    python -m studies.guarantees measure --data-dir data/ --methods pca,knn
    python -m studies.guarantees measure --data-dir data/ --methods ama --calibrations 4
    python -m studies.guarantees table
    python -m studies.guarantees uniform
    python -m studies.guarantees figure docs/images/guarantees.png

Each finished draw is written at once to ``results/decisions/``; what is there is not measured
again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import kstest

from anomirror import Detector, make_detector
from anomirror.benchmark.render import markdown
from anomirror.data import load_dataset
from anomirror.decisions import place, place_taken
from anomirror.errors import AnomirrorWarning
from anomirror.scorers import Scores
from studies.first_hour import cells
from studies.rows import Rows

OUT = Path("results/decisions")
ASKED = (0.01, 0.05, 0.1)
DRAWS = 20
COUNTS = {"clothes": (20, 60, 200, 1000), "cifar10": (20, 60, 200, 1000), "cells": (20, 60, 200)}
"""Of normal images; there are 588 cells of one kind, of which the others are unseen ones."""
QUICK = ("pca", "knn")
WITHOUT_TRAINING = (*QUICK, "scattering", "auto")
FEWEST_TRAINED = 200
SHORTER: dict[str, dict[str, int]] = {
    "likelihood_ratio": {"epochs": 1},
    "complexity": {"epochs": 1},
}
"""Trainings of many minutes, a fifth as long: what is promised does not depend on how good a method
is. What they find is less than with their defaults.
"""
FEWEST_TRAININGS = 5
"""Of a cell that is shown: before there are so many, nothing is claimed."""
UNSEEN, ANOMALIES = 2000, 1000
GUARANTEES = ("expected", "confident")
MIDDLE = ASKED.index(0.05)
HOW = {"folds": "in folds", "heldout": "held out", "train": "fitted"}

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def measure(
    data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")],
    methods: Annotated[str, typer.Option()] = ",".join(QUICK),
    draws: Annotated[int, typer.Option()] = DRAWS,
    calibrations: Annotated[int, typer.Option(help="draws that share one training")] = 1,
) -> None:
    """Fit on random images, decide about unseen ones and anomalies.

    What a promise is tested by is the draw of the images that calibrate. A training that takes
    minutes serves several: each calibrates it on other images that it has not seen.
    """
    kept = {method: Rows(OUT / f"{method}.json") for method in methods.split(",")}
    for key in _keys(list(kept), draws // calibrations):
        of = [{**key, "draw": calibrations * key["draw"] + at} for at in range(calibrations)]
        if not all(each in kept[key["method"]] for each in of):
            for each, row in zip(of, _draws(data_dir, calibrations, **key), strict=True):
                kept[key["method"]].add({**each, "training": key["draw"], **row})


def _keys(methods: Sequence[str], draws: int) -> Iterator[dict[str, Any]]:
    """Every draw of each cell in turn, so that an interrupted measurement has some of each."""
    for draw in range(draws):
        for name, counts in COUNTS.items():
            for method, count in product(methods, counts):
                if method in WITHOUT_TRAINING or count >= FEWEST_TRAINED:
                    yield {"method": method, "set": name, "count": count, "draw": draw}


@cache
def _images(name: str, data_dir: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool to fit on, unseen normal images (none: what is left of the pool), anomalies."""
    if name == "cells":
        good, bad = cells()
        return good, good[:0], bad
    normal, odd = ("fashion-mnist", "mnist") if name == "clothes" else ("cifar10", "gtsrb")
    train, test = (load_dataset(normal, split, data_dir)[0] for split in ("train", "test"))
    return train, test[:UNSEEN], load_dataset(odd, "test", data_dir)[0][:ANOMALIES]


def _draws(
    data_dir: Path, calibrations: int, method: str, set: str, count: int, draw: int
) -> Iterator[dict[str, Any]]:
    """One fit, and rows of it: the first as it was calibrated, others on images it has not seen."""
    pool, unseen, anomalies = _images(set, data_dir)
    rng = np.random.default_rng([draw, count])
    order = rng.permutation(len(pool))
    good, rest = pool[order[:count]], pool[order[count:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnomirrorWarning)
        detector = make_detector(method, random_state=draw, **SHORTER.get(method, {})).fit(good)
        fitted, odd = detector.raw_scores(good), detector.raw_scores(anomalies)
        new = detector.raw_scores(unseen if len(unseen) else rest)
        for at in range(calibrations):
            tested = np.ones(len(new), bool)
            if at:
                calibrating = rng.permutation(len(rest))[: detector.calibrated_on_]
                detector.recalibrate(rest[calibrating])
                if not len(unseen):
                    tested[calibrating] = False
            yield _row(detector, rng, fitted, new[tested], odd)


def _row(
    detector: Detector, rng: np.random.Generator, fitted: Scores, new: Scores, odd: Scores
) -> dict[str, Any]:
    """What is decided by raw scores: of the images that were fitted, unseen ones, anomalies."""
    fitted, new, odd = (detector.scorer_.normality(raw) for raw in (fitted, new, odd))
    values = detector.p_values_from(new)

    def shares(scores: Scores) -> dict[str, list[float]]:
        ways = {}
        for guarantee in GUARANTEES:
            detector.set_params(guarantee=guarantee)
            flagged = [detector.set_params(false_alarm_rate=rate).flagged(scores) for rate in ASKED]
            ways[guarantee] = [float(flags.mean()) for flags in flagged]
        before = [float(np.mean(scores < np.quantile(fitted, rate))) for rate in ASKED]
        return {**ways, "before": before}

    return {
        "by": detector.calibrated_by_,
        "calibrated_on": detector.calibrated_on_,
        "unseen": len(new),
        "alarms": shares(new),
        "found": shares(odd),
        "optimum": [float(np.mean(odd < np.quantile(new, rate))) for rate in ASKED],
        # of one image: over draws these are independent, those of one draw are not
        "p_value": float(values[rng.integers(len(values))]),
        "p_up_to": [float(np.mean(values <= tenth / 10)) for tenth in range(1, 10)],
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    """What is measured, of cells with enough trainings."""
    return [
        row
        for file in sorted(folder.glob("*.json"))
        for cell in _by_cell(Rows(file).rows).values()
        for row in cell
        if len(_trainings(cell)) >= FEWEST_TRAININGS
    ]


def _by_cell(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, int, str], list[dict[str, Any]]]:
    cells_of: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        cells_of.setdefault((row["set"], row["count"], row["method"]), []).append(row)
    return cells_of


def _trainings(draws: list[dict[str, Any]]) -> set[int]:
    return {row.get("training", row["draw"]) for row in draws}


@app.command()
def table() -> None:
    """Means over draws; of the confident rate, how many draws exceeded what was asked."""
    print(guarantees_table())


@app.command()
def uniform() -> None:
    """Whether p-values of unseen normal images are uniform: of one image for each draw."""
    print(uniform_table())


def uniform_table(folder: Path = OUT) -> str:
    """For docs/guarantees.md: a Kolmogorov-Smirnov test over draws, ties broken at random."""
    rng = np.random.default_rng(0)
    of_method: dict[str, list[dict[str, Any]]] = {}
    for row in rows(folder):
        of_method.setdefault(row["method"], []).append(row)
    lines = []
    for method, draws in of_method.items():
        values = [row["p_value"] - rng.random() / (row["calibrated_on"] + 1) for row in draws]
        shares = np.mean([row["p_up_to"] for row in draws], axis=0)
        test = kstest(values, "uniform")
        lines.append([method, str(len(draws)), f"{test.pvalue:.3f}", *(f"{s:.3f}" for s in shares)])
    return markdown(
        ["method", "draws", "KS p-value", *(f"p <= .{tenth}" for tenth in range(1, 10))], lines
    )


def guarantees_table(folder: Path = OUT) -> str:
    """For docs/guarantees.md: means over draws."""
    heading = ["normal images", "method", "calibrated by", "before", "after", "± of .05"]
    heading += ["confident", "draws above it", "found at .05, of at best", "draws"]
    lines = []
    for (name, count, method), draws in sorted(_cells(folder).items()):
        calibrating = draws[0]["calibrated_on"]
        alarms = {way: _of(draws, "alarms", way) for way in ("before", *GUARANTEES)}
        above = [_share_above(alarms["confident"], at, draws) for at in range(len(ASKED))]
        spread = 2 * np.std(alarms["expected"][:, MIDDLE]) / np.sqrt(len(draws))
        at_best = np.mean([row["optimum"][MIDDLE] for row in draws])
        found = _of(draws, "found", "expected")[:, MIDDLE].mean()
        lines.append(
            [
                f"{count:,} {name}",
                f"{method}{'*' if method in SHORTER else ''}",
                f"{calibrating} {HOW[draws[0]['by']]}",
                _joined(alarms["before"].mean(0)),
                _joined(alarms["expected"].mean(0)),
                f"{spread:.3f}",
                _joined(alarms["confident"].mean(0)),
                " / ".join(above),
                f"{found:.2f} of {at_best:.2f}",
                _counted(draws),
            ]
        )
    return markdown(heading, lines)


def _counted(draws: list[dict[str, Any]]) -> str:
    """How many, and of how many trainings where several share one."""
    trainings = len(_trainings(draws))
    shared = f" of {trainings} trainings" if trainings < len(draws) else ""
    return f"{len(draws)}{shared}"


def _cells(folder: Path) -> dict[tuple[str, int, str], list[dict[str, Any]]]:
    return _by_cell(rows(folder))


def _of(draws: list[dict[str, Any]], what: str, way: str) -> np.ndarray:
    """``(draws, rates)``."""
    return np.array([row[what][way] for row in draws])


def _joined(values: np.ndarray) -> str:
    return " / ".join(f"{value:.3f}" for value in values)


def _share_above(alarms: np.ndarray, at: int, draws: list[dict[str, Any]]) -> str:
    """Draws whose rate is above what was asked by more than their unseen images can tell; "-" where
    so few images cannot promise it with 95 % confidence.
    """
    rate = ASKED[at]
    if not place(draws[0]["calibrated_on"], rate, "confident"):
        return "-"
    unseen = np.array([row["unseen"] for row in draws])
    above = alarms[:, at] > rate + 1.64 * np.sqrt(rate * (1 - rate) / unseen)
    return f"{above.mean():.2f}"


@app.command()
def figure(file: Annotated[Path, typer.Argument()]) -> None:
    """Asked against measured false alarms, before and after, for the README."""
    draw(OUT, file)


def draw(folder: Path, file: Path) -> None:
    """The means of every cell, and the line of what was asked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells_of = _cells(folder)
    drawing, axes = pyplot.subplots(1, 2, figsize=(7.5, 3.1), sharex=True)
    promised = np.array(
        [[_promised(d[0]["calibrated_on"], rate) for rate in ASKED] for d in cells_of.values()]
    )
    for axis, way, title in zip(
        axes,
        ("before", "expected"),
        ("threshold from fitted images", "from images that no fit has seen"),
        strict=True,
    ):
        measured = np.array([_of(draws, "alarms", way).mean(0) for draws in cells_of.values()])
        axis.plot(promised.ravel(), measured.ravel(), "o", ms=4, alpha=0.6)
        axis.plot([0, 0.11], [0, 0.11], color="black", lw=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("false alarms promised")
        axis.set_ylim(0, 1 if way == "before" else 0.2)
    axes[0].set_ylabel("measured on unseen images")
    drawing.tight_layout()
    drawing.savefig(file, dpi=110, metadata={"Software": None})
    pyplot.close(drawing)


def _promised(count: int, rate: float) -> float:
    """k / (n + 1): at most the rate, or the least that so many images can promise."""
    return place_taken(count, rate) / (count + 1)


if __name__ == "__main__":
    app()
