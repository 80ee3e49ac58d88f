"""Sets of images that are read in batches, wherever they lie."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomirror.errors import ImageError, InputError
from anomirror.images import protocol
from anomirror.images.arrays import pixels
from anomirror.images.decoding import dataset_item, odd_item
from anomirror.images.frame import Frame, ImageShape
from anomirror.images.protocol import ImageSet, Report, Unreadable


class _Names(Sequence[str], ABC):
    """Names of images, each made when it is asked for."""

    @abstractmethod
    def name(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = range(len(self))
        if isinstance(index, slice):
            return [self.name(place) for place in places[index]]
        return self.name(places[index])


class _Numbered(_Names):
    """Names of images that have none."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"image {index}"


class _Picked(_Names):
    """The names of some images of a set."""

    def __init__(self, names: Sequence[str], indices: np.ndarray) -> None:
        self._names = names
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return self._names[int(self._indices[index])]


class ArrayImages:
    """An array ``(n, c, h, w)`` that :func:`as_batch` checked, in memory or mapped from a file.

    Batches are copies of its pixels.

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
        some = self._array[np.asarray(indices, dtype=np.int64)]
        return self.frame.put(pixels(some, self.frame.white))

    def native_size(self, index: int) -> tuple[int, int]:
        return int(self._array.shape[2]), int(self._array.shape[3])

    def native_sizes(self) -> np.ndarray:
        return np.tile(np.asarray(self._array.shape[2:]), (len(self), 1))

    def picture(self, index: int, wanted: int) -> Tensor:
        return pixels(self._array[[index]], self.frame.white)[0]


def framed(array: np.ndarray) -> ArrayImages:
    """Square images ``(n, c, size, size)`` that are in their frame already."""
    size = array.shape[-1]
    return ArrayImages(array, Frame(size, 1, size))


class MappedImages(ArrayImages):
    """The array of an ``.npy`` file, read where it is used.

    The file must stay as it is meanwhile.
    """

    def __init__(self, images: ArrayImages, path: Path, status: os.stat_result) -> None:
        super().__init__(images._array, images.frame)
        self._path = path
        self._found = status

    def take(self, indices: Sequence[int]) -> Tensor:
        self._refuse_changes()
        return super().take(indices)

    def check(
        self, memory_limit: int | None = None, report: Report | None = None
    ) -> tuple[ImageSet, Unreadable]:
        """In memory if it fits, so that a long training does not depend on the file."""
        self._refuse_changes()
        if self._array.nbytes > (protocol.MEMORY_LIMIT if memory_limit is None else memory_limit):
            return self, {}
        return ArrayImages(np.array(self._array), self.frame), {}

    def _refuse_changes(self) -> None:
        """Another file of the same name does no harm.

        Pixels beyond the new end of this one would end the process.
        """
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return
        before = self._found
        if now.st_ino == before.st_ino and (now.st_size, now.st_mtime_ns) != (
            before.st_size,
            before.st_mtime_ns,
        ):
            raise InputError(
                f"{self._path}: was changed while it was read; start again, and next time write a "
                "file of another name"
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


class Measured(ABC):
    """The part of a set of images that knows their sizes once it has read them."""

    frame: Frame
    _sizes: Sizes

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """One image; its size is known from then on."""

    def native_size(self, index: int) -> tuple[int, int]:
        """Height and width."""
        if index not in self._sizes:
            self.read(index)
        return self._sizes[index]

    def native_sizes(self) -> np.ndarray:
        """``(n, 2)`` int, 0 where nothing was read."""
        return self._sizes.all()


def length(dataset: Dataset[object]) -> int:
    """Number of items of a map-style dataset.

    Raises
    ------
    InputError : it has no length.
    """
    if not isinstance(dataset, Sized):
        name = type(dataset).__name__
        raise InputError(f"{name} has no length: anomirror needs a map-style dataset")
    return len(dataset)


class DatasetImages(Measured):
    """Any torch ``Dataset`` with a length; an item is an image, or a tuple that begins with one."""

    in_memory = False

    def __init__(
        self, dataset: Dataset[object], channels: int, frame: Frame, sizes: Sizes | None = None
    ) -> None:
        count = length(dataset)
        self._dataset = dataset
        self._sizes = Sizes.unknown(count) if sizes is None else sizes
        self.frame = frame
        self.shape: ImageShape = (channels, frame.size, frame.size)
        self.names: Sequence[str] = _Numbered(count)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Tensor:
        """One image as it is, ``(c, h, w)``."""
        image = dataset_item(self._dataset, index, self.shape[0], self.frame.white)
        if image.shape[0] != self.shape[0]:
            raise odd_item(index, f"has {image.shape[0]} channels, not {self.shape[0]}")
        self._sizes[index] = _size_of(image)
        return image

    def take(self, indices: Sequence[int]) -> Tensor:
        return stacked([self.frame.put(self.read(int(i))) for i in indices])

    def picture(self, index: int, wanted: int) -> Tensor:
        return self.read(index)

    def check(
        self, memory_limit: int | None = None, report: Report | None = None
    ) -> tuple[ImageSet, Unreadable]:
        """As :meth:`FileImages.check`.

        Nothing is kept in memory, since items may differ each time they are read.
        """
        bad: Unreadable = {}
        for index in range(len(self)):
            try:
                # what was read already, to choose the frame, was readable
                if index not in self._sizes:
                    self.read(index)
            except ImageError as error:
                bad[index] = error.bad[0][1]
        return (Subset(self, [i for i in range(len(self)) if i not in bad]) if bad else self), bad


class Subset:
    """Some images of another set."""

    def __init__(self, images: ImageSet, indices: Sequence[int]) -> None:
        self.whole = images
        self.indices = np.asarray(indices, dtype=np.int64)
        self.names: Sequence[str] = _Picked(images.names, self.indices)
        self.shape = images.shape
        self.in_memory = images.in_memory

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Sequence[int]) -> Tensor:
        return self.whole.take(self.indices[np.asarray(indices, dtype=np.int64)].tolist())

    def native_size(self, index: int) -> tuple[int, int]:
        return self.whole.native_size(int(self.indices[index]))

    def native_sizes(self) -> np.ndarray:
        return self.whole.native_sizes()[self.indices]

    def picture(self, index: int, wanted: int) -> Tensor:
        return self.whole.picture(int(self.indices[index]), wanted)


def places_in(images: ImageSet, whole: ImageSet) -> np.ndarray | None:
    """Indices in another set of images that are it, or a part of it; None of others, ``(n,)``."""
    if images is whole:
        return np.arange(len(whole))
    if not isinstance(images, Subset):
        return None
    places = places_in(images.whole, whole)
    return None if places is None else places[images.indices]


class Joined:
    """Two sets of one shape, one after the other."""

    def __init__(self, first: ImageSet, second: ImageSet) -> None:
        if first.shape != second.shape:
            raise ImageError(f"images of {first.shape} and of {second.shape} cannot be joined")
        self.parts = (first, second)
        self.names: Sequence[str] = [*first.names, *second.names]
        self.shape = first.shape
        self.in_memory = first.in_memory and second.in_memory

    def __len__(self) -> int:
        return len(self.names)

    def _locate(self, index: int) -> tuple[ImageSet, int]:
        first, second = self.parts
        return (first, index) if index < len(first) else (second, index - len(first))

    def take(self, indices: Sequence[int]) -> Tensor:
        located = [self._locate(int(i)) for i in indices]
        return stacked([images.take([i])[0] for images, i in located])

    def native_size(self, index: int) -> tuple[int, int]:
        images, own = self._locate(index)
        return images.native_size(own)

    def native_sizes(self) -> np.ndarray:
        return np.concatenate([part.native_sizes() for part in self.parts])

    def picture(self, index: int, wanted: int) -> Tensor:
        images, own = self._locate(index)
        return images.picture(own, wanted)

    def check(
        self, memory_limit: int | None = None, report: Report | None = None
    ) -> tuple[ImageSet, Unreadable]:
        """As :meth:`FileImages.check`, for both parts."""
        first, bad = check_files(self.parts[0], memory_limit, report)
        second = self.parts[1]
        found: Frame | None = getattr(first, "frame", None)
        if found is not None and isinstance(second, (Measured, ArrayImages)):
            # the first part may have found that it is brighter than it seemed
            second.frame = replace(second.frame, white=found.white)
        second, more = check_files(second, memory_limit, report)
        return Joined(first, second), bad | {
            len(self.parts[0]) + index: reason for index, reason in more.items()
        }


Check = Callable[[int | None, Report | None], tuple[ImageSet, Unreadable]]
"""The method of a set of which not every image may be readable."""


def check_files(
    images: ImageSet, memory_limit: int | None = None, report: Report | None = None
) -> tuple[ImageSet, Unreadable]:
    """The readable images of a set, and why the others (files, or items of a dataset) are not."""
    check: Check | None = getattr(images, "check", None)
    return check(memory_limit, report) if check else (images, {})


def unreadable_error(images: ImageSet, bad: Unreadable, way_out: str) -> ImageError:
    """The error that lists the files of a set that cannot be read, and says what to do."""
    named = [(images.names[index], reason) for index, reason in bad.items()]
    listed = "\n".join(f"  {name}: {reason}" for name, reason in named[:20])
    more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
    return ImageError(
        f"{len(bad)} of {len(images)} files cannot be read:\n{listed}{more}\n{way_out}", named
    )


def known_sizes(images: ImageSet) -> np.ndarray:
    """Heights and widths of the images of which they are known, ``(m, 2)`` int."""
    sizes = images.native_sizes()
    return sizes[sizes[:, 0] > 0]


def stacked(images: Sequence[Tensor]) -> Tensor:
    """``(b, c, h, w)``: float32 if one of them is."""
    types = {image.dtype for image in images}
    return torch.stack(
        [as_type(image, torch.float32) for image in images] if len(types) > 1 else list(images)
    )


def as_type(image: Tensor, wanted: torch.dtype) -> Tensor:
    """uint8 0..255 as float32 0..1, where that is wanted."""
    if image.dtype == wanted:
        return image
    if wanted != torch.float32 or image.dtype != torch.uint8:
        raise TypeError(f"{image.dtype} does not become {wanted}")
    return image.to(wanted) / 255.0


def _size_of(image: Tensor) -> tuple[int, int]:
    return int(image.shape[-2]), int(image.shape[-1])
