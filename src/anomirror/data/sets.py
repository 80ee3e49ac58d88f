"""Any set of images, official, generated or a folder, in the form that a comparison needs.

What needs torch is imported where images are read: the command line lists the names without it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomirror.data.catalogue import DATASETS, dataset
from anomirror.data.conversions import brought_to
from anomirror.data.generated import COUNT, GENERATED
from anomirror.data.readers import Labelled, Split
from anomirror.errors import InputError, SettingError

FOLDER_SIZE = 32
"""Side length that the images of a folder are scaled to by default."""


@dataclass(frozen=True)
class Images:
    """One split of a set.

    ``(n, size, size, channels)`` uint8, labels ``(n,)`` (-1: none), and how the pixels came about.
    """

    images: np.ndarray
    labels: np.ndarray
    preparation: tuple[str, ...]


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """``data_dir``, or the environment variable ``ANOMIRROR_DATA``."""
    chosen = data_dir or os.environ.get("ANOMIRROR_DATA")
    if not chosen:
        raise InputError(
            "named data sets need --data-dir, or the environment variable ANOMIRROR_DATA"
        )
    return Path(chosen)


def load_dataset(
    name: str, split: Split = "test", data_dir: str | os.PathLike[str] | None = None
) -> Labelled:
    """Images ``(n, h, w)`` or ``(n, h, w, 3)`` uint8 as their reader gives them, and labels
    ``(n,)`` int (-1: none).

    Raises
    ------
    SettingError : the name is unknown, or the set has no such split.
    InputError : its files are not there (the message names the expected one), or are damaged.
    """
    listed = dataset(name)
    if split not in listed.splits:
        raise SettingError(f"{name} has no {split} split here (it has {', '.join(listed.splits)})")
    return listed.read(data_directory(data_dir), split)


def natural_form(name: str, *, folder_size: int = FOLDER_SIZE) -> tuple[int, int]:
    """Side length and channels in which a set is compared when it is the normal one."""
    if name in DATASETS:
        return DATASETS[name].size, DATASETS[name].channels
    if name in GENERATED:
        raise SettingError(
            f"{name} is generated in the form of the normal images; it can only be an anomaly set"
        )
    from anomirror.images import open_images

    _refuse_unless_folder(name)
    return folder_size, open_images(Path(name), image_size=_valid(folder_size), part="train").shape[
        0
    ]


def canonical(name: str) -> str:
    """One spelling for each set: a named one as it is, a folder by its whole path."""
    return str(Path(name).resolve()) if is_folder(name) else name


def is_folder(name: str) -> bool:
    """Whether a set is a folder of images."""
    return name not in DATASETS and name not in GENERATED and Path(name).is_dir()


def images_of(
    name: str, split: Split | None, form: tuple[int, int], data_dir: Path | None = None
) -> Images:
    """A split of a set in a form ``(size, channels)``.

    A generated set is drawn in that form, and is the same each time. The images of a folder are
    split as its subfolders ``train`` and ``test`` say, if it has both, else four fifths are its
    train split by a hash of their names; ``split`` None is all of them (of a named set, its test
    split).
    """
    size, channels = form
    if name in GENERATED:
        drawn = GENERATED[name](COUNT, size, channels)
        return Images(
            drawn, np.full(len(drawn), -1), (f"generated {size}x{size}, {channels} channel(s)",)
        )
    if name in DATASETS:
        images, labels = load_dataset(name, split or "test", data_dir)
        steps = (DATASETS[name].preparation,) if DATASETS[name].preparation else ()
    else:
        images, labels = _folder(Path(name), split, size)
        steps = (
            f"aspect kept, scaled to {size}x{size} (bilinear, anti-aliased), padded with black",
        )
    converted = brought_to(images, size, channels)
    return Images(converted.images, labels, (*steps, *converted.steps))


def _folder(folder: Path, split: Split | None, size: int) -> Labelled:
    """The readable images below a folder at ``size``.

    An unreadable one is an error that names it.
    """
    from anomirror.images import WHITE, defect_layout, open_images

    _refuse_unless_folder(str(folder))
    if split is not None and (layout := defect_layout(folder)) is not None:
        folder, split = (layout.train if split == "train" else layout.normal), None
    parts = [name for name in ("train", "test") if (folder / name).is_dir()]
    if split is not None and len(parts) == 1:
        raise SettingError(
            f"{folder}: has a folder {parts[0]} but not its counterpart, so it is unclear what may "
            "be trained on; "
            f"give {folder / parts[0]} itself, or make both"
        )
    whole = split is None or bool(parts)
    source = folder / split if split is not None and parts else folder
    # every set in the same units, however dark: no bits are guessed
    opened = open_images(source, image_size=_valid(size), white=WHITE)
    chosen = [
        index
        for index, name in enumerate(opened.names)
        if whole or _in_test(name) == (split == "test")
    ]
    if not chosen:
        raise InputError(f"{folder}: has no image for its {split} split")
    batches = [opened.take(chosen[start : start + 256]) for start in range(0, len(chosen), 256)]
    images = np.concatenate([np.asarray(batch) for batch in batches]).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.full(len(images), -1)


def _refuse_unless_folder(name: str) -> None:
    if not is_folder(name):
        raise SettingError(
            f"{name}: no folder, nor a data set ({', '.join([*DATASETS, *GENERATED])})"
        )


def _in_test(name: str) -> bool:
    """A fixed one in five of file names; images of one file are not parted."""
    from anomirror.images import file_and_page

    return hashlib.sha256(Path(file_and_page(name)[0]).name.encode()).digest()[0] < 256 // 5


def _valid(size: int) -> int:
    from anomirror.images import SIZES

    if size not in SIZES:
        raise SettingError(
            f"a folder's images cannot be brought to {size} pixels: choose one of "
            f"{', '.join(map(str, SIZES))}"
        )
    return size
