"""Which images are trained on and which are tested: protocols as data, without any method.

``blind``: no anomaly of the tested sets is seen before the test. Normal test images are the normal set's test split; the
anomalies of a column are a random sample of the other set's test split, 20 % of the number of normal ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomirror.data import load_dataset
from anomirror.errors import InputError

ANOMALY_SHARE = 0.2


@dataclass(frozen=True)
class OutOfDistribution:
    """One normal set, and anomaly sets by name; all ``(n, h, w[, c])`` uint8."""

    train: np.ndarray
    normal: np.ndarray
    anomalies: dict[str, np.ndarray]
    sampled: dict[str, np.ndarray]
    """Indices of each anomaly set that are the column's sample."""
    known: np.ndarray | None
    split: str
    """Short hash of every index and image count above."""


def out_of_distribution(
    normal: str, anomalies: list[str], *, seed: int, known: tuple[str, int] | None = None, data_dir: Path | None = None
) -> OutOfDistribution:
    """The split of one seed. ``known``: a set and how many of its *train* split are known anomalies, disjoint from any test."""
    train = load_dataset(normal, "train", data_dir)[0]
    test = load_dataset(normal, "test", data_dir)[0]
    rng = np.random.default_rng([20, seed])
    count = round(ANOMALY_SHARE * len(test))
    sets = {name: load_dataset(name, "test", data_dir)[0] for name in anomalies}
    sampled = {name: np.sort(rng.permutation(len(images))[:count]) for name, images in sets.items()}
    known_images = None
    if known is not None and known[1] > 0:
        pool = load_dataset(known[0], "train", data_dir)[0]
        if known[1] > len(pool):
            raise InputError(f"{known[0]} has {len(pool)} training images, {known[1]} known anomalies were asked for")
        known_images = pool[np.sort(np.random.default_rng([21, seed]).permutation(len(pool))[: known[1]])]
    digest = hashlib.sha256(f"{normal} {train.shape} {test.shape} {seed} {known}".encode())
    for name in anomalies:
        digest.update(name.encode() + sampled[name].tobytes())
    return OutOfDistribution(train, test, sets, sampled, known_images, digest.hexdigest()[:16])
