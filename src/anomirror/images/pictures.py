"""Image files as Pillow opens them: their pages, and formats that need another library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from anomirror.images.dicom import dicom_header, read_dicom, refuse_bomb
from anomirror.images.last import Last

_PAGE = re.compile(r"^(.+)#([1-9]\d*)$", re.DOTALL)

_SEVERAL = frozenset({".tif", ".tiff", ".gif", ".webp", ".dcm"})
"""Endings of files that may hold several images; of others one is read. (The second of a ``.jpg``
is a preview of the first.)"""

_KIND, _NO_IMAGE = 254, 1 | 4
"""TIFF's tag of what a page is, and its bits of a smaller copy and of a mask of transparency."""

_HEIF = frozenset({".heic", ".heif"})
DICOM = frozenset({".dcm"})


def file_and_page(path: str) -> tuple[str, int]:
    """Of ``scan.tif#3`` the file, and how many pages come before; of other names, and of a file
    that is called like that, themselves and 0.

    >>> file_and_page("scan.tif#3"), file_and_page("scan#3.tif")
    (('scan.tif', 2), ('scan#3.tif', 0))
    """
    match = _PAGE.match(path)
    if match is None or not Path(match[1]).suffix or Path(path).exists():
        return path, 0
    return match[1], int(match[2]) - 1


def is_there(path: Path) -> bool:
    """Whether a path, or the file of which it names a page, is there."""
    return path.exists() or Path(file_and_page(str(path))[0]).is_file()


def shows_stored(path: str) -> bool:
    """Whether pixels of a file are what is stored: of DICOM they are what its window shows."""
    return Path(file_and_page(path)[0]).suffix.lower() not in DICOM


_last: Last[Image.Image] = Last(Image.open, lambda picture: picture.close())


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
    if suffix in DICOM:
        yield read_dicom(file, page)
    elif file != path:
        try:
            picture = _last.get(file)
            picture.seek(page)
            yield picture
        except BaseException as error:  # whatever state it is in
            _last.drop()
            if isinstance(error, EOFError):
                raise ValueError(f"the file has no image #{page + 1}") from error
            raise
    else:
        with _opened_heif(file) if suffix in _HEIF else Image.open(file) as picture:
            yield picture


def _opened_heif(file: str) -> Image.Image:
    """The main image, upright, its colours with 8 bits."""
    Path(file).stat()  # names a file that is missing, whether or not the library is
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError("HEIC needs pillow-heif: pip install 'anomirror[heic]'") from error
    found = pillow_heif.open_heif(file)
    refuse_bomb(*found.size)
    picture: Image.Image = found.to_pillow()
    return picture


def pages(path: str) -> list[str]:
    """Names of the images in a file: itself, or ``scan.tif#1``, ``scan.tif#2``, ... if there are
    several. Smaller copies in a TIFF are passed over; a file that cannot be read is one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SEVERAL:
        return [path]
    try:
        at = range(dicom_header(path).frames) if suffix in DICOM else _full_pages(path)
    except MemoryError:
        raise
    except Exception:  # reading it says why
        return [path]
    # one alone has the name of the file, if it is the first
    return [f"{path}#{page + 1}" for page in at] if len(at) and at[-1] else [path]


def _full_pages(path: str) -> Sequence[int]:
    """Places of the images in a file, without smaller copies and masks."""
    with Image.open(path) as picture:
        every = range(int(getattr(picture, "n_frames", 1)))
        if picture.format != "TIFF" or len(every) == 1:
            return every
        return [page for page in every if _is_image(picture, page)]


def _is_image(picture: Image.Image, page: int) -> bool:
    picture.seek(page)
    tags: Any = getattr(picture, "tag_v2", {})
    return not int(tags.get(_KIND, 0)) & _NO_IMAGE


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
