"""Whether decisions keep their word: false alarms on unseen normal images, against what was asked.

    python -m studies.guarantees measure --data-dir data/ --methods pca,knn
    python -m studies.guarantees table
    python -m studies.guarantees figure docs/images/guarantees.png

Each finished draw is written at once to ``results/decisions/``; what is there is not measured
again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import kstest

from anomirror import make_detector
from anomirror.benchmark.render import markdown
from anomirror.data import load_dataset
from anomirror.decisions import place as place_of
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
FEWEST_TRAINED = 200
UNSEEN, ANOMALIES = 2000, 1000
GUARANTEES = ("expected", "confident")

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def measure(
    data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")],
    methods: Annotated[str, typer.Option()] = ",".join(QUICK),
    draws: Annotated[int, typer.Option()] = DRAWS,
) -> None:
    """Fit on random images, decide about unseen ones and anomalies."""
    for method in methods.split(","):
        kept = Rows(OUT / f"{method}.json")
        for key in _keys(method, draws):
            if key not in kept:
                kept.add({**key, **_draw(data_dir, **key)})


def _keys(method: str, draws: int) -> Iterator[dict[str, Any]]:
    """Every draw of each cell in turn, so that an interrupted measurement has some of each."""
    for draw in range(draws):
        for name, counts in COUNTS.items():
            for count in counts:
                if method in QUICK or count >= FEWEST_TRAINED:
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


def _draw(data_dir: Path, method: str, set: str, count: int, draw: int) -> dict[str, Any]:
    pool, unseen, anomalies = _images(set, data_dir)
    rng = np.random.default_rng([draw, count])
    order = rng.permutation(len(pool))
    good, unseen = pool[order[:count]], unseen if len(unseen) else pool[order[count:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnomirrorWarning)
        detector = make_detector(method, random_state=draw).fit(good)
    new, odd = detector.score_samples(unseen), detector.score_samples(anomalies)
    fitted = detector.score_samples(good)
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


def rows() -> list[dict[str, Any]]:
    """Everything measured."""
    return [row for file in sorted(OUT.glob("*.json")) for row in Rows(file).rows]


@app.command()
def table() -> None:
    """Means over draws; of the confident rate, how many draws exceeded what was asked."""
    print(guarantees_table())


@app.command()
def uniform() -> None:
    """Whether p-values of unseen normal images are uniform: of one image for each draw."""
    print(uniform_table())


def uniform_table(*_: Path) -> str:
    """For docs/guarantees.md: a Kolmogorov-Smirnov test over draws, ties broken at random."""
    rng = np.random.default_rng(0)
    of_method: dict[str, list[dict[str, Any]]] = {}
    for row in rows():
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


def guarantees_table(*_: Path) -> str:
    """For docs/guarantees.md."""
    heading = ["normal images", "method", "calibrated by", "asked", "promised"]
    heading += ["false alarms before", "after"]
    heading += ["confident", "draws that exceed it", "found before", "after", "optimum", "draws"]
    cells_of: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows():
        cells_of.setdefault((row["set"], row["method"], row["count"]), []).append(row)
    lines = []
    for (name, method, count), draws in sorted(cells_of.items()):
        for place, rate in enumerate(ASKED):
            alarms, found = (
                {way: np.array([row[what][way][place] for row in draws]) for way in draws[0][what]}
                for what in ("alarms", "found")
            )
            spread = 2 * np.std(alarms["expected"]) / np.sqrt(len(draws))
            exceeded = "-"  # so few cannot promise it
            if place_of(draws[0]["calibrated_on"], rate, "confident"):
                exceeded = f"{np.mean(_surely_above(alarms['confident'], rate, draws)):.2f}"
            lines.append(
                [
                    f"{count} {name}",
                    method,
                    f"{draws[0]['calibrated_on']} {draws[0]['by']}",
                    f"{rate:g}",
                    f"{_promised(draws[0]['calibrated_on'], rate):.3f}",
                    f"{alarms['before'].mean():.3f}",
                    f"{alarms['expected'].mean():.3f} ± {spread:.3f}",
                    f"{alarms['confident'].mean():.3f}",
                    exceeded,
                    f"{found['before'].mean():.3f}",
                    f"{found['expected'].mean():.3f}",
                    f"{np.mean([row['optimum'][place] for row in draws]):.3f}",
                    str(len(draws)),
                ]
            )
    return markdown(heading, lines)


def _promised(count: int, rate: float) -> float:
    """k / (n + 1): at most the rate, or the least that so many images can promise."""
    return max(1, place_of(count, rate)) / (count + 1)


def _surely_above(alarms: np.ndarray, rate: float, draws: list[dict[str, Any]]) -> np.ndarray:
    """Draws whose rate on unseen images is above what was asked by more than those can tell."""
    unseen = np.array([row["unseen"] for row in draws])
    return alarms > rate + 1.64 * np.sqrt(rate * (1 - rate) / unseen)


if __name__ == "__main__":
    app()
