"""Any input as a set of images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anomirror.errors import ImageError, InputError, warn
from anomirror.images.arrays import as_array, as_batch, load_array
from anomirror.images.bits import white_of_array, white_of_files
from anomirror.images.decoding import dataset_item, header
from anomirror.images.file_images import FileImages
from anomirror.images.files import Part, find_files
from anomirror.images.frame import SIZES, WHITE, Frame, ImageShape, ImageSize, SizeRange
from anomirror.images.pictures import with_pages
from anomirror.images.protocol import ImageInput, ImageSet
from anomirror.images.sets import (
    ArrayImages,
    DatasetImages,
    Joined,
    MappedImages,
    Sizes,
    Subset,
    known_sizes,
    length,
)


def open_images(
    X: ImageInput,
    *,
    image_size: ImageSize = None,
    most: int = SIZES[0],
    shape: ImageShape | None = None,
    frame: Frame | None = None,
    part: Part | None = None,
    white: int | None = None,
) -> ImageSet:
    """Any input as an :class:`ImageSet`.

    Parameters
    ----------
    X : what holds the images:

        * an array or tensor of ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``; of axes 1 and 3
          the one of 1, 3 or 4 is taken as channels, else the *smaller*. uint8 is 0..255, uint16
          0..65535, float 0..1. It is not copied: leave it as it is; ``(h, w)`` and ``(h, w, 3)``
          are one image;
        * a folder (searched recursively), one image file, a ``.txt`` file with one path a line
          (relative to its folder), an ``.npy`` or ``.npz`` array, or a list, tuple, array or Series
          of paths. Each page of a TIFF or frame of an animation counts, as ``scan.tif#2``, but in a
          list of paths;
        * a list or tuple of arrays, tensors or PIL images, which may differ in size; one PIL image;
        * a torch ``Dataset`` with a length, whose items are images or tuples that begin with one.
    image_size : side of the square that the networks see; None keeps the pixels, "auto" does where
        the images are not larger than ``most``, and else scales them to it (see :class:`Frame`).
    shape : what a fitted detector expects; images must have its number of channels.
    frame : how images come into ``shape``, of a fitted detector; without it as ``image_size`` says.
    part : of a folder that is divided into ``train`` and ``test``: the one to read.
    white : of pixels with 16 bits, without a ``frame``; None: by the bits that they fill.

    Raises
    ------
    ImageError : no image, an unreadable one, or another number of channels than ``shape``.
    InputError : an array that is no batch of images, or is not finite, or is out of its range.
    """
    wanted = _Wanted(image_size, most, shape, frame or _frame_of(shape, image_size), white)
    if isinstance(X, (ArrayImages, FileImages, DatasetImages, Subset, Joined)):
        if shape is not None and X.shape != shape:
            raise ImageError(f"images are {X.shape}, the detector was fitted on {shape}")
        return X
    if isinstance(X, (str, os.PathLike)):
        return _open_path(Path(X), part, wanted)
    if isinstance(X, Dataset):
        return _open_dataset(_counted(X), wanted)
    if isinstance(X, Image.Image):
        return _open_dataset(_Listed([X]), wanted)
    return _open_many(list(X) if isinstance(X, Iterator) else X, wanted)


def _frame_of(shape: ImageShape | None, image_size: ImageSize) -> Frame | None:
    """Of a fitted detector that gives none."""
    if shape is None:
        return None
    fixed = isinstance(image_size, (int, np.integer))
    return Frame.scaled(shape[1]) if fixed else Frame(shape[1], 1, shape[1])


def _open_path(path: Path, part: Part | None, wanted: _Wanted) -> ImageSet:
    """A folder, an image, a list of paths or an array file."""
    if path.suffix.lower() in {".npy", ".npz"}:
        return _open_array_file(path, wanted)
    files = find_files(path, part)
    if files.left_out:
        warn(f"left out of {path}: {files.left_out}")
    names, several = with_pages(files.paths)
    if several:
        first, count = next(iter(several.items()))
        warn(
            f"{len(several)} of {len(files.paths)} files hold several images, such as {first} with "
            f"{count}: each counts as one of its own, named {first}#1, {first}#2, ...; where those "
            "of one file are alike, fit --group-by '(.*)#' keeps them together"
        )
    return _open_files(names, wanted)


def _open_listed(paths: Sequence[str], wanted: _Wanted) -> FileImages:
    """One image for each path, as labels and groups count them."""
    _, several = with_pages(paths)
    if several:
        first, count = next(iter(several.items()))
        warn(
            f"{len(several)} of {len(paths)} files hold several images, such as {first} with "
            f"{count}: of a list the first of each is read; {first}#2 names the second"
        )
    return _open_files(paths, wanted)


def _counted(dataset: Dataset[object]) -> Dataset[object]:
    """Refuse one that has no length, or no image."""
    if length(dataset) == 0:
        raise ImageError("the dataset is empty")
    return dataset


def _open_many(X: ImageInput, wanted: _Wanted) -> ImageSet:
    """Paths, a list of images, or an array of them."""
    if X is None:
        raise InputError("no image: got None")
    if (paths := _paths(X)) is not None:
        return _open_listed(paths, wanted)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if isinstance(X, (list, tuple)) and (listed := _listed(X)) is not None:
        return _open_dataset(listed, wanted)
    batch = as_batch(_with_number(as_array(X)), None if wanted.shape is None else wanted.shape[0])
    frame = wanted.frame_for(*batch.shape[1:])
    if wanted.frame is None:
        frame = replace(frame, white=wanted.white or white_of_array(batch))
    return ArrayImages(batch, frame)


def _with_number(array: np.ndarray) -> np.ndarray:
    """One image as a batch of one; rows of pixels are refused."""
    if array.ndim == 2 and max(array.shape) > 32 * min(array.shape):
        raise InputError(
            f"an array of {array.shape} looks like rows of pixels: expected images as (n, h, w) or "
            "(n, h, w, c)"
        )
    one = array.ndim == 3 and array.shape[2] in (1, 3, 4) and min(array.shape[:2]) > 4
    return array[None] if array.ndim == 2 or one else array


def white_of(images: ImageSet) -> int:
    """White of their pixels with 16 bits; of parts of a set as of the whole."""
    frame: Frame | None = getattr(images, "frame", None)
    if frame is not None:
        return frame.white
    if isinstance(images, Joined):
        return white_of(images.parts[0])
    whole: ImageSet | None = getattr(images, "whole", None)
    return WHITE if whole is None else white_of(whole)


def frame_of(images: ImageSet) -> Frame | None:
    """The frame in which other images are like these, as far as their sizes are known.

    A part of a set has none.
    """
    frame: Frame | None = getattr(images, "frame", None)
    known = known_sizes(images)
    return frame if frame is None or not len(known) else frame.as_seen(SizeRange.of(known))


class _Wanted:
    """The size, channels and frame that images are brought to."""

    def __init__(
        self,
        image_size: ImageSize,
        most: int,
        shape: ImageShape | None,
        frame: Frame | None,
        white: int | None,
    ) -> None:
        self.image_size = image_size
        self.most = most
        self.shape = shape
        self.frame = frame
        self.white = white

    def frame_for(self, channels: int, height: int, width: int) -> Frame:
        """The frame of a set with so many channels, and no image higher or wider."""
        if self.shape is None or self.frame is None:
            return Frame.choose(height, width, self.image_size, self.most)
        if channels != self.shape[0]:
            raise ImageError(
                f"images have {channels} channels, the detector was fitted on {self.shape[0]}"
            )
        return self.frame


class _Listed(Dataset[object]):
    """Images in a list."""

    def __init__(self, images: Sequence[object]) -> None:
        self._images = images
        self.of_pictures = all(isinstance(image, Image.Image) for image in images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> object:
        return self._images[index]


def _paths(X: object) -> list[str] | None:
    """The paths of a list, an array or a Series of paths; None of anything else."""
    if isinstance(X, (Tensor, np.ndarray)) and getattr(X, "ndim", 0) != 1:
        return None
    if (
        not (hasattr(X, "__iter__") and hasattr(X, "__len__"))
        or isinstance(X, (dict, bytes))
        or len(X) == 0
    ):
        return None
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUT":
        return None
    items = list(X)
    return (
        [os.fspath(item) for item in items]
        if all(isinstance(item, (str, os.PathLike)) for item in items)
        else None
    )


def _listed(X: Sequence[object]) -> _Listed | None:
    """Images of several sizes, or PIL images, as a dataset; None where they are one array."""
    if not X:
        raise ImageError("no image: the list is empty")
    if any(isinstance(item, Image.Image) for item in X):
        return _Listed(X)
    shapes = [getattr(item, "shape", None) for item in X]
    if None in shapes or len(set(shapes)) == 1:
        return None
    return _Listed(X)


def _open_array_file(path: Path, wanted: _Wanted) -> ImageSet:
    status = path.stat() if path.is_file() else None
    loaded = load_array(path)
    images = open_images(
        loaded,
        image_size=wanted.image_size,
        most=wanted.most,
        shape=wanted.shape,
        frame=wanted.frame,
        white=wanted.white,
    )
    if status is not None and isinstance(loaded, np.memmap) and isinstance(images, ArrayImages):
        return MappedImages(images, path, status)
    return images


def _open_dataset(dataset: Dataset[object], wanted: _Wanted) -> DatasetImages:
    """Framed by the largest readable item, as a folder is; the first one says how many channels."""
    if wanted.shape is not None and wanted.frame is not None:
        return DatasetImages(dataset, wanted.shape[0], wanted.frame)
    count = length(dataset)
    sizes = Sizes.unknown(count)
    bad: list[tuple[str, str]] = []
    channels = height = width = 0
    # grey ones among them become colour, as files do
    pictures = isinstance(dataset, _Listed) and dataset.of_pictures
    for index in range(count):
        try:
            image = dataset_item(dataset, index)
        except ImageError as error:
            bad += error.bad
            continue
        channels = max(channels, image.shape[0]) if pictures else channels or image.shape[0]
        if pictures or image.shape[0] == channels:
            sizes[index] = int(image.shape[1]), int(image.shape[2])
            height, width = max(height, image.shape[1]), max(width, image.shape[2])
    if not channels:
        raise ImageError(
            f"none of the {len(bad)} items of the dataset can be read; {bad[0][0]}: {bad[0][1]}",
            bad,
        )
    return DatasetImages(dataset, channels, wanted.frame_for(channels, height, width), sizes)


def _open_files(paths: Sequence[str], wanted: _Wanted) -> FileImages:
    if wanted.shape is not None and wanted.frame is not None:
        return FileImages(paths, wanted.shape[0], wanted.frame)
    by_path = list(map(header, paths))
    headers = [known for known in by_path if known is not None]
    if not headers:
        _, bad = FileImages(paths, 1, Frame.scaled(SIZES[0])).check()
        listed = [(paths[index], reason) for index, reason in bad.items()]
        raise ImageError(
            f"none of {len(paths)} files can be read as an image; {listed[0][0]}: {listed[0][1]}",
            listed,
        )
    channels = max(known.channels for known in headers)
    frame = wanted.frame_for(
        channels, max(known.height for known in headers), max(known.width for known in headers)
    )
    deep = [path for path, known in zip(paths, by_path, strict=True) if known and known.deep]
    if 0 < len(deep) < len(headers):
        warn(
            f"{len(deep)} of {len(headers)} files have 16 bits a channel, such as {deep[0]}, and "
            "the others 8: each is read as a share of what its own bits can hold, so that one kind "
            "may look darker than the other"
        )
    frame = replace(frame, white=wanted.white or white_of_files(deep))
    guessed = wanted.white is None
    images = FileImages(paths, channels, frame, deep=bool(deep), guessed=guessed)
    for index, known in enumerate(by_path):
        if known is not None:
            images.know_size(index, known.height, known.width)
    return images
