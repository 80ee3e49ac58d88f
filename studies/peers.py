"""Detectors of PyOD next to ours: the same images, the same process, their own defaults.

PyOD wants an environment of its own (``pip install pyod .`` there):

    python -m studies.peers measure --data-dir data/
    python -m studies.peers table

Every cell is a process of its own, which tells its seconds and its memory. PyOD sees images of 32
pixels as rows in [0, 1]. Each finished row is written at once to ``results/peers/``; what is there
is not measured again.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.data import load_dataset
from anomirror.images import ImageSet, frame_of, open_images
from anomirror.metrics import auroc
from studies.first_hour import cells
from studies.rows import Rows

OUT = Path("results/peers")
PEERS = {
    "KNN": "pyod.models.knn",
    "PCA": "pyod.models.pca",
    "ECOD": "pyod.models.ecod",
    "IForest": "pyod.models.iforest",
    "AutoEncoder": "pyod.models.auto_encoder",
    "VAE": "pyod.models.vae",
    "DeepSVDD": "pyod.models.deep_svdd",
    "ALAD": "pyod.models.alad",
    "AnoGAN": "pyod.models.anogan",
}
"""Class and module of each; these names, not a file, choose what is imported."""
OURS = ("auto", "scattering", "knn", "pca", "deep_svdd")
SETS = ("clothes", "cifar10", "cells-mono", "cells-poly")
SEEDS = 3
FITTED, TESTED = 2000, 1000
LIMIT = 900
"""Seconds that a cell may take."""

app = typer.Typer(help=__doc__, no_args_is_help=True)
DataDir = Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")]


@dataclass(frozen=True)
class Split:
    """Images of one set, uint8."""

    train: np.ndarray
    normal: np.ndarray
    anomalies: Mapping[str, np.ndarray]


def split_of(name: str, seed: int, data_dir: Path) -> Split:
    """The same for every method: random images by seed."""
    rng = np.random.default_rng(seed)
    if name.startswith("cells"):
        good, bad = cells(name.removeprefix("cells-"))
        good = good[rng.permutation(len(good))]
        fitted = 2 * len(good) // 3
        return Split(good[:fitted], good[fitted:], {"defects": bad})
    own = {"clothes": "fashion-mnist", "cifar10": "cifar10"}[name]
    others = {"clothes": ("mnist", "omniglot", "gtsrb"), "cifar10": ("cifar100", "gtsrb")}[name]
    train, test = (load_dataset(own, split, data_dir)[0] for split in ("train", "test"))
    grey = train.ndim == 3
    odd = {}
    for other in others:
        images = load_dataset(other, "test", data_dir)[0]
        odd[other] = _as_grey(images) if grey else images
    return Split(
        train[rng.permutation(len(train))[:FITTED]],
        test[rng.permutation(len(test))[:TESTED]],
        {key: images[rng.permutation(len(images))[:TESTED]] for key, images in odd.items()},
    )


def _as_grey(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        return images
    return np.asarray((images @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8))


@app.command()
def measure(
    data_dir: DataDir,
    peers: Annotated[str, typer.Option()] = ",".join(PEERS),
    ours: Annotated[str, typer.Option()] = ",".join(OURS),
    sets: Annotated[str, typer.Option()] = ",".join(SETS),
    seeds: Annotated[int, typer.Option()] = SEEDS,
) -> None:
    """AUROC, seconds of a fit, images scored in a second, peak memory."""
    kept = Rows(OUT / "peers.json")
    methods = [f"pyod {name}" for name in peers.split(",") if name]
    methods += [name for name in ours.split(",") if name]
    for seed in range(seeds):
        for name in sets.split(","):
            for method in methods:
                key = {"method": method, "set": name, "seed": seed}
                if key not in kept:
                    kept.add({**key, **_apart(method, name, seed, data_dir)})


def _apart(method: str, name: str, seed: int, data_dir: Path) -> dict[str, Any]:
    """One cell, as a process of its own."""
    words = [sys.executable, "-m", "studies.peers", "one", method, name, str(seed)]
    try:
        done = subprocess.run(
            [*words, "--data-dir", str(data_dir)],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {LIMIT} s"}
    except subprocess.CalledProcessError as error:
        return {"failed": error.stderr.strip().splitlines()[-1][:200]}
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


@app.command()
def one(method: str, name: str, seed: int, data_dir: DataDir) -> None:
    """A single cell, as JSON."""
    warnings.simplefilter("ignore")
    split = split_of(name, seed, data_dir)
    before = _memory()
    if method.startswith("pyod "):
        found = _of_pyod(method.removeprefix("pyod "), split, seed)
    else:
        found = _of_ours(method, split, seed)
    found["gigabytes"] = round(_memory(), 2)
    found["gigabytes_before"] = round(before, 2)
    found["versions"] = {each: version(each) for each in ("anomirror", "pyod", "torch")}
    print(json.dumps(found))


def _of_ours(method: str, split: Split, seed: int) -> dict[str, Any]:
    from anomirror import make_detector

    detector, started = make_detector(method, random_state=seed), time.perf_counter()
    detector.fit(split.train)
    seconds, started = time.perf_counter() - started, time.perf_counter()
    normal = detector.raw_scores(split.normal)
    odd = {key: detector.raw_scores(images) for key, images in split.anomalies.items()}
    return _row(split, normal, odd, seconds, time.perf_counter() - started)


def _of_pyod(name: str, split: Split, seed: int) -> dict[str, Any]:
    import torch

    np.random.seed(seed)  # PyOD's detectors draw from it
    torch.manual_seed(seed)
    kind = getattr(importlib.import_module(PEERS[name]), name)
    seen = open_images(split.train, image_size="auto", most=32)
    rows = _rows(seen)
    settings = {"n_features": rows.shape[1]} if name == "DeepSVDD" else {}
    detector, started = kind(**settings), time.perf_counter()
    detector.fit(rows)
    seconds, started = time.perf_counter() - started, time.perf_counter()

    def scored(images: np.ndarray) -> np.ndarray:
        framed = open_images(images, shape=seen.shape, frame=frame_of(seen))
        return np.asarray(detector.decision_function(_rows(framed)), float)

    normal = scored(split.normal)
    odd = {key: scored(images) for key, images in split.anomalies.items()}
    return _row(split, normal, odd, seconds, time.perf_counter() - started)


def _rows(images: ImageSet) -> np.ndarray:
    """Pixels in [0, 1] of the 32x32 that ours would see, ``(n, pixels)`` float32."""
    return np.asarray(images.take(range(len(images))).flatten(1).numpy(), np.float32) / 255


def _row(
    split: Split,
    normal: np.ndarray,
    odd: Mapping[str, np.ndarray],
    fitted_in: float,
    scored_in: float,
) -> dict[str, Any]:
    count = len(normal) + sum(map(len, odd.values()))
    return {
        "auroc": {key: auroc(-normal, -raw) for key, raw in odd.items()},
        "fit_seconds": round(fitted_in, 2),
        "scored_per_second": round(count / scored_in, 1),
        "fitted": len(split.train),
    }


def _memory() -> float:
    """Peak of this process in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


@app.command()
def table() -> None:
    """AUROC over seeds; seconds, images in a second and memory of solar cells."""
    print(peers_table())


def peers_table(folder: Path = OUT) -> str:
    """For docs/choosing.md."""
    rows = Rows(folder / "peers.json").rows
    return _table(rows, list(dict.fromkeys(row["method"] for row in rows)))


def best_table(folder: Path = OUT) -> str:
    """For the README: what our command line fits by default, next to the best of PyOD's."""
    rows = Rows(folder / "peers.json").rows
    means: dict[str, list[float]] = {}
    for row in rows:
        means.setdefault(row["method"], []).extend(row.get("auroc", {}).values())
    theirs = [name for name, found in means.items() if name.startswith("pyod") and found]
    best = sorted(theirs, key=lambda name: -float(np.mean(means[name])))[:3]
    return _table(rows, ["auto", "scattering", *best])


def _table(rows: list[dict[str, Any]], methods: list[str]) -> str:
    columns = [
        (name, key)
        for name in SETS
        for key in dict.fromkeys(
            key for row in rows if row["set"] == name for key in row.get("auroc", {})
        )
    ]
    heading = ["AUROC", *(f"{name} → {key}" for name, key in columns)]
    heading += ["fit, s", "images/s", "GB"]
    lines = []
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        cells_ = [
            mean_and_spread([r["auroc"][key] for r in own if r["set"] == name and "auroc" in r])
            for name, key in columns
        ]
        timed = [r for r in own if r["set"] == "cells-mono" and "auroc" in r]
        lines.append([method, *cells_, *_costs(timed)])
    return markdown(heading, lines)


def _costs(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["-", "-", "-"]
    middle = {
        key: float(np.median([row[key] for row in rows]))
        for key in ("fit_seconds", "scored_per_second", "gigabytes")
    }
    return [
        f"{middle['fit_seconds']:.1f}",
        f"{middle['scored_per_second']:,.0f}",
        f"{middle['gigabytes']:.1f}",
    ]


if __name__ == "__main__":
    app()
