"""DICOM images as Pillow has pictures: one frame, as its window shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from anomirror.images.last import Last

if TYPE_CHECKING:
    from pydicom import Dataset

_TOP = 65535
"""White, of 16 bits."""


@dataclass(frozen=True)
class DicomHeader:
    """What a file says before its pixels are read."""

    channels: int
    height: int
    width: int
    frames: int


def read_dicom(file: str, frame: int = 0) -> Image.Image:
    """One frame: grey with 16 bits, white as bright as its window says (the first, where there are
    several), else as the stored bits allow; or colour with 8 bits.

    Raises
    ------
    ValueError : pydicom is missing; there is no such frame; it holds no image, or colours with more
        than 8 bits.
    DecompressionBombError : more pixels than Pillow would read.
    """
    dataset = _last.get(file)
    if frame >= _frames(dataset, file):
        raise ValueError(f"the file has no image #{frame + 1}")
    refuse_bomb(int(dataset.get("Columns", 0)), int(dataset.get("Rows", 0)))
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    stored = pixel_array(dataset, index=frame)
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        if stored.dtype == np.uint16:  # as many bits as the table has; 8 are enough to see
            stored = (stored >> 8).astype(np.uint8)
    if stored.ndim == 3:
        if stored.dtype != np.uint8:
            raise ValueError("16-bit colour DICOM is not supported; save it with 8 bits")
        return Image.fromarray(stored)
    shares = _shares(stored, dataset, frame)
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":  # the least is white
        shares = 1 - shares
    return Image.fromarray(np.rint(shares * _TOP).astype(np.uint16))


def dicom_header(file: str) -> DicomHeader:
    """Of a file, without its pixels."""
    dataset = _dataset(file, header=True)
    palette = str(dataset.PhotometricInterpretation) == "PALETTE COLOR"
    channels = 3 if palette or int(dataset.SamplesPerPixel) > 1 else 1
    return DicomHeader(channels, int(dataset.Rows), int(dataset.Columns), _frames(dataset, file))


def refuse_bomb(width: int, height: int) -> None:
    """As Pillow refuses what would fill the memory."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > 2 * most:
        raise Image.DecompressionBombError(
            f"Image size ({width * height} pixels) exceeds limit of {2 * most} pixels"
        )


def _dataset(file: str, *, header: bool = False) -> Dataset:
    Path(file).stat()  # names a file that is missing, whether or not the library is
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise ValueError("DICOM needs pydicom: pip install 'anomirror[formats]'") from error
    return dcmread(file, stop_before_pixels=header)


_last: Last[Dataset] = Last(_dataset)


def _frames(dataset: Dataset, file: str) -> int:
    count, size = int(dataset.get("NumberOfFrames", 1) or 1), Path(file).stat().st_size
    if count > size:
        raise ValueError(f"says that it holds {count:,} images, and has {size:,} bytes")
    return count


def _shares(stored: np.ndarray, dataset: Dataset, frame: int) -> np.ndarray:
    """Grey values as shares of white, in [0, 1] (DICOM PS3.3, C.11.2.1.2)."""
    window = _window(dataset, frame)
    if window is None:
        bits = int(dataset.BitsStored)
        least = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        return np.asarray(np.clip((stored.astype(np.float64) - least) / (2**bits - 1), 0, 1))
    values = _rescaled(stored, dataset, frame)
    centre, width, shape = window
    if shape == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if shape == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1))


def _rescaled(stored: np.ndarray, dataset: Dataset, frame: int) -> np.ndarray:
    from pydicom.pixels.processing import apply_modality_lut

    for part in _parts(dataset, frame, "PixelValueTransformationSequence"):
        if "RescaleSlope" in part:
            slope, intercept = float(part.RescaleSlope), float(part.get("RescaleIntercept", 0))
            return np.asarray(stored * slope + intercept, np.float64)
    return np.asarray(apply_modality_lut(stored, dataset), np.float64)


def _window(dataset: Dataset, frame: int) -> tuple[float, float, str] | None:
    """Centre, width and kind of the first window; None where there is none that has a width."""
    for part in _parts(dataset, frame, "FrameVOILUTSequence"):
        centre, width = (_first(part.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if centre is not None and width is not None and width > 0:
            return centre, width, str(part.get("VOILUTFunction", None) or "LINEAR")
    return None


def _parts(dataset: Dataset, frame: int, name: str) -> Iterator[Dataset]:
    """The file itself, then what it says of one frame, then of all."""
    yield dataset
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [each[frame]] if frame < len(each) else []
    groups += list(dataset.get("SharedFunctionalGroupsSequence") or [])
    for group in groups:
        yield from group.get(name) or []


def _first(value: object) -> float | None:
    """Of a number, or of several; None of nothing."""
    values = np.asarray(value, object).ravel()
    try:
        number = float(str(values[0]))
    except (IndexError, ValueError):
        return None
    return number if math.isfinite(number) else None
