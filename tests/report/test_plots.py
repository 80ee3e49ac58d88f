"""Plots are written, with the content asked for, and without touching pyplot's state."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from anomirror.report.plots import curves, image_rows, score_densities


def size(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        assert picture.convert("L").getextrema() != (255, 255)  # something is drawn
        return picture.size


def test_rows_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image_rows(
        {"a": rng.integers(0, 256, (4, 28, 28), dtype=np.uint8), "b": rng.random((3, 28, 28, 1))},
        tmp_path / "r.png",
    )
    wide, _ = size(tmp_path / "r.png")
    image_rows({"a": rng.random((2, 8, 8, 3))}, tmp_path / "s.png")
    assert wide > size(tmp_path / "s.png")[0]


def test_densities_and_curves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    score_densities(
        {"normal": rng.normal(size=100), "far": rng.normal(-1e6, 1, 100)},
        tmp_path / "d.png",
        label="s",
        threshold=0.0,
    )
    curves(
        {"one": {"a": [[1, 2, 3], [2, 2]]}, "two": {"a": [[3, 2]]}},
        tmp_path / "c.png",
        xlabel="epoch",
        ylabel="AUROC",
    )
    assert size(tmp_path / "d.png")[0] > 0
    assert size(tmp_path / "c.png")[0] > 0
    assert "matplotlib.pyplot" not in sys.modules
