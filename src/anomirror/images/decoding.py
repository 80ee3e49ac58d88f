"""One image file, one dataset item or one array as pixels, or the reason why not."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from anomirror.errors import ImageError, InputError
from anomirror.images.frame import ImageShape

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".webp", ".gif"})
"""File name endings, in lower case, that count as images when a folder is searched."""

_CHECKED_AT_ONCE = 1024

ROUNDING = 1e-5
"""How far beyond [0, 1] a float pixel may lie and be clipped instead of refused."""


def header(path: str) -> ImageShape | None:
    """Channels, height and width without decoding: of a mixed folder the widest of each holds for all."""
    try:
        with Image.open(path) as picture:
            return _channels(picture), picture.height, picture.width
    except MemoryError:
        raise
    except Exception:  # over damaged bytes Pillow's decoders stumble with any error
        return None


def _channels(picture: Image.Image) -> int:
    """1 for grey pictures, 3 for all others."""
    return 1 if picture.mode in {"1", "L", "LA", "I", "F"} or picture.mode.startswith("I;16") else 3


def find_files(path: Path) -> list[str]:
    """Image files of a folder (recursively, in sorted order), of a ``.txt`` list, or the one file itself."""
    if path.is_dir():
        try:
            found = sorted(_images_below(path))
        except OSError as error:
            raise ImageError(f"{error.filename}: this folder cannot be searched ({error.strerror})") from error
        if not found:
            raise ImageError(f"{path}: no image in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        return found
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".txt":
        try:
            with path.open(encoding="utf-8-sig") as lines:
                listed = [_listed(line, path.parent) for raw in lines if (line := raw.strip()) and not line.startswith("#")]
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the list of paths is not UTF-8 ({error.reason})") from error
        if not listed:
            raise ImageError(f"{path}: the list names no file")
        return listed
    return [str(path)]


def _images_below(folder: Path) -> Iterator[str]:
    """Image files of a folder and the folders in it; their paths alone are held, for there may be millions."""
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file():
                    yield entry.path.removeprefix("./")


def _listed(line: str, folder: Path) -> str:
    """A path of a list: relative to the list's folder, or, where nothing lies there, as it stands."""
    beside = folder / line
    return line if not beside.exists() and Path(line).exists() else str(beside)


def load_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file, mapped: read where it is used; or the only one of an ``.npz`` file. Nothing is unpickled."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            if len(archive.files) != 1:
                names = ", ".join(archive.files)
                raise InputError(f"{path}: holds {len(archive.files)} arrays ({names}); save the images alone")
            return cast(np.ndarray, archive[archive.files[0]])
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable array ({error})") from error


def decode(path: str, channels: int | None = None) -> Tensor:
    """One image file as ``(c, h, w)`` uint8.

    Grey files have one channel, all others three; ``channels`` converts. Alpha is dropped, 16-bit values are divided by
    257, EXIF orientation is applied, of an animation the first frame is taken.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
        array = _pixels(upright, channels)
    except MemoryError:
        raise
    except Exception as error:  # over damaged bytes Pillow's decoders stumble with any error
        reason = "no such file" if isinstance(error, FileNotFoundError) else _one_line(error, path)
        raise ImageError(f"{path}: {reason}", [(path, reason)]) from error
    return torch.from_numpy(array)


def _one_line(error: Exception, path: str = "") -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be identified"
    return " ".join(str(error).replace(path, "").split()) or type(error).__name__


def _pixels(picture: Image.Image, channels: int | None) -> np.ndarray:
    if picture.mode in {"I", "I;16", "I;16B", "I;16L", "F"}:
        values = np.asarray(picture, dtype=np.float64)
        if picture.mode == "F":
            raise ValueError("32-bit float pixels have no known range; save them with 8 or 16 bits")
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError(f"pixel mode {picture.mode} with values outside 0..65535 is not supported")
        picture = Image.fromarray((values / 257.0).round().astype(np.uint8))
    wanted = channels or _channels(picture)
    if wanted not in (1, 3):
        raise ValueError(f"image files give 1 or 3 channels, not {wanted}")
    array = np.array(picture.convert("L" if wanted == 1 else "RGB"), dtype=np.uint8)
    return np.ascontiguousarray(array[None] if wanted == 1 else array.transpose(2, 0, 1))


def dataset_item(dataset: Dataset[Any], index: int) -> Tensor:
    """One item of a dataset as ``(c, h, w)``, uint8 or float32 in [0, 1]; whatever goes wrong is an :class:`ImageError`."""
    try:
        item = dataset[index]
        if isinstance(item, (tuple, list)):
            item = item[0]
        if isinstance(item, Image.Image):
            return torch.from_numpy(_pixels(item, None))
        array = as_array(item)
        if array.ndim not in (2, 3):
            raise InputError(f"an array of shape {array.shape} is not one image")
        return pixels(as_batch(array[None], None))[0]
    except MemoryError:
        raise
    except Exception as error:  # a dataset is the caller's code
        raise odd_item(index, f"cannot be read: {_one_line(error)}") from error


def odd_item(index: int, reason: str) -> ImageError:
    """The error that names an item of a dataset."""
    return ImageError(f"image {index} of the dataset {reason}", [(f"image {index}", reason)])


def as_batch(X: Any, channels: int | None) -> np.ndarray:
    """An array or tensor as ``(n, c, h, w)``, checked; a view of the input, of its type: :func:`pixels` converts."""
    array = as_array(X)
    if array.dtype == object or array.ndim not in (3, 4):
        raise InputError(
            f"expected images as (n, h, w), (n, h, w, c) or (n, c, h, w), got an array of {array.dtype} {array.shape}; "
            "for one image add a first axis: image[None]"
        )
    if len(array) == 0:
        raise ImageError("no image: the array is empty")
    if array.ndim == 3:
        array = array[:, None]
    elif _channels_last(array.shape, channels):
        array = np.moveaxis(array, 3, 1)
    if min(array.shape) == 0:
        raise InputError(f"images of shape {array.shape[1:]} hold no pixel")
    if array.dtype.newbyteorder("=") == np.uint16:
        array = array.astype(np.uint16, copy=False)
    _check_range(array)
    return array


def pixels(array: np.ndarray) -> Tensor:
    """Some images of a checked array as uint8, or float32 in [0, 1]: a copy."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array / np.float32(65535)).astype(np.float32)
    elif np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32).clip(0, 1)
    return torch.from_numpy(np.array(array, dtype=np.float32 if array.dtype == np.float32 else np.uint8, order="C", copy=True))


def as_array(X: Any) -> np.ndarray:
    """An array or tensor as numpy knows it."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    try:
        return np.asarray(X)
    except ValueError as error:
        raise InputError(f"not an array of images: {error}; images of different sizes can come as files or a Dataset") from error


def _channels_last(shape: tuple[int, ...], channels: int | None) -> bool:
    first, last = shape[1], shape[3]
    if channels is not None and (first == channels) != (last == channels):
        return last == channels
    usual = (1, 3, 4)
    if (first in usual) != (last in usual):
        return last in usual
    if first == last == 1 == shape[2]:
        return True
    if first == last:
        raise InputError(f"array of {shape}: axes 1 and 3 are equal, so which one is channels cannot be told")
    return last < first


def _check_range(array: np.ndarray) -> None:
    """Refuses pixels that mean nothing; a piece at a time, so that an array that lies on disk is never in memory whole."""
    if array.dtype in (np.uint8, np.bool_, np.uint16):
        return
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"images of {array.dtype}: expected uint8, uint16 or float")
    low, high = math.inf, -math.inf
    for start in range(0, len(array), _CHECKED_AT_ONCE):
        part = array[start : start + _CHECKED_AT_ONCE]
        lowest, highest = part.min(), part.max()
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
            raise InputError(f"image {start + int(np.flatnonzero(~finite)[0])} holds NaN or infinity")
        low, high = min(low, lowest), max(high, highest)
    if np.issubdtype(array.dtype, np.integer):
        if low < 0 or high > 255:
            raise InputError(f"integer pixels from {low} to {high}: expected 0 to 255 (or uint16)")
    elif low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"float pixels from {low:.7g} to {high:.7g}: expected 0 to 1; divide by 255, or pass uint8")
