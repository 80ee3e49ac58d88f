"""The files of a data set in a folder, a zip or a tar archive, read where they lie."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from anomirror.errors import InputError, MissingDataError

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError)
"""What reading a damaged archive raises; zipfile tells an encrypted one by a RuntimeError."""


def members(places: Sequence[Path], wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every wanted file of the first place that exists, in the order in which
    they are stored.

    Raises
    ------
    MissingDataError : none of the places exists, or nothing in it is wanted.
    InputError : the archive is damaged.
    """
    place = first_existing(places)
    any_read = False
    try:
        for name, content in _all(place, wanted):
            any_read = True
            yield name, content
    except _DAMAGE as error:
        raise InputError(
            f"{place}: damaged archive, or a file in it that cannot be read ({error})"
        ) from error
    if not any_read:
        raise MissingDataError(f"{place}: holds none of the expected files")


def first_existing(places: Sequence[Path]) -> Path:
    """The first place that exists; the error names all of them."""
    for place in places:
        if place.exists():
            return place
    expected = " or ".join(map(str, places))
    raise MissingDataError(
        f"{expected}: no such file; put the data set's official file there, or fetch it with "
        "`anomirror data get`"
    )


def _all(place: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for file in sorted(place.rglob("*")):
            if wanted(file.name) and file.is_file():
                yield file.relative_to(place).as_posix(), file.read_bytes()
    elif place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            for name in sorted(archive.namelist()):
                if wanted(_last(name)) and not name.startswith("__MACOSX"):
                    yield name, archive.read(name)
    else:
        with gzip.open(place) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                if member.isfile() and wanted(_last(member.name)):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    yield member.name, stream.read()
            while unzipped.read(1 << 20):  # to the end, where gzip's checksum is
                pass


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
