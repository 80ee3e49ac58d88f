"""Small folders as a user has them: textured tiles of 48 pixels, some of them with a spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import run


def tiles(count: int, seed: int = 0, size: int = 48) -> np.ndarray:
    """``(n, size, size)`` uint8: stripes of any phase with a little noise."""
    rng = np.random.default_rng(seed)
    x = np.arange(size) / size * 8
    phases = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    stripes = (
        128
        + 60 * np.sin(2 * np.pi * x[None, None, :] + phases)
        + rng.normal(0, 6, (count, size, size))
    )
    return stripes.clip(0, 255).astype(np.uint8)


def spotted(images: np.ndarray) -> np.ndarray:
    """The same with a bright spot of a third of the side."""
    out = images.copy()
    third = images.shape[1] // 3
    out[:, third : 2 * third, third : 2 * third] = 255
    return out


def write(images: np.ndarray, folder: Path) -> Path:
    """One PNG each."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder of 40 tiles."""
    return write(tiles(40), tmp_path / "good")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PCA on 60 tiles."""
    root = tmp_path_factory.mktemp("first-hour")
    done = run("fit", write(tiles(60), root / "good"), "--out", root / "model", "--method", "pca")
    assert done.returncode == 0, done.stderr
    return root / "model"
