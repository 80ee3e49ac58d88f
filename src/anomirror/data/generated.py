"""Generated anomaly sets: noises and constant images, in any size, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

COUNT = 2000
"""Images of a generated set: a fifth of the 10,000 normal test images of the published tables."""


def uniform(count: int, size: int, channels: int, seed: int = 0) -> np.ndarray:
    """Uniform noise, ``(count, size, size, channels)`` uint8 (Liang et al. 2018, ODIN)."""
    return np.random.default_rng([1, seed]).integers(
        0, 256, (count, size, size, channels), dtype=np.uint8
    )


def gaussian(count: int, size: int, channels: int, seed: int = 0) -> np.ndarray:
    """Gaussian noise, clipped; shape and source as of :func:`uniform`."""
    values = np.random.default_rng([2, seed]).normal(0.5, 1.0, (count, size, size, channels))
    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def constant(count: int, size: int, channels: int, seed: int = 0) -> np.ndarray:
    """One random colour an image; shape as of :func:`uniform` (Serra et al. 2019)."""
    colours = np.random.default_rng([3, seed]).integers(
        0, 256, (count, 1, 1, channels), dtype=np.uint8
    )
    return np.tile(colours, (1, size, size, 1))


GENERATED: dict[str, Callable[..., np.ndarray]] = {
    "uniform": uniform,
    "gaussian": gaussian,
    "constant": constant,
}
"""Every generated set by name."""

DESCRIPTIONS = {
    "uniform": "every value uniform in 0..255",
    "gaussian": "mean .5, standard deviation 1, clipped to [0, 1]",
    "constant": "each image one random colour",
}
"""What each of them is."""
