"""Sets of images that are read in batches, wherever they lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomirror.errors import ImageError, InputError
from anomirror.images.decoding import as_array, as_batch, dataset_item, decode, find_files, header, load_array, odd_item, pixels
from anomirror.images.frame import SIZES, Frame, ImageShape

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
        self._frame = frame
        self.names: Sequence[str] = names if names is not None else _Numbered(len(array))
        self.shape: ImageShape = (int(array.shape[1]), frame.size, frame.size)

    def __len__(self) -> int:
        return len(self._array)

    def take(self, indices: Sequence[int]) -> Tensor:
        return self._frame.put(pixels(self._array[np.asarray(indices, dtype=np.int64)]))

    def native_size(self, index: int) -> tuple[int, int]:
        return int(self._array.shape[2]), int(self._array.shape[3])


class MappedImages(ArrayImages):
    """The array of an ``.npy`` file, read where it is used; the file must stay as it is meanwhile."""

    def __init__(self, images: ArrayImages, path: Path, found: os.stat_result) -> None:
        super().__init__(images._array, images._frame)
        self._path = path
        self._found = found

    def take(self, indices: Sequence[int]) -> Tensor:
        self._refuse_changes()
        return super().take(indices)

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, Unreadable]:
        """In memory if it fits, as files are: no training shall depend for hours on what happens to a file."""
        self._refuse_changes()
        if self._array.nbytes > (MEMORY_LIMIT if memory_limit is None else memory_limit):
            return self, {}
        return ArrayImages(np.array(self._array), self._frame), {}

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


class _Sizes:
    """Height and width of images as they are read; eight bytes each."""

    def __init__(self, sizes: np.ndarray) -> None:
        self._sizes = sizes

    @classmethod
    def unknown(cls, count: int) -> _Sizes:
        return cls(np.zeros((count, 2), dtype=np.int32))

    def __contains__(self, index: int) -> bool:
        return bool(self._sizes[index, 0])

    def __setitem__(self, index: int, image: Tensor) -> None:
        self._sizes[index] = image.shape[-2:]

    def __getitem__(self, index: int) -> tuple[int, int]:
        height, width = self._sizes[index].tolist()
        return height, width

    def of(self, indices: Sequence[int]) -> _Sizes:
        return _Sizes(self._sizes[np.asarray(indices, dtype=np.int64)])


class FileImages:
    """Image files, decoded when they are read."""

    in_memory = False

    def __init__(self, paths: Sequence[str], channels: int, frame: Frame) -> None:
        self.names: Sequence[str] = paths
        self._frame = frame
        self._sizes = _Sizes.unknown(len(paths))
        self.shape: ImageShape = (channels, frame.size, frame.size)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Tensor:
        """One framed image, ``(c, size, size)`` uint8."""
        image = decode(self.names[index], self.shape[0])
        self._sizes[index] = image
        return self._frame.put(image)

    def take(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.read(int(i)) for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            self.read(index)
        return self._sizes[index]

    def part(self, indices: range) -> FileImages:
        """Some of the files, as a set of their own."""
        return FileImages(self.names[indices.start : indices.stop : indices.step], self.shape[0], self._frame)

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, Unreadable]:
        """Decode every file once: the readable ones as a set, and why the others are not.

        The decoded set is kept in memory when it fits into ``memory_limit`` bytes (None: :data:`MEMORY_LIMIT`), so that
        checking costs nothing.
        """
        channels, height, width = self.shape
        keep = len(self) * channels * height * width <= (MEMORY_LIMIT if memory_limit is None else memory_limit)
        kept = torch.empty((len(self) if keep else 0, *self.shape), dtype=torch.uint8)
        good: list[int] = []
        bad: Unreadable = {}

        def attempt(index: int) -> Tensor | str:
            try:
                return self.read(index)
            except ImageError as error:
                return error.bad[0][1]

        with ThreadPoolExecutor(max_workers=4) as pool:
            chunk = 256  # bounds what is decoded ahead
            for start in range(0, len(self), chunk):
                indices = range(start, min(start + chunk, len(self)))
                for index, outcome in zip(indices, pool.map(attempt, indices), strict=True):
                    if isinstance(outcome, str):
                        bad[index] = outcome
                        continue
                    if keep:
                        kept[len(good)] = outcome
                    good.append(index)
        names, sizes = [self.names[i] for i in good], self._sizes.of(good)
        if keep and good:
            return DecodedFiles(kept[: len(good)].numpy(), names, sizes), bad
        readable = FileImages(names, channels, self._frame)
        readable._sizes = sizes
        return readable, bad


class DecodedFiles(ArrayImages):
    """Files that were decoded and framed once and are kept in memory."""

    one_size = False

    def __init__(self, framed: np.ndarray, names: Sequence[str], sizes: _Sizes) -> None:
        super().__init__(framed, Frame(int(framed.shape[-1]), resize=False), names)
        self._sizes = sizes

    def native_size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]


class DatasetImages:
    """Any torch ``Dataset`` with a length; an item is an image, or a tuple that begins with one."""

    in_memory = False

    def __init__(self, dataset: Dataset[Any], channels: int, frame: Frame, sizes: _Sizes | None = None) -> None:
        count = len(cast(Any, dataset))
        self._dataset = dataset
        self._sizes = _Sizes.unknown(count) if sizes is None else sizes
        self._frame = frame
        self.shape: ImageShape = (channels, frame.size, frame.size)
        self.names: Sequence[str] = _Numbered(count)

    def __len__(self) -> int:
        return len(self.names)

    def _item(self, index: int) -> Tensor:
        image = dataset_item(self._dataset, index)
        if image.shape[0] != self.shape[0]:
            raise odd_item(index, f"has {image.shape[0]} channels, not {self.shape[0]}")
        self._sizes[index] = image
        return image

    def take(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self._frame.put(self._item(int(i))) for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            self._item(index)
        return self._sizes[index]

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, Unreadable]:
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
        return torch.cat([images.take([i]) for images, i in located])

    def native_size(self, index: int) -> tuple[int, int]:
        images, own = self._locate(index)
        return images.native_size(own)

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, Unreadable]:
        """As :meth:`FileImages.check`, for both parts."""
        (first, bad), (second, more) = (check_files(part, memory_limit) for part in self._parts)
        return Joined(first, second), bad | {len(self._parts[0]) + index: reason for index, reason in more.items()}


def check_files(images: ImageSet, memory_limit: int | None = None) -> tuple[ImageSet, Unreadable]:
    """The readable images of a set, and why the others (files, or items of a dataset) are not."""
    if isinstance(images, (FileImages, MappedImages, DatasetImages, Joined)):
        return images.check(memory_limit)
    return images, {}


def open_images(X: ImageInput, *, image_size: int | None = None, shape: ImageShape | None = None) -> ImageSet:
    """Any input as an :class:`ImageSet`.

    Parameters
    ----------
    X : what holds the images:

        * an array or tensor of ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``; of axes 1 and 3 the one of 1, 3 or 4
          is taken as channels, else the *smaller*. uint8 is 0..255, uint16 0..65535, float 0..1. It is not copied: leave it as
          it is for as long as it is used;
        * a folder (searched recursively), one image file, a ``.txt`` file with one path a line (relative to its folder), an
          ``.npy`` or ``.npz`` array, or a list of image paths;
        * a torch ``Dataset`` with a length, whose items are images or tuples that begin with one.
    image_size : side of the square that the networks see; None keeps the pixels (see :class:`Frame`).
    shape : what a fitted detector expects; images are framed into it and must have its number of channels.

    Raises
    ------
    ImageError : no image, an unreadable one, or another number of channels than ``shape``.
    InputError : an array that is no batch of images, or is not finite, or is out of its range.
    """
    if isinstance(X, (ArrayImages, FileImages, DatasetImages, Subset, Joined)):
        if shape is not None and X.shape != shape:
            raise ImageError(f"images are {X.shape}, the detector was fitted on {shape}")
        return X
    if isinstance(X, (str, os.PathLike)):
        path = Path(X)
        if path.suffix.lower() in {".npy", ".npz"}:
            found = path.stat() if path.is_file() else None
            loaded = load_array(path)
            images = open_images(loaded, image_size=image_size, shape=shape)
            if found is not None and isinstance(loaded, np.memmap) and isinstance(images, ArrayImages):
                return MappedImages(images, path, found)
            return images
        return _open_files(find_files(path), image_size, shape)
    if isinstance(X, (list, tuple)) and X and all(isinstance(item, (str, os.PathLike)) for item in X):
        return _open_files([str(item) for item in X], image_size, shape)
    if isinstance(X, Dataset):
        if not hasattr(X, "__len__"):
            raise InputError(f"{type(X).__name__} has no length: anomirror needs a map-style dataset")
        if len(X) == 0:
            raise ImageError("the dataset is empty")
        return _open_dataset(X, image_size, shape)
    array = as_array(X)
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.shape[1] > 4:
        raise InputError(f"an array of {array.shape} looks like one colour image: pass image[None], or (n, h, w, 1) if it is not")
    batch = as_batch(array, None if shape is None else shape[0])
    return ArrayImages(batch, _frame_for(batch.shape[1:], image_size, shape))


def _open_dataset(dataset: Dataset[Any], image_size: int | None, shape: ImageShape | None) -> DatasetImages:
    """Framed by the largest readable item, as a folder is; the first one says how many channels."""
    if shape is not None:
        return DatasetImages(dataset, shape[0], Frame(shape[1], resize=image_size is not None))
    sizes = _Sizes.unknown(len(cast(Any, dataset)))
    bad: list[tuple[str, str]] = []
    channels = height = width = 0
    for index in range(len(cast(Any, dataset))):
        try:
            image = dataset_item(dataset, index)
        except ImageError as error:
            bad += error.bad
            continue
        channels = channels or image.shape[0]
        if image.shape[0] == channels:
            sizes[index] = image
            height, width = max(height, image.shape[1]), max(width, image.shape[2])
    if not channels:
        raise ImageError(f"none of the {len(bad)} items of the dataset can be read; {bad[0][0]}: {bad[0][1]}", bad)
    return DatasetImages(dataset, channels, Frame.choose(height, width, image_size), sizes)


def _frame_for(image: tuple[int, ...], image_size: int | None, shape: ImageShape | None) -> Frame:
    channels, height, width = image
    if shape is None:
        return Frame.choose(height, width, image_size)
    if channels != shape[0]:
        raise ImageError(f"images have {channels} channels, the detector was fitted on {shape[0]}")
    return Frame(shape[1], resize=image_size is not None)


def _open_files(paths: Sequence[str], image_size: int | None, shape: ImageShape | None) -> FileImages:
    if shape is not None:
        return FileImages(paths, shape[0], Frame(shape[1], resize=image_size is not None))
    shapes = [found for found in map(header, paths) if found is not None]
    if not shapes:
        _, bad = FileImages(paths, 1, Frame(SIZES[0], resize=False)).check()
        listed = [(paths[index], reason) for index, reason in bad.items()]
        raise ImageError(f"none of {len(paths)} files can be read as an image; {listed[0][0]}: {listed[0][1]}", listed)
    channels, height, width = (max(sides) for sides in zip(*shapes, strict=True))
    return FileImages(paths, channels, Frame.choose(height, width, image_size))


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
    digest = hashlib.sha256(f"{len(images)} {images.shape}".encode())
    for batch in iterate(images, in_batches(len(images), 256), workers):
        digest.update(batch.numpy().tobytes())
    return digest.hexdigest()[:16]
