"""What a user gets in the first hour.

False alarms on unseen good images, seconds and memory, AUROC by size.

    python -m studies.first_hour false-alarms --label after --data-dir data/
    python -m studies.first_hour sizes
    python -m studies.first_hour cost --photographs-at photographs/
    python -m studies.first_hour scorers --data-dir data/

Each finished row is written at once to ``results/first-hour/``; what is there is not measured
again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from anomirror import make_detector
from anomirror.data import Split
from anomirror.metrics import auroc
from studies.rows import Rows

OUT = Path("results/first-hour")
ASKED = 0.05
DRAWS = 10
SIZES_OF: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("pca", "knn"), (32, 64, 128, 256)),
    **dict.fromkeys(("scattering", "auto"), (32, 64, 128)),
}
"""Those that were measured, of methods that are quick enough."""
QUICK, TRAINED = tuple(SIZES_OF), ("ama", "deep_svdd", "skip_ganomaly")
COUNTS = {"cells": (20, 60, 200, 400), "clothes": (20, 50, 100, 200, 500, 2000)}
_SPLITS: tuple[Split, Split] = ("train", "test")
TRAINED_COUNTS = (20, 100)

app = typer.Typer(help=__doc__, no_args_is_help=True)


def cells(kind: str = "mono") -> tuple[np.ndarray, np.ndarray]:
    """Normal and defective solar cells of one kind, ``(n, 300, 300)`` uint8."""
    from elpv_dataset.utils import load_dataset

    images, probability, kinds = load_dataset()
    return images[(kinds == kind) & (probability == 0)], images[
        (kinds == kind) & (probability == 1)
    ]


def drawn(
    name: str, count: int, draw: int, data_dir: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images to fit on, unseen good ones, anomalies."""
    rng = np.random.default_rng([draw, count])
    if name == "cells":
        good, bad = cells()
        order = rng.permutation(len(good))
        return good[order[:count]], good[order[count:]], bad
    from anomirror.data import load_dataset

    train, test = (load_dataset("fashion-mnist", split, data_dir)[0] for split in _SPLITS)
    digits = load_dataset("mnist", "test", data_dir)[0]
    return train[rng.permutation(len(train))[:count]], test[:1000], digits[:1000]


@app.command("false-alarms")
def false_alarms(
    label: Annotated[str, typer.Option(help="what the rows are called: before, after")],
    data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")],
    methods: Annotated[str, typer.Option()] = ",".join((*QUICK, *TRAINED)),
    size: Annotated[
        int | None,
        typer.Option(help="of the images, for methods that train; the default if not given"),
    ] = None,
    draws: Annotated[int, typer.Option(help="of methods that train")] = DRAWS,
) -> None:
    """Share of unseen good images that are flagged when 5 % are asked for, and of anomalies that
    are found.
    """
    kept = Rows(OUT / f"false-alarms-{label}.json")
    for method in methods.split(","):
        trains = method in TRAINED
        for name, counts in COUNTS.items():
            for count in TRAINED_COUNTS if trains else counts:
                for draw in range(draws if trains else DRAWS):
                    key = {"method": method, "set": name, "count": count, "draw": draw}
                    if key in kept:
                        continue
                    good, unseen, bad = drawn(name, count, draw, data_dir)
                    detector = make_detector(
                        method, **({"image_size": size} if trains and size else {})
                    ).fit(good)
                    flagged, found = (
                        float(np.mean(detector.predict(images) == -1)) for images in (unseen, bad)
                    )
                    kept.add({**key, "asked": ASKED, "false_alarms": flagged, "found": found})


@app.command()
def sizes(
    seeds: Annotated[int, typer.Option()] = 1,
    methods: Annotated[str, typer.Option()] = "pca,knn",
    name: Annotated[str, typer.Option(help="of the file")] = "sizes",
    only: Annotated[str, typer.Option(help="images whose name holds this")] = "",
) -> None:
    """AUROC by size and method.

    Solar cells, and planted defects in solar cells and textures (the proxies).
    """
    from anomirror.detector.contract import Detector

    kept = Rows(OUT / f"{name}.json")
    for method in methods.split(","):
        for train, tests in photographs():
            if not any(only in test for test in tests):
                continue
            for size in SIZES_OF.get(method, (32, 64)):
                for seed in range(seeds):
                    keys = {
                        test: {"method": method, "set": test, "size": size, "seed": seed}
                        for test in tests
                    }
                    if all(key in kept for key in keys.values()):
                        continue
                    started = time.perf_counter()
                    detector: Detector = make_detector(
                        method, image_size=size, random_state=seed
                    ).fit(train)
                    seconds = time.perf_counter() - started
                    for test, (good, bad) in tests.items():
                        raw_good, raw_bad = detector.raw_scores(good), detector.raw_scores(bad)
                        values = {
                            "auroc": auroc(
                                detector.normality(raw_good), detector.normality(raw_bad)
                            )
                        }
                        kept.add(
                            {
                                **keys[test],
                                **values,
                                "auroc_raw": auroc(-raw_good, -raw_bad),
                                "fit_seconds": seconds,
                            }
                        )


def photographs() -> Iterator[tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Images to fit on; by name, unseen good ones and anomalies. "planted" are proxies, without a
    real defect.
    """
    from anomirror.data.proxies import defects

    for kind in ("mono", "poly"):
        good, bad = cells(kind)
        order = np.random.default_rng(0).permutation(len(good))
        train, unseen = good[order[: 2 * len(good) // 3]], good[order[2 * len(good) // 3 :]]
        yield (
            train,
            {
                f"cells-{kind}": (unseen, bad),
                f"planted-cells-{kind}": (unseen, defects(unseen, seed=1)),
            },
        )
    for texture in ("brick", "grass", "gravel"):
        tiles = _tiles(texture)
        train, unseen = tiles[: 2 * len(tiles) // 3], tiles[2 * len(tiles) // 3 :]
        yield train, {f"planted-{texture}": (unseen, defects(unseen, seed=1))}


def _tiles(texture: str) -> np.ndarray:
    """Tiles of 128x128 from a texture of scikit-image, every 16 pixels, in random order."""
    from skimage import data as textures

    whole = getattr(textures, texture)()
    places = range(0, whole.shape[0] - 128 + 1, 24)
    tiles = np.stack([whole[y : y + 128, x : x + 128] for y in places for x in places])
    # unseen tiles come from the lower third: they do not overlap much with the others
    half = len(tiles) // 3 * 2
    rng = np.random.default_rng(0)
    mixed: np.ndarray = tiles[
        np.concatenate([rng.permutation(half), half + rng.permutation(len(tiles) - half)])
    ]
    return mixed


@app.command()
def scorers(
    data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")],
    seeds: Annotated[str, typer.Option()] = "0,1,2",
    name: Annotated[str, typer.Option(help="of the file")] = "scorers",
) -> None:
    """AUROC of AMA on proxies under each scorer.

    The real defects of solar cells next to them, which choose nothing.
    """
    from anomirror.scorers import SCORERS

    kept = Rows(OUT / f"{name}.json")
    for seed in map(int, seeds.split(",")):
        for normal, train, good, anomalies in proxies(data_dir):
            if {"set": normal, "seed": seed} in kept:
                continue
            detector = make_detector("ama", random_state=seed).fit(train)
            calibrating, raw_good = detector.calibration_raw_, detector.raw_scores(good)
            for kind, images in anomalies.items():
                raw = detector.raw_scores(images)
                fitted = {each: made().fit(calibrating) for each, made in SCORERS.items()}
                found = {
                    each: auroc(scorer.normality(raw_good), scorer.normality(raw))
                    for each, scorer in fitted.items()
                }
                kept.add({"set": normal, "seed": seed, "anomalies": kind, **found})


def proxies(data_dir: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Normal set, images to fit on, unseen good ones, kinds of anomalies.

    None but "real" is a real defect.
    """
    from anomirror.data import load_dataset
    from anomirror.data.proxies import defects, noises, shapes

    whole = {
        name: (train, good, bad)
        for train, tests in photographs()
        for name, (good, bad) in tests.items()
    }
    for kind in ("mono", "poly"):
        train, good, bad = whole[f"cells-{kind}"]
        yield (
            f"cells-{kind}",
            train,
            good,
            {"planted": whole[f"planted-cells-{kind}"][2], "real": bad},
        )
    train, good, bad = whole["planted-grass"]
    yield "grass", train, good, {"planted": bad}
    clothes, test = (load_dataset("fashion-mnist", split, data_dir)[0] for split in _SPLITS)
    good = test[:1000]
    made = {
        "shapes": shapes(500)[..., 0],
        "noises": noises(500)[..., 0],
        "planted": defects(good, seed=1),
    }
    yield "clothes", clothes, good, made


@app.command()
def cost(
    photographs_at: Annotated[Path, typer.Option(help="a folder that keeps what it makes: 3 GB")],
    methods: Annotated[str, typer.Option()] = "pca,knn,ama",
    count: Annotated[int, typer.Option()] = 1000,
    widths: Annotated[str, typer.Option(help="of the photographs")] = "300,4000",
) -> None:
    """Seconds and memory of ``anomirror fit`` with defaults on photographs of two sizes, as a
    process of its own.
    """
    kept = Rows(OUT / "cost.json")
    for width, height in ((300, 300), (4000, 3000)):
        if str(width) not in widths.split(","):
            continue
        photos = photographs_at / f"{width}x{height}"
        _write_photographs(photos, width, height, count)
        for method in methods.split(","):
            key = {"method": method, "photos": count, "width": width, "height": height}
            if key in kept:
                continue
            with tempfile.TemporaryDirectory() as place:
                model = Path(place) / "model"
                command = [
                    sys.executable,
                    "-c",
                    _MEASURED,
                    "fit",
                    str(photos),
                    "--out",
                    str(model),
                    "--method",
                    method,
                ]
                started = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds = time.perf_counter() - started
            peak = int(done.stdout.rpartition("peak ")[2])
            said = next(line for line in done.stderr.splitlines() if ": about " in line)
            kept.add(
                {
                    **key,
                    "seconds": round(seconds, 1),
                    "gigabytes": round(peak / 1e6, 2),
                    "said": said,
                }
            )


_MEASURED = """
import resource
from anomirror.cli import main
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
"""``anomirror`` that tells how much memory it took, in KiB."""


def _write_photographs(folder: Path, width: int, height: int, count: int) -> None:
    """JPEGs with structure at every scale, in colour, each shifted otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    base = np.full((height, width, 3), 128, np.float32)
    for scale in (4, 16, 64, 256):
        small = rng.normal(size=(max(1, height // scale), max(1, width // scale), 3)).astype(
            np.float32
        )
        for channel in range(3):
            layer = Image.fromarray(small[..., channel]).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            base[..., channel] += np.asarray(layer) * 15
    pixels = base.clip(0, 255).astype(np.uint8)
    for index in range(count):
        down, right = (int(rng.integers(0, side)) for side in (height, width))
        file = folder / f"{index:04d}.jpg"
        if not file.exists():
            Image.fromarray(np.roll(pixels, (down, right), (0, 1))).save(file, quality=90)


if __name__ == "__main__":
    app()
