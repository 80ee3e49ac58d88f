"""Fetching official files, and checking what lies on disk against what was published."""

from __future__ import annotations

import hashlib
import http.client
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from anomirror.data.catalogue import DataSet, OfficialFile, dataset
from anomirror.data.readers import Split
from anomirror.errors import InputError, MissingDataError

Progress = Callable[[str, int, int | None], None]
"""Called with the file, the bytes that are there, and how many it has, if the server says."""

Status = Literal["ok", "contents ok", "unchecked", "missing", "DAMAGED"]

_PIECE = 1 << 20


@dataclass(frozen=True)
class Checked:
    """What :func:`verify` found of one split or file."""

    what: str
    status: Status
    detail: str


def get(name: str, root: Path, progress: Progress | None = None) -> list[Path]:
    """Download the official files of a data set below ``root``.

    What is there and right is left alone.

    An interrupted download goes on where it stopped, if there is a checksum to tell whether the
    parts belong together. A file gets its name when its checksum is right; without one, when it can
    be opened as what its name says.

    Raises
    ------
    InputError : no network, no address that a program can fetch from, or a checksum that differs.
    """
    return [_fetch(file, root / file.path, dataset(name), progress) for file in dataset(name).files]


def _fetch(file: OfficialFile, target: Path, owner: DataSet, progress: Progress | None) -> Path:
    if target.is_file() and (file.md5 is None or _md5(target) == file.md5):
        return target
    if file.url is None:
        raise InputError(
            f"{target}: no program can fetch it from its publisher; get it by hand at "
            f"{owner.source}"
        )
    if target.exists():
        raise InputError(f"{target}: exists, and is not the published file; move it away first")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    if file.md5 is None:
        partial.unlink(missing_ok=True)
    try:
        _download(file, partial, progress)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{file.url}: the server answers {error.code} {error.reason}; see {owner.source}"
        ) from error
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", error)
        partly = (
            f"; what came is kept in {partial.name}, and the same command goes on from there"
            if partial.exists()
            else ""
        )
        raise InputError(
            f"{file.url}: cannot be reached ({reason}){partly}. Without a network, "
            f"put it at {target}"
        ) from error
    if file.md5 is not None and (md5 := _md5(partial)) != file.md5:
        partial.unlink()
        raise InputError(
            f"{file.url}: md5 {md5}, published {file.md5}; the download is removed, try again"
        )
    if file.md5 is None and not _opens(partial, target.name):
        partial.unlink()
        raise InputError(
            f"{file.url}: what came is no {target.name}; the download is removed, see "
            f"{owner.source}"
        )
    partial.replace(target)
    return target


def _opens(file: Path, name: str) -> bool:
    """Whether a file without a published checksum is at least an archive of its kind."""
    return (
        zipfile.is_zipfile(file)
        if name.endswith(".zip")
        else not name.endswith(".tar.gz") or tarfile.is_tarfile(file)
    )


def _download(file: OfficialFile, partial: Path, progress: Progress | None) -> None:
    """Append to ``partial`` what is missing of the file."""
    assert file.url is not None
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return
        raise
    with answer:
        # the server starts again
        if have and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with partial.open("ab" if have else "wb") as out:
            while piece := answer.read(_PIECE):
                out.write(piece)
                have += len(piece)
                if progress is not None:
                    progress(file.path, have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def verify(name: str, root: Path) -> Iterator[Checked]:
    """Compare what is on disk with what was published.

    Official files by their md5, else images by the digest of their contents.

    ``ok`` is the published file; ``contents ok`` are the right images, packed otherwise;
    ``unchecked`` is readable and has the right number of images, without anything published to
    compare with.
    """
    listed = dataset(name)
    official = {file.path: _official(file, root / file.path) for file in listed.files}
    if all(status == "ok" for status in official.values()):
        yield from (Checked(path, "ok", "md5 as published") for path in official)
        if not listed.contents:
            return  # and what is unpacked next to them cannot be compared
    # what the reader takes, which may lie unpacked next to the official files
    for split, count in listed.counts.items():
        yield _contents(listed, split, count, root)


def _contents(listed: DataSet, split: Split, count: int, root: Path) -> Checked:
    """One split as it is read."""
    try:
        images, labels = listed.read(root, split)
    except InputError as error:
        return Checked(
            split, "missing" if isinstance(error, MissingDataError) else "DAMAGED", str(error)
        )
    if len(images) != count:
        return Checked(split, "DAMAGED", f"{len(images)} images, expected {count}")
    if split not in listed.contents:
        return Checked(split, "unchecked", f"{count} images; no checksum to compare with")
    if (
        digest(images, np.full(len(images), -1) if listed.named_labels else labels)
        == listed.contents[split]
    ):
        return Checked(split, "contents ok", f"{count} images as published")
    return Checked(split, "DAMAGED", "other images or labels than the published ones")


def present(name: str, root: Path) -> bool:
    """Whether files of a data set lie below ``root``, official or unpacked (nothing of them is
    read).
    """
    listed = dataset(name)
    return any((root / file.path).exists() for file in listed.files) or (
        listed.folder != "" and (root / listed.folder).is_dir()
    )


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    """A digest of images and their labels that does not depend on their order (Omniglot's comes
    from its file names).
    """
    each = sorted(
        hashlib.sha256(image.tobytes() + int(label).to_bytes(2, "big", signed=True)).digest()
        for image, label in zip(images, labels, strict=True)
    )
    return hashlib.sha256(b"".join(each)).hexdigest()[:32]


def _official(file: OfficialFile, path: Path) -> Status:
    if not path.is_file():
        return "missing"
    if file.md5 is None:
        return "unchecked"
    return "ok" if _md5(path) == file.md5 else "DAMAGED"


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
