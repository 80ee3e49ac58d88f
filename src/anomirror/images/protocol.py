"""What a set of images is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from anomirror.images.frame import ImageShape

Report = Callable[[int], None]
"""Told how many more images were read."""

MEMORY_LIMIT = 1 << 30
"""Decoded files up to this many bytes are kept in memory; larger sets are decoded again for every
pass.
"""

Unreadable = dict[int, str]
"""Index of an image that cannot be read, and the reason."""

ImageInput = object  # array, tensor, Dataset, path, list of paths, ImageSet: open_images says which


class ImageSet(Protocol):
    """Images of one shape that can be read in any order."""

    names: Sequence[str]
    """One name for each image: its path, or ``image 17``."""
    shape: ImageShape
    in_memory: bool

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> Tensor:
        """``(b, c, size, size)``: uint8, or float32 in [0, 1]."""
        ...

    def native_size(self, index: int) -> tuple[int, int]:
        """Height and width of the image before it was framed."""
        ...

    def native_sizes(self) -> np.ndarray:
        """Heights and widths, ``(n, 2)`` int; 0 of files and items that were not read yet."""
        ...

    def picture(self, index: int, wanted: int) -> Tensor:
        """The image before it was framed, ``(c, h, w)``.

        A large JPEG file reduced to ``wanted`` pixels at least.
        """
        ...
