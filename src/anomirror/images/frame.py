"""Pixels as the networks see them, and the square that an image of any size comes into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomirror.errors import SettingError

ImageShape = tuple[int, int, int]

SIZES = (32, 64, 128, 256)
"""Side lengths that the networks are built for."""

WHITE = 65535
"""White of pixels with 16 bits, if all of them are in use."""

ImageSize = int | Literal["auto"] | None
"""One of :data:`SIZES`; "auto", which chooses by images and method; or None, which keeps the
pixels.
"""


@dataclass(frozen=True)
class SizeRange:
    """Sizes that images have in their files.

    Their longest side in pixels, and width over height.
    """

    shortest: int
    longest: int
    narrowest: float
    widest: float

    @classmethod
    def of(cls, sizes: np.ndarray) -> SizeRange:
        """Of heights and widths ``(n, 2)``, n > 0."""
        longest, ratio = sizes.max(1), sizes[:, 1] / sizes[:, 0]
        return cls(int(longest.min()), int(longest.max()), float(ratio.min()), float(ratio.max()))

    @property
    def mixed(self) -> bool:
        """Whether sides differ by more than a factor of 2, or shapes by more than one of 1.5."""
        return self.longest > _FAR * self.shortest or self.widest > _OTHER_SHAPE * self.narrowest

    def far_from(self, sizes: np.ndarray) -> np.ndarray:
        """Which of heights and widths ``(n, 2)`` are so far outside this range, ``(n,)`` bool."""
        longest, ratio = sizes.max(1), sizes[:, 1] / sizes[:, 0]
        other_size = (longest * _FAR < self.shortest) | (longest > _FAR * self.longest)
        return np.asarray(
            other_size
            | (ratio * _OTHER_SHAPE < self.narrowest)
            | (ratio > _OTHER_SHAPE * self.widest)
        )

    def __str__(self) -> str:
        sides = (
            f"{self.shortest}"
            if self.shortest == self.longest
            else f"{self.shortest} to {self.longest}"
        )
        shapes = (
            f"{self.narrowest:.2f}"
            if self.narrowest == self.widest
            else f"{self.narrowest:.2f} to {self.widest:.2f}"
        )
        return f"longest side {sides} pixels, width over height {shapes}"


_FAR, _OTHER_SHAPE = 2.0, 1.5


def to_network(images: Tensor) -> Tensor:
    """Pixels as the networks see them: uint8 0..255 or float 0..1, to float32 in [-1, 1]."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1.0)
    return images.to(torch.float32) * 2.0 - 1.0


def within_border(x: Tensor) -> Tensor:
    """The smallest rectangle that holds all of an image that is not black; padding is.

    ``(b, c, h, w)`` as the networks see it, to bool ``(b, 1, h, w)``.

    >>> image = torch.tensor([[[[0, 0, 0], [0, 9, 0], [0, 0, 7]]]], dtype=torch.uint8)
    >>> within_border(to_network(image)).int()[0, 0].tolist()
    [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    """
    lit = (x > -1).any(1, keepdim=True)
    return _span(lit.any(3, keepdim=True), 2) & _span(lit.any(2, keepdim=True), 3)


def _span(line: Tensor, along: int) -> Tensor:
    """From the first to the last that is true."""
    return (line.cumsum(along) > 0) & (line.flip(along).cumsum(along).flip(along) > 0)


@dataclass(frozen=True)
class Frame:
    """How an image of any height and width comes into the ``size`` x ``size`` square of the
    networks.

    The aspect ratio is always kept: the longest side is brought into ``low`` .. ``high`` pixels
    (anti-aliased bilinear), where it is not there already. What is left over of the square is
    padded with zeros (black), the image centred. So an image to be scored first takes the size that
    the training images have in the square, whatever size its file has."""

    size: int
    low: int
    high: int
    white: int = WHITE
    """White of pixels with 16 bits: a camera of 12 bits fills 4095 of them."""

    @classmethod
    def choose(cls, height: int, width: int, image_size: ImageSize, most: int = SIZES[0]) -> Frame:
        """The frame for training images that are at most ``height`` x ``width``.

        ``image_size`` itself; None: the smallest of :data:`SIZES` that holds them, pixels as they
        are (256 for all larger ones); "auto": that as well where it is not over ``most``, else
        ``most``, to which all are scaled.
        """
        longest = max(height, width)
        if image_size is None or (image_size == "auto" and longest <= most):
            size = next((s for s in SIZES if longest <= s), SIZES[-1])
            return cls(size, 1, size)
        if image_size == "auto":
            return cls.scaled(most)
        if image_size not in SIZES:
            raise SettingError(
                f"image_size={image_size!r}: choose one of {', '.join(map(str, SIZES))}, 'auto', "
                "or None"
            )
        return cls.scaled(int(image_size))

    @classmethod
    def scaled(cls, size: int) -> Frame:
        """Every image is scaled until its longest side fills the square."""
        return cls(size, size, size)

    def as_seen(self, sizes: SizeRange) -> Frame:
        """The frame for images that are scored by what was trained on images of ``sizes`` in this
        one.
        """
        low, high = (
            min(max(side, self.low), self.high) for side in (sizes.shortest, sizes.longest)
        )
        return Frame(self.size, low, high, self.white)

    def inner(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image of this size lies in the square: ``(top, left, height, width)``."""
        longest = max(height, width)
        wanted = min(max(longest, self.low), self.high)
        if wanted != longest:
            height = max(1, round(height * wanted / longest))
            width = max(1, round(width * wanted / longest))
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
        """The inverse for ``(..., size, size)`` maps: unpadded, at ``height`` x ``width``."""
        top, left, inner_height, inner_width = self.inner(height, width)
        maps = maps[..., top : top + inner_height, left : left + inner_width]
        if (inner_height, inner_width) == (height, width):
            return maps
        return _resized(maps[..., None, :, :], height, width)[..., 0, :, :]


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    batch = images if images.ndim == 4 else images[None]
    out = F.interpolate(
        batch.float(), size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    if images.dtype == torch.uint8:
        out = out.round().clamp(0, 255).to(torch.uint8)
    return out if images.ndim == 4 else out[0]
