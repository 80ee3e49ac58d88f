"""How images of one set come into the form of another.

Colours, polarity and size, each an explicit step that is recorded.

The resampling matters: a set that was shrunk without anti-aliasing can be told from one that was
not by its aliasing alone, and an out-of-distribution score is then too good. Shrinking here is
always anti-aliased.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from anomirror.errors import InputError

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601-2, as Pillow's conversion to "L" has it."""


@dataclass(frozen=True)
class Converted:
    """Images ``(n, size, size, channels)`` uint8, and what was done to them since they were
    read.
    """

    images: np.ndarray
    steps: tuple[str, ...]


def grey_to_colour(images: np.ndarray) -> np.ndarray:
    """``(n, h, w)`` or ``(n, h, w, 1)`` to ``(n, h, w, 3)``: three equal channels."""
    return np.repeat(_with_channels(images, 1), 3, axis=3)


def colour_to_grey(images: np.ndarray) -> np.ndarray:
    """``(n, h, w, 3)`` to ``(n, h, w, 1)``: luma, rounded."""
    coloured = _with_channels(images, 3)
    parts = [
        np.rint(part @ np.array(LUMA))
        for part in np.array_split(coloured, max(1, len(coloured) // 1024))
    ]
    return np.concatenate(parts).astype(np.uint8)[..., None]


def inverted(images: np.ndarray) -> np.ndarray:
    """The other polarity: 255 - pixel."""
    return (255 - images).astype(np.uint8)


def shrunk(picture: Image.Image, size: int) -> Image.Image:
    """An image as a square of ``size``: anti-aliased bilinear, the aspect ratio is not kept."""
    return (
        picture
        if picture.size == (size, size)
        else picture.resize((size, size), Image.Resampling.BILINEAR)
    )


def brought_to(images: np.ndarray, size: int, channels: int) -> Converted:
    """Images ``(n, h, w)`` or ``(n, h, w, c)`` uint8 in another size and number of channels.

    Larger ones are shrunk with their aspect ratio kept, anti-aliased bilinear; smaller ones keep
    their pixels; what is left over is padded with black.
    """
    import torch  # only here: the names of the data sets are known without it

    from anomirror.images import Frame

    steps = []
    images = images if images.ndim == 4 else images[..., None]
    if images.shape[3] != channels:
        images = grey_to_colour(images) if channels == 3 else colour_to_grey(images)
        steps.append(
            "grey to three equal channels" if channels == 3 else "colour to grey (ITU-R 601 luma)"
        )
    height, width = images.shape[1:3]
    if (height, width) != (size, size):
        frame = Frame(size, 1, size)
        _, _, inner_height, inner_width = frame.inner(height, width)
        if (inner_height, inner_width) != (height, width):
            steps.append(
                f"{width}x{height} shrunk to {inner_width}x{inner_height} (bilinear, anti-aliased)"
            )
        if (inner_height, inner_width) != (size, size):
            steps.append(f"padded with black to {size}x{size}")
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        images = (
            torch.cat([frame.put(part) for part in torch.split(pixels, 1024)])
            .numpy()
            .transpose(0, 2, 3, 1)
        )
    return Converted(np.ascontiguousarray(images), tuple(steps))


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    full = images if images.ndim == 4 else images[..., None]
    if full.shape[-1] != channels:
        raise InputError(f"images of shape {images.shape[1:]}: expected {channels} channel(s)")
    return full
