"""Pixels as the networks see them, and the square that an image of any size comes into."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anomirror.errors import SettingError

ImageShape = tuple[int, int, int]

SIZES = (32, 64, 128, 256)
"""Side lengths that the networks are built for."""


def to_network(images: Tensor) -> Tensor:
    """Pixels as the networks see them: uint8 0..255 or float 0..1, to float32 in [-1, 1]."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1.0)
    return images.to(torch.float32) * 2.0 - 1.0


def within_border(x: Tensor) -> Tensor:
    """The smallest rectangle that holds all of a picture that is not black; padding is.

    ``(b, c, h, w)`` as the networks see it, to bool ``(b, 1, h, w)``.

    >>> within_border(to_network(torch.tensor([[[[0, 0, 0], [0, 9, 0], [0, 0, 7]]]], dtype=torch.uint8))).int()[0, 0].tolist()
    [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    """
    lit = (x > -1).any(1, keepdim=True)
    return _span(lit.any(3, keepdim=True), 2) & _span(lit.any(2, keepdim=True), 3)


def _span(line: Tensor, along: int) -> Tensor:
    """From the first to the last that is true."""
    return (line.cumsum(along) > 0) & (line.flip(along).cumsum(along).flip(along) > 0)


@dataclass(frozen=True)
class Frame:
    """How an image of any height and width comes into the ``size`` x ``size`` square of the networks.

    The aspect ratio is always kept. With ``resize`` the longer side is scaled to ``size``; without, the pixels stay as they
    are unless the image is larger than the square. What is left over is padded with zeros (black), the image centred.
    Scaling is anti-aliased bilinear.
    """

    size: int
    resize: bool

    @classmethod
    def choose(cls, height: int, width: int, image_size: int | None) -> Frame:
        """``image_size`` itself, or the smallest of :data:`SIZES` that holds the image (256 for all larger ones)."""
        if image_size is None:
            return cls(next((s for s in SIZES if max(height, width) <= s), SIZES[-1]), resize=False)
        if image_size not in SIZES:
            raise SettingError(f"image_size={image_size!r}: choose one of {', '.join(map(str, SIZES))}, or None")
        return cls(int(image_size), resize=True)

    def inner(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image of this size lies in the square: ``(top, left, height, width)``."""
        longest = max(height, width)
        if self.resize or longest > self.size:
            height = max(1, round(height * self.size / longest))
            width = max(1, round(width * self.size / longest))
        return (self.size - height) // 2, (self.size - width) // 2, height, width

    def put(self, images: Tensor) -> Tensor:
        """``(..., c, h, w)`` to ``(..., c, size, size)``, same dtype."""
        top, left, height, width = self.inner(images.shape[-2], images.shape[-1])
        if (height, width) != tuple(images.shape[-2:]):
            images = _resized(images, height, width)
        if (height, width) == (self.size, self.size):
            return images
        return F.pad(images, (left, self.size - left - width, top, self.size - top - height))

    def take_out(self, maps: Tensor, height: int, width: int) -> Tensor:
        """The inverse for ``(..., size, size)`` maps: the padding cut off, scaled back to ``height`` x ``width``."""
        top, left, inner_height, inner_width = self.inner(height, width)
        maps = maps[..., top : top + inner_height, left : left + inner_width]
        if (inner_height, inner_width) == (height, width):
            return maps
        return _resized(maps[..., None, :, :], height, width)[..., 0, :, :]


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    batch = images if images.ndim == 4 else images[None]
    out = F.interpolate(batch.float(), size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    if images.dtype == torch.uint8:
        out = out.round().clamp(0, 255).to(torch.uint8)
    return out if images.ndim == 4 else out[0]
