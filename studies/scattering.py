"""What the scattering detector finds of made-up anomalies, next to pixels: where it was chosen.

    python -m studies.scattering measure --data-dir data/
    python -m studies.scattering table

No set of a published table is read but for its normal training images. Each finished row is
written at once to ``results/scattering/``; what is there is not measured again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror import Detector, make_detector
from anomirror.benchmark.render import markdown
from anomirror.data import load_dataset
from anomirror.data.proxies import defects
from anomirror.detectors.usual import HEADS
from anomirror.errors import AnomirrorWarning
from anomirror.metrics import auroc
from studies.first_hour import photographs
from studies.rows import Rows
from studies.stability import proxy_sets

OUT = Path("results/scattering")
DRAWS = 3
FITTED, UNSEEN, ANOMALIES = 2000, 500, 300
CLASSES = {"fashion-mnist": (0, 1, 2, 6, 9), "gtsrb": (1, 2, 12, 13)}
"""Each in turn as the normal one: clothes, and the signs of which there are most."""
app = typer.Typer(help=__doc__, no_args_is_help=True)
Task = tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]


def tasks(draw: int, data_dir: Path) -> Iterator[Task]:
    """Name, images to fit on, unseen good ones, kinds of made-up anomalies."""
    rng = np.random.default_rng(draw)
    for name, colour in (("fashion-mnist", False), ("cifar10", True), ("gtsrb", True)):
        images = load_dataset(name, "train", data_dir)[0]
        images = images[rng.permutation(len(images))[: FITTED + UNSEEN + ANOMALIES]]
        made = {"planted": defects(images[FITTED + UNSEEN :], seed=draw)}
        made |= proxy_sets(colour, rng, data_dir)
        yield name, images[:FITTED], images[FITTED : FITTED + UNSEEN], made
    for name, classes in CLASSES.items():
        images, labels = load_dataset(name, "train", data_dir)
        for normal in classes:
            own = images[labels == normal]
            own = own[rng.permutation(len(own))[: FITTED // 2]]
            others = images[labels != normal]
            others = others[rng.permutation(len(others))[:ANOMALIES]]
            fitted = 2 * len(own) // 3
            yield f"{name}, class {normal}", own[:fitted], own[fitted:], {"other classes": others}
    if draw == 0:  # of these there is one split
        for fitted_on, kinds in photographs():
            for name, (good, bad) in kinds.items():
                if name.startswith("planted"):
                    yield name.removeprefix("planted-"), fitted_on, good, {"planted": bad}


@app.command()
def measure(data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")]) -> None:
    """AUROC of pca, knn and scattering, each head of it by itself as well."""
    kept = Rows(OUT / "proxies.json")
    for draw in range(DRAWS):
        for name, fitted, good, made in tasks(draw, data_dir):
            for method in ("pca", "knn", "scattering"):
                key = {"draw": draw, "set": name, "method": method}
                if key not in kept:
                    detector = make_detector(method, random_state=draw)
                    kept.add({**key, "auroc": _measured(detector, fitted, good, made)})


def _measured(
    detector: Detector, fitted: np.ndarray, good: np.ndarray, made: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """By kind of anomaly, and by head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnomirrorWarning)
        detector.fit(fitted)
    normal, found = detector.statistics(good), {}
    for kind, images in made.items():
        odd = detector.statistics(images)
        found[kind] = {
            head: auroc(-_raw(detector, head, normal), -_raw(detector, head, odd))
            for head in _heads(detector)
        }
    return found


def _heads(detector: Detector) -> tuple[str, ...]:
    return ("oddest", *HEADS) if "head" in detector.get_params() else ("oddest",)


def _raw(detector: Detector, head: str, statistics: Mapping[str, np.ndarray]) -> np.ndarray:
    if "head" in detector.get_params():
        detector.set_params(head=head)
    return detector.raw_scores_from(statistics)


@app.command()
def table() -> None:
    """Means by set, over kinds of anomalies and draws."""
    print(proxies_table())


def proxies_table(folder: Path = OUT) -> str:
    """For docs/decisions/0023-scattering.md."""
    rows = Rows(folder / "proxies.json").rows
    columns = [("pca", "oddest"), ("knn", "oddest")]
    columns += [("scattering", head) for head in ("oddest", *HEADS)]
    sets = list(dict.fromkeys(_family(row) for row in rows))
    values = np.array([[_mean(rows, name, *column) for column in columns] for name in sets])
    heading = [method if head == "oddest" else f"its {head}" for method, head in columns]
    lines = [[name, *(f"{v:.3f}" for v in of)] for name, of in zip(sets, values, strict=True)]
    lines.append(["mean", *(f"{value:.3f}" for value in values.mean(0))])
    return markdown(["normal images", *heading], lines)


def _family(row: Mapping[str, Any]) -> str:
    """One row for all classes of a set."""
    name, _, normal = row["set"].partition(", ")
    return f"{name}, one class" if normal else str(name)


def _mean(rows: list[dict[str, Any]], family: str, method: str, head: str) -> float:
    of = [row for row in rows if (_family(row), row["method"]) == (family, method)]
    return float(np.mean([np.mean([kind[head] for kind in r["auroc"].values()]) for r in of]))


if __name__ == "__main__":
    app()
