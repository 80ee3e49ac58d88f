"""Images as they pass through a detector: which ones, in what batches, on which device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from anomirror.images import ImageSet, Subset, in_batches, iterate, to_network

SCORING_BATCH = 128
"""Images of 32x32 that are scored at once (fewer larger ones): scores do not depend on it, memory
does.
"""

SAMPLE_BYTES = 400_000_000
"""Pixels as float32 of which a method without networks is fitted, at most: three such arrays exist
at once.
"""


def scoring_batch(size: int) -> int:
    """Images of ``size`` x ``size`` that are scored at once: as many pixels for every size."""
    return max(1, SCORING_BATCH * 32 * 32 // size**2)


def batches(
    images: ImageSet, batch_size: int, device: torch.device, workers: int
) -> Iterator[Tensor]:
    """All images in order, ``(b, c, size, size)`` float32 in [-1, 1] on the device."""
    for batch in iterate(images, in_batches(len(images), batch_size), workers):
        yield to_network(batch.to(device))


def filled(x: Tensor, count: int) -> Tensor:
    """``count`` images, the last one repeated, on a GPU, where kernels are chosen by shape and each
    rounds in its own way.
    """
    if x.device.type == "cpu" or len(x) == count:
        return x
    return torch.cat([x, x[-1:].expand(count - len(x), -1, -1, -1)])


def spaced(count: int, most: int) -> np.ndarray:
    """Up to ``most`` evenly spaced places of ``count``."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def evenly_spaced(images: ImageSet, count: int) -> ImageSet:
    """Up to ``count`` evenly spaced images."""
    return Subset(images, spaced(len(images), count).tolist())


def shuffled_whole_batches(images: ImageSet, batch_size: int) -> ImageSet:
    """Images in an order that mixes what a folder sorts, without an incomplete batch.

    So each batch counts alike in statistics over batches.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    return Subset(images, order[: max(1, len(order) // batch_size) * batch_size])


def flat(x: Tensor) -> Tensor:
    """Images as rows of pixels, ``(b, c * size * size)``."""
    return x.flatten(1)


def most_components(rows: np.ndarray) -> int:
    """How many principal components ``(n, d)`` rows may have, at most d.

    It is half of n, so that they leave over of a new row about what they do of these.
    """
    return max(1, min(len(rows) // 2, int(rows.shape[1])))
