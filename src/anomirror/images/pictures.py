"""Image files as Pillow opens them: their pages, and formats that need another library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from anomirror.images.dicom import dicom_frames, read_dicom

_PAGE = re.compile(r"^(.+)#([1-9]\d*)$", re.DOTALL)

_SEVERAL = frozenset({".tif", ".tiff", ".gif", ".webp", ".dcm"})
"""Endings of files that may hold several images; of others one is read. (The second of a ``.jpg``
is a preview of the first.)"""

_REDUCED_TAG, _REDUCED = 254, 1
"""TIFF's kind of page, and the bit of one that is a smaller copy of another."""

_HEIF = frozenset({".heic", ".heif"})
_DICOM = frozenset({".dcm"})


def file_and_page(path: str) -> tuple[str, int]:
    """Of ``scan.tif#3`` the file, and how many pages come before; of other names themselves and 0.

    >>> file_and_page("scan.tif#3"), file_and_page("scan#3.tif")
    (('scan.tif', 2), ('scan#3.tif', 0))
    """
    match = _PAGE.match(path)
    if match is None or not Path(match[1]).suffix:
        return path, 0
    return match[1], int(match[2]) - 1


def is_there(path: Path) -> bool:
    """Whether a path, or the file of which it names a page, is there."""
    return path.exists() or Path(file_and_page(str(path))[0]).is_file()


def shows_stored(path: str) -> bool:
    """Whether pixels of a file are what is stored: of DICOM they are what its window shows."""
    return Path(file_and_page(path)[0]).suffix.lower() not in _DICOM


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """The picture of a file, at the page that the name ends in, not decoded yet.

    Raises
    ------
    Exception : whatever Pillow or another library raises over a damaged file.
    ValueError : there is no such page; a library is missing.
    """
    file, page = file_and_page(path)
    suffix = Path(file).suffix.lower()
    if suffix in _DICOM:
        yield read_dicom(file, page)
        return
    with _opened_heif(file) if suffix in _HEIF else Image.open(file) as picture:
        if page:
            try:
                picture.seek(page)
            except EOFError as error:
                raise ValueError(f"the file has no image #{page + 1}") from error
        yield picture


def _opened_heif(file: str) -> Image.Image:
    """The main image, upright, its colours with 8 bits."""
    Path(file).stat()  # names a file that is missing, whether or not the library is
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError("HEIC needs pillow-heif: pip install 'anomirror[heic]'") from error
    picture: Image.Image = pillow_heif.open_heif(file).to_pillow()
    return picture


def pages(path: str) -> list[str]:
    """Names of the images in a file: itself, or ``scan.tif#1``, ``scan.tif#2``, ... if there are
    several. Smaller copies in a TIFF are passed over; a file that cannot be read is one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SEVERAL:
        return [path]
    try:
        at = range(dicom_frames(path)) if suffix in _DICOM else _full_pages(path)
    except MemoryError:
        raise
    except Exception:  # reading it says why
        return [path]
    return [f"{path}#{page + 1}" for page in at] if len(at) > 1 else [path]


def _full_pages(path: str) -> Sequence[int]:
    """Places of the images in a file, without smaller copies."""
    with Image.open(path) as picture:
        every = range(int(getattr(picture, "n_frames", 1)))
        if picture.format != "TIFF" or len(every) == 1:
            return every
        return [page for page in every if not _is_reduced(picture, page)]


def _is_reduced(picture: Image.Image, page: int) -> bool:
    picture.seek(page)
    tags: Any = getattr(picture, "tag_v2", {})
    return bool(int(tags.get(_REDUCED_TAG, 0)) & _REDUCED)


def with_pages(paths: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Names of all images in some files; of files that hold several, how many."""
    names: list[str] = []
    several = {}
    for path in paths:
        found = pages(path)
        names += found
        if len(found) > 1:
            several[path] = len(found)
    return names, several
