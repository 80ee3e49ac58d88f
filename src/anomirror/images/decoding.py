"""One image file, one dataset item or one array as pixels, or the reason why not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from anomirror.errors import ImageError, InputError
from anomirror.images.arrays import as_array, as_batch, pixels
from anomirror.images.dicom import dicom_header
from anomirror.images.frame import WHITE
from anomirror.images.pictures import file_and_page, opened, shows_stored

_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})
"""Pillow's modes with more than 8 bits a pixel."""

_REDUCED, _MARGIN = 1_000_000, 4
"""JPEGs of more pixels are decoded at reduced scale, to so many times the wanted side at least."""

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601, as Pillow converts colour to grey."""

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, :, ::-1],
    3: lambda image: image[:, ::-1, ::-1],
    4: lambda image: image[:, ::-1],
    5: lambda image: image.swapaxes(1, 2),
    6: lambda image: np.rot90(image, -1, (1, 2)),
    7: lambda image: image.swapaxes(1, 2)[:, ::-1, ::-1],
    8: lambda image: np.rot90(image, 1, (1, 2)),
}
"""What brings ``(c, h, w)`` upright, as Pillow's ``exif_transpose`` does."""


@dataclass(frozen=True)
class Header:
    """What a file says of its image before it is decoded."""

    channels: int
    height: int
    width: int
    deep: bool
    """Whether it has more than 8 bits a channel."""


def header(path: str) -> Header | None:
    """The header of a file, upright; None if it cannot be read."""
    try:
        if not shows_stored(path):
            found = dicom_header(file_and_page(path)[0])
            return Header(found.channels, found.height, found.width, found.channels == 1)
        with opened(path) as picture:
            deep = picture.mode in _DEEP or _deep_colour(picture)
            height, width = picture.height, picture.width
            # else Pillow would decode the whole image to look for it
            known = picture.format != "PNG" or "exif" in picture.info
            # of a TIFF Pillow says the upright size
            if (
                known
                and picture.format != "TIFF"
                and picture.getexif().get(_ORIENTATION, 1) in _TURNED
            ):
                height, width = width, height
            return Header(_channels(picture), height, width, deep)
    except MemoryError:
        raise
    except Exception:  # over damaged bytes Pillow's decoders stumble with any error
        return None


def _channels(picture: Image.Image) -> int:
    """1 for grey images, 3 for all others."""
    return 1 if picture.mode in {"1", "L", "LA", "I", "F"} or picture.mode.startswith("I;16") else 3


def _deep_colour(picture: Image.Image) -> bool:
    """Whether a file has 16 bits a channel of which Pillow would silently read 8."""
    if picture.mode in _DEEP:
        return False
    if picture.format == "PPM":
        return any(
            isinstance(tile[3], tuple)
            and max((v for v in tile[3] if isinstance(v, int)), default=0) > 255
            for tile in _tiles(picture)
        )
    if picture.format == "TIFF":
        return max(_bits_per_sample(picture)) > 8
    return any("16" in word for tile in _tiles(picture) for word in _words(tile[3]))


def _words(arguments: object) -> list[str]:
    """Names of pixel modes among what a decoder is told, not numbers (such as a length)."""
    every = arguments if isinstance(arguments, tuple) else (arguments,)
    return [each for each in every if isinstance(each, str)]


def _tiles(picture: Image.Image) -> list[Any]:
    return list(getattr(picture, "tile", []))


def _bits_per_sample(picture: Image.Image) -> tuple[int, ...]:
    bits = getattr(picture, "tag_v2", {}).get(258, (8,))
    return tuple(bits) if isinstance(bits, tuple) else (int(bits),)


def decode(path: str, channels: int | None = None) -> Tensor:
    """One image file as ``(c, h, w)``: uint8, or float32 in [0, 1] if it has 16 bits a channel.

    See :func:`decode_for`.
    """
    return decode_for(None, path, channels)[0]


def decode_for(
    wanted: int | None, path: str, channels: int | None = None, white: int = WHITE
) -> tuple[Tensor, tuple[int, int]]:
    """One image file for a longest side of ``wanted`` pixels, and the height and width that it has
    in the file, upright.

    ``(c, h, w)`` uint8, or float32 in [0, 1] if it has 16 bits a channel.

    Grey files have one channel, all others three; ``channels`` converts. Alpha is dropped, EXIF
    orientation is applied; of a file that holds several images the first is taken, or the one that
    the name ends in (``scan.tif#3``). With ``wanted`` a JPEG over
    one megapixel is decoded at a half, a quarter or an eighth of its size, never below four times
    as many pixels on its longest side. ``white`` is that of pixels with 16 bits, but of DICOM,
    where the window says it.

    Raises
    ------
    ImageError : it cannot be read, has 32-bit float pixels or too many of them, or 16-bit colour
        that nothing here reads.
    """
    try:
        with opened(path) as picture:
            width, height = picture.size
            if _deep_colour(picture) or _misread(picture):
                deep = torch.from_numpy(_tiff_pixels(path, picture, channels, white))
                return deep, (int(deep.shape[1]), int(deep.shape[2]))
            longest = max(picture.size)
            if (
                wanted is not None
                and picture.width * picture.height > _REDUCED
                and (least := _MARGIN * wanted) < longest
            ):
                width_wanted, height_wanted = (
                    math.ceil(side * least / longest) for side in picture.size
                )
                picture.draft(None, (width_wanted, height_wanted))
            picture.load()
            if picture.format != "TIFF" and picture.getexif().get(_ORIENTATION, 1) in _TURNED:
                width, height = height, width
            upright = ImageOps.exif_transpose(picture)
        array = _pixels(upright, channels, white if shows_stored(path) else WHITE)
    except MemoryError:
        raise
    except Exception as error:  # over damaged bytes Pillow's decoders stumble with any error
        reason = "no such file" if isinstance(error, FileNotFoundError) else _one_line(error, path)
        raise ImageError(f"{path}: {reason}", [(path, reason)]) from error
    return torch.from_numpy(array), (height, width)


def _misread(picture: Image.Image) -> bool:
    """Whether it is a TIFF on its side without compression, which Pillow garbles."""
    return (
        picture.format == "TIFF"
        and getattr(picture, "tag_v2", {}).get(_ORIENTATION, 1) in _TURNED
        and any(tile[0] == "raw" for tile in _tiles(picture))
    )


def _tiff_pixels(path: str, picture: Image.Image, channels: int | None, white: int) -> np.ndarray:
    """Those of 16-bit colour, or on their side, through tifffile."""
    if picture.format != "TIFF":
        raise ValueError(
            "16-bit colour, of which only 8 bits could be read here; save it as TIFF, in grey, or "
            "with 8 bits"
        )
    deep = _deep_colour(picture)
    what = "16-bit colour TIFF" if deep else "TIFF on its side without compression"
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(f"{what} needs tifffile: pip install 'anomirror[formats]'") from error
    file, page = file_and_page(path)
    array = np.asarray(tifffile.imread(file, key=page))
    if array.dtype != (np.uint16 if deep else np.uint8) or array.ndim not in (2, 3):
        raise ValueError(f"{what} with pixels of {array.dtype} {array.shape} is not supported")
    array = array[..., None] if array.ndim == 2 else array
    planes = (
        array
        if array.shape[0] in (3, 4) and array.shape[2] not in (3, 4)
        else np.moveaxis(array, 2, 0)
    )
    colour = pixels(planes[None, :3], white)[0].numpy()
    wanted = channels or len(colour)
    if wanted == 1 and len(colour) == 3:
        grey = np.tensordot(np.asarray(_LUMA, np.float32), colour, 1)[None]
        colour = grey if deep else np.rint(grey).astype(np.uint8)
    turns = _TURNS.get(getattr(picture, "tag_v2", {}).get(_ORIENTATION, 1))
    turned = np.ascontiguousarray(colour if turns is None else turns(colour))
    return turned.repeat(wanted, axis=0) if len(turned) < wanted else turned


def _one_line(error: Exception, path: str = "") -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be identified"
    if isinstance(error, IsADirectoryError):
        return "is a folder; give it by itself, not in a list of files"
    if isinstance(error, Image.DecompressionBombError):
        sizes = [int(number) for number in re.findall(r"\d+", str(error))]
        numbers = (
            f"{sizes[0] / 1e6:,.0f} megapixels, more than the {sizes[1] / 1e6:,.0f} that are"
            if len(sizes) > 1
            else ""
        )
        return f"{numbers or 'too many megapixels to be'} read; cut it into tiles, or reduce it"
    return " ".join(str(error).replace(path, "").split()) or type(error).__name__


def _pixels(picture: Image.Image, channels: int | None, white: int) -> np.ndarray:
    wanted = channels or _channels(picture)
    if wanted not in (1, 3):
        raise ValueError(f"image files give 1 or 3 channels, not {wanted}")
    if picture.mode in _DEEP:
        values = np.asarray(picture)
        if picture.mode == "F":
            raise ValueError("32-bit float pixels have no known range; save them with 8 or 16 bits")
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError(
                f"pixel mode {picture.mode} with values outside 0..65535 is not supported"
            )
        deep = pixels(values.astype(np.uint16)[None, None], white)[0].numpy()
        return np.ascontiguousarray(deep.repeat(wanted, axis=0))
    array = np.array(picture.convert("L" if wanted == 1 else "RGB"), dtype=np.uint8)
    return np.ascontiguousarray(array[None] if wanted == 1 else array.transpose(2, 0, 1))


def dataset_item(
    dataset: Dataset[object], index: int, channels: int | None = None, white: int = WHITE
) -> Tensor:
    """One item of a dataset as ``(c, h, w)``, uint8 or float32 in [0, 1].

    Whatever goes wrong is an :class:`ImageError`.

    PIL images are brought upright and to ``channels``, as files are.
    """
    try:
        item = dataset[index]
        if isinstance(item, (tuple, list)):
            item = item[0]
        if isinstance(item, Image.Image):
            return torch.from_numpy(_pixels(ImageOps.exif_transpose(item), channels, white))
        array = as_array(item)
        if array.ndim not in (2, 3):
            raise InputError(f"an array of shape {array.shape} is not one image")
        return pixels(as_batch(array[None], None), white)[0]
    except MemoryError:
        raise
    except Exception as error:  # a dataset is the caller's code
        raise odd_item(index, f"cannot be read: {_one_line(error)}") from error


def odd_item(index: int, reason: str) -> ImageError:
    """The error that names an item of a dataset."""
    return ImageError(f"image {index} of the dataset {reason}", [(f"image {index}", reason)])
