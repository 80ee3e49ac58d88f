"""What a set of images is, and how any input becomes one.

Everything above this floor sees an :class:`ImageSet`: a number of images of one shape ``(channels,
size, size)``, read in batches of uint8 (0..255) or float32 (0..1) tensors. Arrays and tensors stay
in memory; folders, file lists and torch datasets are read image by image, so a set may be larger
than memory.
"""

from anomirror.images.batches import fingerprint, fingerprints, in_batches, iterate
from anomirror.images.decoding import decode
from anomirror.images.file_images import FileImages
from anomirror.images.files import (
    MASKS,
    DefectLayout,
    Found,
    LeftOut,
    Part,
    defect_layout,
    find_files,
)
from anomirror.images.frame import (
    SIZES,
    WHITE,
    Frame,
    ImageShape,
    ImageSize,
    SizeRange,
    to_network,
    within_border,
)
from anomirror.images.opening import frame_of, open_images, white_of
from anomirror.images.pictures import file_and_page, is_there, with_pages
from anomirror.images.protocol import ImageInput, ImageSet, Report
from anomirror.images.sets import (
    ArrayImages,
    Joined,
    MappedImages,
    Subset,
    check_files,
    framed,
    known_sizes,
    places_in,
    unreadable_error,
)
from anomirror.images.shrinking import seen_at

__all__ = [
    "MASKS",
    "SIZES",
    "WHITE",
    "ArrayImages",
    "DefectLayout",
    "FileImages",
    "Found",
    "Frame",
    "ImageInput",
    "ImageSet",
    "ImageShape",
    "ImageSize",
    "Joined",
    "LeftOut",
    "MappedImages",
    "Part",
    "Report",
    "SizeRange",
    "Subset",
    "check_files",
    "decode",
    "defect_layout",
    "file_and_page",
    "find_files",
    "fingerprint",
    "fingerprints",
    "frame_of",
    "framed",
    "in_batches",
    "is_there",
    "iterate",
    "known_sizes",
    "open_images",
    "places_in",
    "seen_at",
    "to_network",
    "unreadable_error",
    "white_of",
    "with_pages",
    "within_border",
]
