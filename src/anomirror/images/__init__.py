"""What a set of images is, and how any input becomes one.

Everything above this floor sees an :class:`ImageSet`: a number of images of one shape ``(channels, size, size)``, read in
batches of uint8 (0..255) or float32 (0..1) tensors. Arrays and tensors stay in memory; folders, file lists and torch
datasets are read image by image, so a set may be larger than memory.
"""

from anomirror.images.decoding import decode, find_files
from anomirror.images.frame import SIZES, Frame, ImageShape, to_network, within_border
from anomirror.images.sets import (
    ArrayImages,
    FileImages,
    ImageInput,
    ImageSet,
    Joined,
    MappedImages,
    Subset,
    check_files,
    fingerprint,
    in_batches,
    iterate,
    open_images,
)

__all__ = [
    "SIZES",
    "ArrayImages",
    "FileImages",
    "Frame",
    "ImageInput",
    "ImageSet",
    "ImageShape",
    "Joined",
    "MappedImages",
    "Subset",
    "check_files",
    "decode",
    "find_files",
    "fingerprint",
    "in_batches",
    "iterate",
    "open_images",
    "to_network",
    "within_border",
]
