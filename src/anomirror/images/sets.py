"""Sets of images that are read in batches, wherever they lie."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomirror.errors import ImageError, InputError
from anomirror.images.decoding import dataset_item, decode_for, odd_item, pixels
from anomirror.images.frame import Frame, ImageShape

Report = Callable[[int], None]
"""Told how many more images were read."""

MEMORY_LIMIT = 1 << 30
"""Decoded files up to this many bytes are kept in memory; larger sets are decoded anew for every pass."""

Unreadable = dict[int, str]
"""Index of an image that cannot be read, and the reason."""

ImageInput = Any  # array, tensor, Dataset, path, list of paths, ImageSet: open_images says which


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
        """The image before it was framed, ``(c, h, w)``; a large JPEG file reduced to ``wanted`` pixels at least."""
        ...


class _Numbered(Sequence[str]):
    """Names of images that have none."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [f"image {number}" for number in self._numbers[index]]
        return f"image {self._numbers[index]}"


class _Picked(Sequence[str]):
    """The names of some images of a set, looked up when they are asked for."""

    def __init__(self, names: Sequence[str], indices: np.ndarray) -> None:
        self._names = names
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._names[int(i)] for i in self._indices[index]]
        return self._names[int(self._indices[index])]


class ArrayImages:
    """An array ``(n, c, h, w)`` that :func:`as_batch` checked, in memory or mapped from a file; batches are copies of its pixels.

    ``frame`` is applied to each batch as it is read.
    """

    in_memory = True
    one_size = True
    """Whether all images had one height and width before they were framed."""

    def __init__(self, array: np.ndarray, frame: Frame, names: Sequence[str] | None = None) -> None:
        self._array = array
        self.frame = frame
        self.names: Sequence[str] = names if names is not None else _Numbered(len(array))
        self.shape: ImageShape = (int(array.shape[1]), frame.size, frame.size)

    def __len__(self) -> int:
        return len(self._array)

    def take(self, indices: Sequence[int]) -> Tensor:
        return self.frame.put(pixels(self._array[np.asarray(indices, dtype=np.int64)]))

    def native_size(self, index: int) -> tuple[int, int]:
        return int(self._array.shape[2]), int(self._array.shape[3])

    def native_sizes(self) -> np.ndarray:
        return np.tile(np.asarray(self._array.shape[2:]), (len(self), 1))

    def picture(self, index: int, wanted: int) -> Tensor:
        return pixels(self._array[[index]])[0]


class MappedImages(ArrayImages):
    """The array of an ``.npy`` file, read where it is used; the file must stay as it is meanwhile."""

    def __init__(self, images: ArrayImages, path: Path, found: os.stat_result) -> None:
        super().__init__(images._array, images.frame)
        self._path = path
        self._found = found

    def take(self, indices: Sequence[int]) -> Tensor:
        self._refuse_changes()
        return super().take(indices)

    def check(self, memory_limit: int | None = None, report: Report | None = None) -> tuple[ImageSet, Unreadable]:
        """In memory if it fits, as files are: no training shall depend for hours on what happens to a file."""
        self._refuse_changes()
        if self._array.nbytes > (MEMORY_LIMIT if memory_limit is None else memory_limit):
            return self, {}
        return ArrayImages(np.array(self._array), self.frame), {}

    def _refuse_changes(self) -> None:
        """Another file of the same name does no harm; pixels beyond the new end of this one would end the process."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return
        before = self._found
        if now.st_ino == before.st_ino and (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise InputError(
                f"{self._path}: was changed while it was read; start again, and next time write a file of another name"
            )


class Sizes:
    """Height and width of images as they are read; eight bytes each."""

    def __init__(self, sizes: np.ndarray) -> None:
        self._sizes = sizes

    @classmethod
    def unknown(cls, count: int) -> Sizes:
        return cls(np.zeros((count, 2), dtype=np.int32))

    def __contains__(self, index: int) -> bool:
        return bool(self._sizes[index, 0])

    def __setitem__(self, index: int, size: tuple[int, int]) -> None:
        self._sizes[index] = size

    def __getitem__(self, index: int) -> tuple[int, int]:
        height, width = self._sizes[index].tolist()
        return height, width

    def of(self, indices: Sequence[int]) -> Sizes:
        return Sizes(self._sizes[np.asarray(indices, dtype=np.int64)])

    def all(self) -> np.ndarray:
        """``(n, 2)`` int, 0 where nothing was read."""
        return self._sizes.copy()


class FileImages:
    """Image files, decoded when they are read."""

    in_memory = False

    def __init__(self, paths: Sequence[str], channels: int, frame: Frame, *, deep: bool = False) -> None:
        self.names: Sequence[str] = paths
        self.frame = frame
        self._deep = deep
        self._sizes = Sizes.unknown(len(paths))
        self.shape: ImageShape = (channels, frame.size, frame.size)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Tensor:
        """One framed image, ``(c, size, size)``: uint8, or float32 if it has 16 bits a channel."""
        image, self._sizes[index] = decode_for(self.frame.high, self.names[index], self.shape[0])
        return self.frame.put(image)

    def take(self, indices: Sequence[int]) -> Tensor:
        return _stacked([self.read(int(i)) for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            self.read(index)
        return self._sizes[index]

    def native_sizes(self) -> np.ndarray:
        return self._sizes.all()

    def know_size(self, index: int, height: int, width: int) -> None:
        """What a file's header says, before it is decoded."""
        self._sizes[index] = height, width

    def picture(self, index: int, wanted: int) -> Tensor:
        return decode_for(wanted, self.names[index], self.shape[0])[0]

    def part(self, indices: range) -> FileImages:
        """Some of the files, as a set of their own."""
        return FileImages(self.names[indices.start : indices.stop : indices.step], self.shape[0], self.frame, deep=self._deep)

    def check(self, memory_limit: int | None = None, report: Report | None = None) -> tuple[ImageSet, Unreadable]:
        """Decode every file once: the readable ones as a set, and why the others are not.

        The decoded set is kept in memory when it fits into ``memory_limit`` bytes (None: :data:`MEMORY_LIMIT`), so that
        checking costs nothing.
        """
        limit = MEMORY_LIMIT if memory_limit is None else memory_limit
        kept = _Kept(len(self), self.shape, torch.float32 if self._deep else torch.uint8, limit)
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
                    kept.add(outcome)
                    good.append(index)
                if report is not None:
                    report(len(indices))
        names, sizes = [self.names[i] for i in good], self._sizes.of(good)
        if kept.images is not None and good:
            return DecodedFiles(kept.images[: len(good)].numpy(), names, sizes), bad
        readable = FileImages(names, self.shape[0], self.frame, deep=self._deep)
        readable._sizes = sizes
        return readable, bad


class _Kept:
    """Framed images in memory, as long as they fit; uint8 until the first one has 16 bits a channel."""

    def __init__(self, count: int, shape: ImageShape, pixel: torch.dtype, limit: int) -> None:
        self._shape = (count, *shape)
        self._limit = limit
        self._done = 0
        self.images: Tensor | None = self._empty(pixel)

    def _empty(self, pixel: torch.dtype) -> Tensor | None:
        return torch.empty(self._shape, dtype=pixel) if math.prod(self._shape) * pixel.itemsize <= self._limit else None

    def add(self, image: Tensor) -> None:
        """The next one."""
        if self.images is not None and image.dtype == torch.float32 != self.images.dtype:
            shallow, self.images = self.images, self._empty(torch.float32)
            if self.images is not None:
                self.images[: self._done] = _as_type(shallow[: self._done], torch.float32)
        if self.images is not None:
            self.images[self._done] = _as_type(image, self.images.dtype)
        self._done += 1


class DecodedFiles(ArrayImages):
    """Files that were decoded and framed once and are kept in memory."""

    one_size = False

    def __init__(self, framed: np.ndarray, names: Sequence[str], sizes: Sizes) -> None:
        super().__init__(framed, Frame(int(framed.shape[-1]), 1, int(framed.shape[-1])), names)
        self._sizes = sizes

    def native_size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def native_sizes(self) -> np.ndarray:
        return self._sizes.all()

    def picture(self, index: int, wanted: int) -> Tensor:
        return decode_for(wanted, self.names[index], self.shape[0])[0]


class DatasetImages:
    """Any torch ``Dataset`` with a length; an item is an image, or a tuple that begins with one."""

    in_memory = False

    def __init__(self, dataset: Dataset[Any], channels: int, frame: Frame, sizes: Sizes | None = None) -> None:
        count = len(cast(Any, dataset))
        self._dataset = dataset
        self._sizes = Sizes.unknown(count) if sizes is None else sizes
        self.frame = frame
        self.shape: ImageShape = (channels, frame.size, frame.size)
        self.names: Sequence[str] = _Numbered(count)

    def __len__(self) -> int:
        return len(self.names)

    def _item(self, index: int) -> Tensor:
        image = dataset_item(self._dataset, index, self.shape[0])
        if image.shape[0] != self.shape[0]:
            raise odd_item(index, f"has {image.shape[0]} channels, not {self.shape[0]}")
        self._sizes[index] = _size_of(image)
        return image

    def take(self, indices: Sequence[int]) -> Tensor:
        return _stacked([self.frame.put(self._item(int(i))) for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            self._item(index)
        return self._sizes[index]

    def native_sizes(self) -> np.ndarray:
        return self._sizes.all()

    def picture(self, index: int, wanted: int) -> Tensor:
        return self._item(index)

    def check(self, memory_limit: int | None = None, report: Report | None = None) -> tuple[ImageSet, Unreadable]:
        """As :meth:`FileImages.check`; nothing is kept in memory, since items may differ each time they are read."""
        bad: Unreadable = {}
        for index in range(len(self)):
            try:
                if index not in self._sizes:  # what was read already, to choose the frame, was readable
                    self._item(index)
            except ImageError as error:
                bad[index] = error.bad[0][1]
        return (Subset(self, [i for i in range(len(self)) if i not in bad]) if bad else self), bad


class Subset:
    """Some images of another set."""

    def __init__(self, images: ImageSet, indices: Sequence[int]) -> None:
        self._images = images
        self.indices = np.asarray(indices, dtype=np.int64)
        self.names: Sequence[str] = _Picked(images.names, self.indices)
        self.shape = images.shape
        self.in_memory = images.in_memory

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Sequence[int]) -> Tensor:
        return self._images.take(self.indices[np.asarray(indices, dtype=np.int64)].tolist())

    def native_size(self, index: int) -> tuple[int, int]:
        return self._images.native_size(int(self.indices[index]))

    def native_sizes(self) -> np.ndarray:
        return self._images.native_sizes()[self.indices]

    def picture(self, index: int, wanted: int) -> Tensor:
        return self._images.picture(int(self.indices[index]), wanted)


class Joined:
    """Two sets of one shape, one after the other."""

    def __init__(self, first: ImageSet, second: ImageSet) -> None:
        if first.shape != second.shape:
            raise ImageError(f"images of {first.shape} and of {second.shape} cannot be joined")
        self._parts = (first, second)
        self.names: Sequence[str] = [*first.names, *second.names]
        self.shape = first.shape
        self.in_memory = first.in_memory and second.in_memory

    def __len__(self) -> int:
        return len(self.names)

    def _locate(self, index: int) -> tuple[ImageSet, int]:
        first, second = self._parts
        return (first, index) if index < len(first) else (second, index - len(first))

    def take(self, indices: Sequence[int]) -> Tensor:
        located = [self._locate(int(i)) for i in indices]
        return _stacked([images.take([i])[0] for images, i in located])

    def native_size(self, index: int) -> tuple[int, int]:
        images, own = self._locate(index)
        return images.native_size(own)

    def native_sizes(self) -> np.ndarray:
        return np.concatenate([part.native_sizes() for part in self._parts])

    def picture(self, index: int, wanted: int) -> Tensor:
        images, own = self._locate(index)
        return images.picture(own, wanted)

    def check(self, memory_limit: int | None = None, report: Report | None = None) -> tuple[ImageSet, Unreadable]:
        """As :meth:`FileImages.check`, for both parts."""
        (first, bad), (second, more) = (check_files(part, memory_limit, report) for part in self._parts)
        return Joined(first, second), bad | {len(self._parts[0]) + index: reason for index, reason in more.items()}


def check_files(images: ImageSet, memory_limit: int | None = None, report: Report | None = None) -> tuple[ImageSet, Unreadable]:
    """The readable images of a set, and why the others (files, or items of a dataset) are not."""
    if isinstance(images, (FileImages, MappedImages, DatasetImages, Joined)):
        return images.check(memory_limit, report)
    return images, {}


def unreadable_error(images: ImageSet, bad: Unreadable, way_out: str) -> ImageError:
    """The error that lists the files of a set that cannot be read, and says what to do."""
    named = [(images.names[index], reason) for index, reason in bad.items()]
    listed = "\n".join(f"  {name}: {reason}" for name, reason in named[:20])
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    return ImageError(f"{len(bad)} of {len(images)} files cannot be read:\n{listed}{more}\n{way_out}", named)


def known_sizes(images: ImageSet) -> np.ndarray:
    """Heights and widths of the images of which they are known, ``(m, 2)`` int."""
    sizes = images.native_sizes()
    return sizes[sizes[:, 0] > 0]


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """``(b, c, h, w)``: float32 if one of them is."""
    types = {image.dtype for image in images}
    return torch.stack([_as_type(image, torch.float32) for image in images] if len(types) > 1 else list(images))


def _as_type(image: Tensor, wanted: torch.dtype) -> Tensor:
    """uint8 0..255 as float32 0..1, where that is wanted."""
    if image.dtype == wanted:
        return image
    if wanted != torch.float32 or image.dtype != torch.uint8:
        raise TypeError(f"{image.dtype} does not become {wanted}")
    return image.to(wanted) / 255.0


def _size_of(image: Tensor) -> tuple[int, int]:
    return int(image.shape[-2]), int(image.shape[-1])


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
        except ImageError as error:  # as a value: raised in a worker it would arrive as the text of a traceback
            return error


def iterate(images: ImageSet, batches: Sequence[Sequence[int]], workers: int = 0) -> Iterator[Tensor]:
    """The batches of ``images`` with these indices, in order; ``workers`` processes decode what is not in memory."""
    if images.in_memory or workers == 0:
        for indices in batches:
            yield images.take(indices)
        return
    private = torch.Generator().manual_seed(0)  # DataLoader would draw its workers' seed from the caller's RNG
    loader = DataLoader(_Batches(images, batches), batch_size=None, num_workers=workers, generator=private)
    for batch in loader:
        if isinstance(batch, ImageError):
            raise batch
        yield batch


def in_batches(count: int, batch_size: int) -> list[range]:
    """``range(count)`` in pieces of ``batch_size``; the last one may be shorter."""
    return [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def fingerprint(images: ImageSet, workers: int = 0) -> str:
    """A short hash of the number, shape and all pixels: two runs saw the same data, in the same order."""
    return fingerprints(images, workers)[0]


def fingerprints(images: ImageSet, workers: int = 0) -> tuple[str, np.ndarray]:
    """The fingerprint of a set, and a hash of the framed pixels of each image, ``(n,)`` int64: copies have the same."""
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
    """Of 64 bits; the same for 8-bit pixels whether they came as bytes or among 16-bit ones, as float."""
    if image.dtype != np.uint8:
        levels = np.rint(image * np.float32(255))
        if np.abs(image * np.float32(255) - levels).max(initial=0) < 1e-4:
            image = levels.astype(np.uint8)
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little", signed=True)
