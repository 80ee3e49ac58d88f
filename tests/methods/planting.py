"""Anomalies made of normal images."""

from __future__ import annotations

import numpy as np


def turned(images: np.ndarray) -> np.ndarray:
    """``(n, h, w)`` by a quarter."""
    return np.rot90(images, axes=(1, 2))


def shuffled(images: np.ndarray) -> np.ndarray:
    """``(n, 28, 28)`` with their 16 tiles in another order each."""
    rng = np.random.default_rng(0)
    tiles = images.reshape(-1, 4, 7, 4, 7).swapaxes(2, 3).reshape(-1, 16, 7, 7)
    tiles = np.stack([one[rng.permutation(16)] for one in tiles])
    return tiles.reshape(-1, 4, 4, 7, 7).swapaxes(2, 3).reshape(images.shape)


def inverted(images: np.ndarray) -> np.ndarray:
    """Dark where they were bright."""
    return 255 - images


def speckled(images: np.ndarray) -> np.ndarray:
    """One pixel in twenty is replaced by any grey level."""
    rng = np.random.default_rng(0)
    return np.where(
        rng.random(images.shape) < 0.05, rng.integers(0, 256, images.shape), images
    ).astype(np.uint8)
