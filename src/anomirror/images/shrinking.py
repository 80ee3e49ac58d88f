"""A set of images at a smaller side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomirror.images.frame import ImageShape
from anomirror.images.protocol import ImageSet
from anomirror.images.sets import Subset, as_type


class Shrunk:
    """Another set at half its side, or a quarter, ...: pixels are means of those they cover."""

    in_memory = False

    def __init__(self, images: ImageSet, size: int) -> None:
        self.whole = images
        self.names = images.names
        self.shape: ImageShape = (images.shape[0], size, size)

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, indices: Sequence[int]) -> Tensor:
        return shrunk(as_type(self.whole.take(indices), torch.float32), self.shape[1])

    def native_size(self, index: int) -> tuple[int, int]:
        return self.whole.native_size(index)

    def native_sizes(self) -> np.ndarray:
        return self.whole.native_sizes()

    def picture(self, index: int, wanted: int) -> Tensor:
        return self.whole.picture(index, wanted)


def shrunk(x: Tensor, size: int) -> Tensor:
    """Images ``(n, c, s, s)`` of floats at a side that divides s."""
    return F.avg_pool2d(x, x.shape[-1] // size)


def seen_at(images: ImageSet, size: int) -> ImageSet:
    """A set at a smaller side; parts of one set stay parts of one set."""
    if images.shape[1] == size:
        return images
    if isinstance(images, Subset):
        return Subset(seen_at(images.whole, size), images.indices.tolist())
    return Shrunk(images, size)
