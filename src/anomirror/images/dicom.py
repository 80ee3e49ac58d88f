"""DICOM images as Pillow has pictures: one frame, as its window shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pydicom import Dataset

_TOP = 65535
"""White, of 16 bits."""


def read_dicom(file: str, frame: int = 0) -> Image.Image:
    """One frame: grey with 16 bits, white as bright as the window says (the first, where there are
    several), else as the stored bits allow; or colour with 8 bits.

    Raises
    ------
    ValueError : pydicom is missing; there is no such frame; it holds no image, or colours with more
        than 8 bits.
    """
    dataset = _dataset(file)
    count = _frames(dataset)
    if frame >= count:
        raise ValueError(f"the file has no image #{frame + 1}")
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
    shares = _shares(stored, dataset)
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":  # the least is white
        shares = 1 - shares
    return Image.fromarray(np.rint(shares * _TOP).astype(np.uint16))


def dicom_frames(file: str) -> int:
    """Images in a file."""
    return _frames(_dataset(file, header=True))


def _dataset(file: str, *, header: bool = False) -> Dataset:
    Path(file).stat()  # names a file that is missing, whether or not the library is
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise ValueError("DICOM needs pydicom: pip install 'anomirror[formats]'") from error
    return dcmread(file, stop_before_pixels=header)


def _frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)


def _shares(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Grey values as shares of white, in [0, 1] (DICOM PS3.3, C.11.2.1.2)."""
    from pydicom.pixels.processing import apply_modality_lut

    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        bits = int(dataset.BitsStored)
        least = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        return np.asarray(np.clip((stored.astype(np.float64) - least) / (2**bits - 1), 0, 1))
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    centre, width = (_first(dataset[name].value) for name in ("WindowCenter", "WindowWidth"))
    shape = str(dataset.get("VOILUTFunction", "LINEAR"))
    if shape == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if shape == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1))


def _first(value: object) -> float:
    """Of a number, or of several."""
    values = np.atleast_1d(np.asarray(value, np.float64))
    return float(values[0])
