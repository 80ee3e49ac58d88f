"""Sets of images, read batch by batch, and their fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomirror.errors import ImageError
from anomirror.images.protocol import ImageSet


class _Batches(Dataset[Tensor | ImageError]):
    """Whole batches as items, so that worker processes each decode one batch."""

    def __init__(self, images: ImageSet, batches: Sequence[Sequence[int]]) -> None:
        self._images = images
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Tensor | ImageError:
        try:
            return self._images.take(self._batches[index])
        # as a value: raised in a worker it would arrive as the text of a traceback
        except ImageError as error:
            return error


def iterate(
    images: ImageSet, batches: Sequence[Sequence[int]], workers: int = 0
) -> Iterator[Tensor]:
    """The batches of ``images`` with these indices, in order.

    ``workers`` processes decode what is not in memory.
    """
    if images.in_memory or workers == 0:
        for indices in batches:
            yield images.take(indices)
        return
    # DataLoader would draw its workers' seed from the caller's RNG
    private = torch.Generator().manual_seed(0)
    loader = DataLoader(
        _Batches(images, batches), batch_size=None, num_workers=workers, generator=private
    )
    for batch in loader:
        if isinstance(batch, ImageError):
            raise batch
        yield batch


def in_batches(count: int, batch_size: int) -> list[range]:
    """``range(count)`` in pieces of ``batch_size``; the last one may be shorter."""
    return [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def fingerprint(images: ImageSet, workers: int = 0) -> str:
    """A short hash of the number, shape and all pixels.

    Two runs saw the same data, in the same order.
    """
    return fingerprints(images, workers)[0]


def fingerprints(images: ImageSet, workers: int = 0) -> tuple[str, np.ndarray]:
    """The fingerprint of a set, and a hash of the framed pixels of each image, ``(n,)`` int64.

    Copies have the same.
    """
    whole = hashlib.sha256(f"{len(images)} {images.shape}".encode())
    each = np.empty(len(images), np.int64)
    for indices in in_batches(len(images), 256):
        for batch in iterate(images, [indices], workers):
            pixels_of = batch.numpy()
            whole.update(pixels_of.tobytes())
            for index, image in zip(indices, pixels_of, strict=True):
                each[index] = _digest(image)
    return whole.hexdigest()[:16], each


def _digest(image: np.ndarray) -> int:
    """Of 64 bits; the same for 8-bit pixels whether they came as bytes or among 16-bit ones, as
    float.
    """
    if image.dtype != np.uint8:
        levels = np.rint(image * np.float32(255))
        if np.abs(image * np.float32(255) - levels).max(initial=0) < 1e-4:
            image = levels.astype(np.uint8)
    return int.from_bytes(
        hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little", signed=True
    )
