"""Which files of a folder are images, and what is left out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomirror.errors import ImageError, InputError
from anomirror.images.pictures import is_there

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".webp", ".gif"}
    | {".avif", ".jp2", ".heic", ".heif", ".dcm"}
)
"""File name endings, in lower case, that count as images when a folder is searched."""

MASKS = "ground_truth"
"""Folder of a defect data set (MVTec AD and those laid out like it) that holds masks, not images.
"""

Part = Literal["train", "test"]

_NAMED = 3


@dataclass
class LeftOut:
    """What a search passed over: by reason, how many, and the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """One more file or folder."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        named = self.names.setdefault(reason, [])
        if len(named) < _NAMED:
            named.append(name)

    def __str__(self) -> str:
        """For a person.

        >>> left_out = LeftOut()
        >>> left_out.add("hidden", ".Trash-1000")
        >>> str(left_out)
        '1 hidden (.Trash-1000)'
        """
        parts = []
        for reason, count in self.counts.items():
            more = ", ..." if count > len(self.names[reason]) else ""
            parts.append(f"{count:,} {reason} ({', '.join(self.names[reason])}{more})")
        return "; ".join(parts)

    def __bool__(self) -> bool:
        return bool(self.counts)


@dataclass(frozen=True)
class Found:
    """Paths of image files, sorted, and what lay next to them."""

    paths: list[str]
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True)
class DefectLayout:
    """A folder laid out as MVTec AD is.

    ``train/good``, ``test/good`` and ``test/<kind of defect>``.
    """

    root: Path
    kinds: tuple[str, ...]
    """Kinds of defects below ``test``, sorted, without ``good``."""

    @property
    def train(self) -> Path:
        """Normal images to fit on."""
        return self.root / "train" / "good"

    @property
    def normal(self) -> Path:
        """Normal images to test with."""
        return self.root / "test" / "good"

    def defects(self, kind: str) -> Path:
        """Images of one kind of defect."""
        return self.root / "test" / kind


def defect_layout(folder: Path) -> DefectLayout | None:
    """The layout of a folder that holds ``train/good`` and ``test``; None if it does not."""
    if not ((folder / "train" / "good").is_dir() and (folder / "test").is_dir()):
        return None
    kinds = sorted(
        entry.name
        for entry in (folder / "test").iterdir()
        if entry.is_dir() and entry.name != "good" and not entry.name.startswith(".")
    )
    return DefectLayout(folder, tuple(kinds))


def find_files(path: Path, part: Part | None = None) -> Found:
    """Image files of a folder (recursively, in sorted order), of a ``.txt`` list, or the one file
    itself.

    Links to folders are followed, each folder once. Hidden files and folders below ``path`` are
    passed over, and so are masks in a ``ground_truth`` folder next to ``train`` and ``test``.

    Parameters
    ----------
    path : a folder, an image (``scan.tif#3`` is the third in a file), or a ``.txt`` file with one
        path a line.
    part : of a folder that is divided into ``train`` and ``test``: the one to read; None reads
        both.

    Raises
    ------
    ImageError : nothing is there, or nothing that is an image.
    """
    if path.is_dir():
        return _in_folder(path, part)
    if not is_there(path):
        raise ImageError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".txt":
        return Found(_listed_in(path))
    return Found([str(path)])


def _in_folder(folder: Path, part: Part | None) -> Found:
    left_out = LeftOut()
    divided = (folder / "train").is_dir() and (folder / "test").is_dir()
    searched = folder
    if part == "train" and not divided:
        _refuse_several_layouts(folder)
    if divided and part is not None:
        layout = defect_layout(folder)
        searched = layout.train if layout is not None and part == "train" else folder / part
        for entry in sorted(entry.name for entry in folder.iterdir() if entry.name != part):
            if not entry.startswith("."):
                left_out.add(f"next to {part}/", entry)
        if layout is not None and part == "train":
            for entry in sorted(
                entry.name for entry in (folder / "train").iterdir() if entry.name != "good"
            ):
                left_out.add("next to train/good/", f"train/{entry}")
    try:
        paths = sorted(_images_below(searched, left_out))
    except OSError as error:
        raise ImageError(
            f"{error.filename}: this folder cannot be searched ({error.strerror})"
        ) from error
    if not paths:
        passed_over = f"; left out: {left_out}" if left_out else ""
        raise ImageError(
            f"{searched}: no image in this folder (looked for "
            f"{', '.join(sorted(SUFFIXES))}){passed_over}"
        )
    return Found(paths, left_out)


def _refuse_several_layouts(folder: Path) -> None:
    """Refuse a folder of data sets that are laid out as MVTec AD.

    Their tests, defects and masks must not be fitted.
    """
    inside = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and defect_layout(entry) is not None
    )
    if inside:
        raise ImageError(
            f"{folder}: holds {len(inside)} data set(s) with train/good and test "
            f"({', '.join(inside[:5])}); "
            f"name one, such as {folder / inside[0]}"
        )


def _images_below(folder: Path, left_out: LeftOut) -> Iterator[str]:
    """Image files of a folder and the folders in it.

    Their paths alone are held, for there may be millions.
    """
    root = str(folder)

    def leave_out(reason: str, path: str) -> None:
        left_out.add(reason, os.path.relpath(path, root))

    folders, links = [root], list[str]()
    # a link upwards is a loop
    seen = {_identity(str(above)) for above in (folder.resolve(), *folder.resolve().parents)}
    while folders or links:
        if not folders:
            # folders themselves first: what is read twice is read under its own name
            links.sort(reverse=True)
            link = links.pop()
            if _identity(link) in seen:
                leave_out("link to a folder that is read already", link)
                continue
            seen.add(_identity(link))
            folders.append(link)
        inside = folders.pop()
        with os.scandir(inside) as entries:
            for entry in entries:
                if reason := _reason_to_leave_out(entry, inside):
                    leave_out(reason, entry.path)
                elif not entry.is_dir():
                    yield entry.path.removeprefix("./")
                elif entry.is_symlink():
                    links.append(entry.path)
                else:
                    seen.add(_identity(entry.path))
                    folders.append(entry.path)


def _reason_to_leave_out(entry: os.DirEntry[str], inside: str) -> str:
    """Why what lies in a folder is neither an image nor a folder to read; empty if it is one."""
    if entry.name.startswith("."):
        return "hidden"
    if _is_loop(entry):
        return "link that leads to itself"
    if entry.is_dir():
        parts = (Path(inside) / part for part in ("train", "test"))
        masks = entry.name == MASKS and all(part.is_dir() for part in parts)
        return "folder of masks" if masks else ""
    if not entry.is_file():
        return "broken link" if entry.is_symlink() else "no file"
    suffix = Path(entry.name).suffix.lower()
    if suffix in SUFFIXES:
        return ""
    return f"{suffix} file" if suffix else "file without a suffix"


def _is_loop(entry: os.DirEntry[str]) -> bool:
    try:
        entry.is_dir()
    except OSError:
        return True
    return False


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116  (a million paths: no Path for each)
    return status.st_dev, status.st_ino


def _listed_in(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            listed = [
                _listed(line, path.parent)
                for raw in lines
                if (line := raw.strip()) and not line.startswith("#")
            ]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the list of paths is not UTF-8 ({error.reason})") from error
    if not listed:
        raise ImageError(f"{path}: the list names no file")
    return listed


def _listed(line: str, folder: Path) -> str:
    """A path of a list: relative to the list's folder, or, where nothing lies there, as it
    stands.
    """
    beside = folder / line
    return line if not is_there(beside) and is_there(Path(line)) else str(beside)
