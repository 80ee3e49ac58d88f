"""How well maps find defects whose place is known, through the command line.

    python -m studies.masks measure
    python -m studies.masks table

There is no free set with masks at hand, so defects (scratches, soft spots, patches of another cell)
are drawn into real solar cells that no fit has seen; a mask is what is drawn at least a tenth
opaque, or all of a patch. Folders are laid out as MVTec AD's; each method is fitted with its
defaults by ``anomirror fit`` and measured by ``anomirror evaluate``. What is there is not measured
again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import typer
from PIL import Image

from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.data.proxies import defects_and_masks
from studies.first_hour import cells
from studies.rows import Rows

OUT = Path("results/masks/solar-cells.json")
KINDS = ("mono", "poly")
METHODS = ("auto", "scattering", "pca", "knn")
SEEDS = 3
DRAWN = ("scratch", "spot", "patch")
"""What :func:`defects_and_masks` draws, in turn."""

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def measure() -> None:
    """Every method, kind of cell and seed."""
    rows = Rows(OUT)
    for kind in KINDS:
        for seed in range(SEEDS):
            keys = [{"cells": kind, "seed": seed, "method": method} for method in METHODS]
            if all(key in rows for key in keys):
                continue
            with TemporaryDirectory() as folder:
                root = Path(folder) / "cells"
                lay_out(root, kind, seed)
                for key in keys:
                    if key not in rows:
                        rows.add(key | _measured(root, str(key["method"]), seed))


def lay_out(root: Path, kind: str, seed: int) -> None:
    """Real cells: two thirds to fit on, a sixth as they are, a sixth with a defect and its mask."""
    good = cells(kind)[0]
    good = good[np.random.default_rng(seed).permutation(len(good))]
    train, unseen, sources = np.split(good, [4 * len(good) // 6, 5 * len(good) // 6])
    planted, masks = defects_and_masks(sources, seed)
    folders = {"train/good": train, "test/good": unseen}
    for place, name in enumerate(DRAWN):
        folders[f"test/{name}"] = planted[place::3]
        folders[f"ground_truth/{name}"] = 255 * masks[place::3].astype(np.uint8)
    for folder, images in folders.items():
        (root / folder).mkdir(parents=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(root / folder / f"{index:03}.png")


def _measured(root: Path, method: str, seed: int) -> dict[str, Any]:
    model = root.parent / f"model-{method}"
    _command("fit", root, "--out", model, "--method", method, "--seed", seed)
    said = json.loads(_command("evaluate", model, root, "--json"))
    image = {"all": said["score"]["auroc"]}
    image |= {name: each["score"]["auroc"] for name, each in said["kinds"].items()}
    pixels = said["pixels"]
    located = {"all": pixels, **pixels.pop("kinds")}
    return {
        "image": {name: round(value, 4) for name, value in image.items()},
        "pixels": {
            name: {key: round(value, 4) for key, value in each.items()}
            for name, each in located.items()
        },
    }


def _command(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "anomirror", *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@app.command()
def table() -> None:
    """Means and spreads over seeds."""
    print(masks_table())


def masks_table(file: Path = OUT) -> str:
    """For docs/choosing.md."""
    rows, lines = Rows(file).rows, []
    for kind in KINDS:
        for method in METHODS:
            of = [row for row in rows if (row["cells"], row["method"]) == (kind, method)]
            image = mean_and_spread([row["image"]["all"] for row in of])
            pixels = [
                mean_and_spread([row["pixels"]["all"][name] for row in of])
                for name in ("auroc", "aupro", "recall")
            ]
            kinds = [
                mean_and_spread([row["pixels"][name]["aupro"] for row in of]) for name in DRAWN
            ]
            lines.append([f"{kind}, {method}", image, *pixels, *kinds, str(len(of))])
    heading = ["solar cells", "image AUROC", "pixel AUROC", "AUPRO", "regions found at 1 %"]
    heading += [f"AUPRO, {name}" for name in DRAWN]
    return markdown([*heading, "seeds"], lines)


if __name__ == "__main__":
    app()
