"""How many of 16 bits a camera fills: what is white in its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomirror.errors import ImageError, warn
from anomirror.images.decoding import decode
from anomirror.images.frame import WHITE
from anomirror.images.pictures import shows_stored

_BITS = (8, 10, 12, 14, 16)
_LOOKED_AT = 32
"""Images whose brightest pixel is looked for, at most: evenly spaced ones."""


def white_for(largest: int) -> int:
    """The largest value of as few bits as hold this one.

    >>> white_for(4000), white_for(4096), white_for(65535)
    (4095, 16383, 65535)
    """
    return int(next(2**bits - 1 for bits in _BITS if largest < 2**bits))


def white_of_files(deep: Sequence[str]) -> int:
    """Of files with 16 bits a channel, by some of them; that fewer are in use is said."""
    stored = _spaced([path for path in deep if shows_stored(path)])
    largest = 0
    for path in stored:
        try:
            largest = max(largest, round(float(decode(path).max()) * WHITE))
        except ImageError:  # it is named when all are read
            continue
    return _said(largest, stored[0]) if largest else WHITE


def brighter(largest: float) -> int:
    """White where some image turns out to be brighter than those that were looked at."""
    white = white_for(min(round(largest), WHITE))
    warn(
        f"some of the images are brighter than those that were looked at first: {white:,} is taken "
        "for white after all"
    )
    return white


def white_of_array(images: np.ndarray) -> int:
    """Of images ``(n, c, h, w)``; all but uint16 have the usual one."""
    if images.dtype != np.uint16:
        return WHITE
    largest = max(int(image.max()) for image in images)
    return _said(largest, "the array") if largest else WHITE


def _said(largest: int, where: str) -> int:
    white = white_for(largest)
    if white < WHITE:
        warn(
            f"pixels with 16 bits (such as those of {where}) fill {white.bit_length()} of them, so "
            f"{white:,} is taken for white, here and in what is scored"
        )
    return white


def _spaced(paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    at = np.unique(np.linspace(0, len(paths) - 1, _LOOKED_AT).round().astype(int))
    return [paths[place] for place in at]
