"""Image files as a set."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from anomirror.errors import ImageError
from anomirror.images import protocol
from anomirror.images.batches import in_batches
from anomirror.images.bits import brighter
from anomirror.images.decoding import decode_for
from anomirror.images.frame import Frame, ImageShape
from anomirror.images.protocol import ImageSet, Report, Unreadable
from anomirror.images.sets import ArrayImages, Measured, Sizes, as_type, stacked


class FileImages(Measured):
    """Image files, decoded when they are read."""

    in_memory = False

    def __init__(
        self,
        paths: Sequence[str],
        channels: int,
        frame: Frame,
        *,
        deep: bool = False,
        guessed: bool = False,
        sizes: Sizes | None = None,
    ) -> None:
        """``guessed``: whether the frame's white is that of some of the files."""
        self.names: Sequence[str] = paths
        self.frame = frame
        self._deep, self._guessed = deep, guessed
        self._sizes = Sizes.unknown(len(paths)) if sizes is None else sizes
        self.shape: ImageShape = (channels, frame.size, frame.size)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Tensor:
        """One framed image, ``(c, size, size)``: uint8, or float32 if it has 16 bits a channel."""
        frame = self.frame
        image, self._sizes[index] = decode_for(
            frame.high, self.names[index], self.shape[0], frame.white
        )
        return self.frame.put(image)

    def take(self, indices: Sequence[int]) -> Tensor:
        return stacked([self.read(int(i)) for i in indices])

    def know_size(self, index: int, height: int, width: int) -> None:
        """What a file's header says, before it is decoded."""
        self._sizes[index] = height, width

    def picture(self, index: int, wanted: int) -> Tensor:
        return decode_for(wanted, self.names[index], self.shape[0], self.frame.white)[0]

    def part(self, indices: range) -> FileImages:
        """Some of the files, as a set of their own."""
        return FileImages(
            self.names[indices.start : indices.stop : indices.step],
            self.shape[0],
            self.frame,
            deep=self._deep,
        )

    def check(
        self, memory_limit: int | None = None, report: Report | None = None
    ) -> tuple[ImageSet, Unreadable]:
        """Decode every file once: the readable ones as a set, and why the others are not.

        The decoded set is kept in memory when it fits into ``memory_limit`` bytes (None:
        :data:`protocol.MEMORY_LIMIT`), so that checking costs nothing.
        """
        limit = protocol.MEMORY_LIMIT if memory_limit is None else memory_limit
        memory = _Kept(len(self), self.shape, torch.float32 if self._deep else torch.uint8, limit)
        good: list[int] = []
        bad: Unreadable = {}

        def attempt(index: int) -> Tensor | str:
            try:
                return self.read(index)
            except ImageError as error:
                return error.bad[0][1]

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for indices in in_batches(len(self), 64):  # bounds what is decoded ahead
                for index, outcome in zip(indices, pool.map(attempt, indices), strict=True):
                    if isinstance(outcome, str):
                        bad[index] = outcome
                        continue
                    memory.add(outcome)
                    good.append(index)
                if report is not None:
                    report(len(indices))
        names, sizes = [self.names[i] for i in good], self._sizes.of(good)
        if memory.images is not None and good:
            decoded = memory.images[: len(good)].numpy()
            white = self.frame.white
            if self._guessed and decoded.dtype == np.float32 and decoded.max() > 1:
                white = brighter(float(decoded.max()) * white)
                decoded *= np.float32(self.frame.white / white)
            return DecodedFiles(decoded, names, sizes, white), bad
        return FileImages(names, self.shape[0], self.frame, deep=self._deep, sizes=sizes), bad


class _Kept:
    """Framed images in memory, as long as they fit: bytes, until one has 16 bits a channel."""

    def __init__(self, count: int, shape: ImageShape, pixel: torch.dtype, limit: int) -> None:
        self._shape = (count, *shape)
        self._limit = limit
        self._done = 0
        self.images: Tensor | None = self._empty(pixel)

    def _empty(self, pixel: torch.dtype) -> Tensor | None:
        return (
            torch.empty(self._shape, dtype=pixel)
            if math.prod(self._shape) * pixel.itemsize <= self._limit
            else None
        )

    def add(self, image: Tensor) -> None:
        """The next one."""
        if self.images is not None and image.dtype == torch.float32 != self.images.dtype:
            shallow, self.images = self.images, self._empty(torch.float32)
            if self.images is not None:
                self.images[: self._done] = as_type(shallow[: self._done], torch.float32)
        if self.images is not None:
            self.images[self._done] = as_type(image, self.images.dtype)
        self._done += 1


class DecodedFiles(ArrayImages):
    """Files that were decoded and framed once and are kept in memory."""

    one_size = False

    def __init__(self, framed: np.ndarray, names: Sequence[str], sizes: Sizes, white: int) -> None:
        size = int(framed.shape[-1])
        super().__init__(framed, Frame(size, 1, size, white), names)
        self._sizes = sizes

    def native_size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def native_sizes(self) -> np.ndarray:
        return self._sizes.all()

    def picture(self, index: int, wanted: int) -> Tensor:
        return decode_for(wanted, self.names[index], self.shape[0], self.frame.white)[0]
