"""Arrays and tensors as pixels, or the reason why not."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomirror.errors import ImageError, InputError
from anomirror.images.frame import WHITE

_CHECKED_AT_ONCE = 1024

ROUNDING = 1e-5
"""How far beyond [0, 1] a float pixel may lie and be clipped instead of refused."""


def load_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file, mapped, or the only one of an ``.npz`` file.

    Nothing is unpickled.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            if len(archive.files) != 1:
                names = ", ".join(archive.files)
                raise InputError(
                    f"{path}: holds {len(archive.files)} arrays ({names}); save the images alone"
                )
            out: np.ndarray = archive[archive.files[0]]
            return out
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable array ({error})") from error


def as_batch(X: object, channels: int | None) -> np.ndarray:
    """An array or tensor as ``(n, c, h, w)``, checked.

    A view of the input, of its type: :func:`pixels` converts.
    """
    array = as_array(X)
    if array.dtype == object or array.ndim not in (3, 4):
        raise InputError(
            "expected images as (n, h, w), (n, h, w, c) or (n, c, h, w), got an array of "
            f"{array.dtype} {array.shape}; "
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


def pixels(array: np.ndarray, white: int = WHITE) -> Tensor:
    """Some images of a checked array as uint8, or float32 in [0, 1]: a copy.

    uint16 values are shares of ``white``; larger ones are over 1.
    """
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array / np.float32(white)).astype(np.float32)
    elif np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32).clip(0, 1)
    return torch.from_numpy(
        np.array(
            array, dtype=np.float32 if array.dtype == np.float32 else np.uint8, order="C", copy=True
        )
    )


def as_array(X: object) -> np.ndarray:
    """An array or tensor as numpy knows it."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    try:
        return np.asarray(X)
    except ValueError as error:
        raise InputError(
            f"not an array of images: {error}; images of different sizes can come as files or a "
            "Dataset"
        ) from error


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
        raise InputError(
            f"array of {shape}: axes 1 and 3 are equal, so it is unclear which one is channels"
        )
    return last < first


def _check_range(array: np.ndarray) -> None:
    """Refuses pixels that mean nothing.

    A piece at a time, so that an array that lies on disk is never in memory whole.
    """
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
            raise InputError(
                f"image {start + int(np.flatnonzero(~finite)[0])} holds NaN or infinity"
            )
        low, high = min(low, lowest), max(high, highest)
    if np.issubdtype(array.dtype, np.integer):
        if low < 0 or high > 255:
            raise InputError(f"integer pixels from {low} to {high}: expected 0 to 255 (or uint16)")
    elif low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(
            f"float pixels from {low:.7g} to {high:.7g}: expected 0 to 1; divide by 255, or pass "
            "uint8"
        )
