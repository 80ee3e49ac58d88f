"""Readers of official file formats. Archives are read in place; nothing is unpickled.

Each reader takes the data directory and a split, and returns images ``(n, h, w)`` or ``(n, h, w,
3)`` uint8 and labels ``(n,)`` int, -1 where a set has none. Grey sets come light on dark.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from anomirror.data.conversions import inverted, shrunk
from anomirror.data.members import first_existing, members
from anomirror.errors import InputError, MissingDataError

Split = Literal["train", "test"]
Labelled = tuple[np.ndarray, np.ndarray]
Reader = Callable[[Path, Split], Labelled]

SIDE = 32
"""Images of sets without a size of their own are brought to this one."""


def read_idx(file: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not (yann.lecun.com/exdb/mnist)."""
    return _idx(_bytes(file), file.suffix == ".gz", str(file))


def _idx(raw: bytes, packed: bool, name: str) -> np.ndarray:
    if packed:
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{name}: damaged archive ({error})") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(f"{name}: not an IDX file of unsigned bytes")
    dims = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    if len(raw) != 4 + 4 * dims + int(np.prod(shape)):
        raise InputError(f"{name}: {len(raw)} bytes do not hold {shape}: truncated?")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape).copy()


def idx_set(folder: str) -> Reader:
    """MNIST and Fashion-MNIST: four IDX files, gzipped or not."""

    def read(root: Path, split: Split) -> Labelled:
        stem = {"train": "train", "test": "t10k"}[split]
        names = [f"{stem}-{what}" for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        images, labels = (
            first_existing([root / folder / name, root / folder / f"{name}.gz"]) for name in names
        )
        return _paired(read_idx(images), read_idx(labels).astype(int), images)

    return read


def emnist(root: Path, split: Split) -> Labelled:
    """EMNIST letters, from the official ``gzip.zip`` or its files.

    They are stored transposed, and turned upright here.
    """
    stem = f"emnist-letters-{split}-"
    arrays = {}
    for name, content in members(
        [root / "emnist" / "gzip.zip", root / "emnist"], lambda name: name.startswith(stem)
    ):
        arrays["images" if "images" in name else "labels"] = _idx(
            content, name.endswith(".gz"), name
        )
    if arrays.keys() != {"images", "labels"}:
        raise InputError(f"{root / 'emnist'}: expected the images and the labels of {stem}*")
    return _paired(
        arrays["images"].transpose(0, 2, 1), arrays["labels"].astype(int), root / "emnist"
    )


def cifar_set(folder: str, archive: str, files: dict[Split, list[str]], label_bytes: int) -> Reader:
    """CIFAR-10 and CIFAR-100, the binary version: the archive, or its ``.bin`` files."""

    def read(root: Path, split: Split) -> Labelled:
        places, images, labels = [root / folder, root / archive], [], []
        parts = {
            name.rsplit("/", 1)[-1]: raw for name, raw in members(places, files[split].__contains__)
        }
        for name in files[split]:
            if name not in parts:
                raise MissingDataError(f"{first_existing(places)}: {name} is missing")
            raw, record = np.frombuffer(parts[name], np.uint8), label_bytes + 3072
            if len(raw) == 0 or len(raw) % record:
                raise InputError(
                    f"{first_existing(places)}, {name}: {len(raw)} bytes are no multiple of "
                    f"{record}: truncated?"
                )
            rows = raw.reshape(-1, record)
            labels.append(rows[:, label_bytes - 1].astype(int))  # CIFAR-100: coarse, then fine
            images.append(rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        return np.concatenate(images), np.concatenate(labels)

    return read


def svhn(root: Path, split: Split) -> Labelled:
    """SVHN's cropped digits.

    MATLAB files with X ``(32, 32, 3, n)`` and y, where 10 stands for the digit 0.
    """
    from scipy.io import loadmat  # slow to import, and for this set alone

    file = first_existing([root / "svhn" / f"{split}_32x32.mat", root / f"{split}_32x32.mat"])
    try:
        content = loadmat(file, variable_names=["X", "y"])
        images, labels = (
            np.asarray(content["X"]),
            np.asarray(content["y"]).reshape(-1).astype(int) % 10,
        )
    except Exception as error:  # scipy tells damage by many types
        raise InputError(f"{file}: not SVHN's format, or damaged ({error})") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise InputError(
            f"{file}: X is {images.dtype} {images.shape}, expected uint8 (32, 32, 3, n)"
        )
    return _paired(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels, file)


def omniglot(root: Path, split: Split) -> Labelled:
    """Inverted to light on dark and reduced, anti-aliased, from 105 to 28 pixels.

    Labels are characters. The background half is "train", the evaluation half "test".
    """
    half = {"train": "background", "test": "evaluation"}[split]
    places = [root / "omniglot" / f"images_{half}.zip", root / "omniglot" / f"images_{half}"]

    def drawing(picture: Image.Image) -> Image.Image:
        return Image.fromarray(inverted(np.asarray(picture.convert("L")))).resize(
            (28, 28), Image.Resampling.BOX
        )

    names, images = _pictures(places, (".png",), drawing)
    characters: dict[str, int] = {}
    return images, np.array(
        [characters.setdefault(str(Path(name).parent), len(characters)) for name in names]
    )


def picture_set(folder: str, archive: str, suffixes: tuple[str, ...]) -> Reader:
    """Unlabelled images of any size below a folder or in an archive, at 32x32."""

    def read(root: Path, split: Split) -> Labelled:
        names, images = _pictures([root / folder, root / archive], suffixes, _square)
        return images, np.full(len(names), -1)

    return read


def tiny_imagenet_aliased(root: Path, split: Split) -> Labelled:
    """The test images of Tiny ImageNet, shrunk as one should not.

    Every second pixel of every second row, unlabelled.
    """
    names, images = _pictures(
        [root / "tiny-imagenet-200", root / "tiny-imagenet-200.zip"],
        (".jpeg",),
        lambda picture: picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST),
        {f"test_{number}.JPEG" for number in range(10_000)},
    )
    return images, np.full(len(names), -1)


def gtsrb(root: Path, split: Split) -> Labelled:
    """The signs of the final test at 32x32.

    A hash of their names halves them into train and test.
    """
    folder = root / "GTSRB" / "Final_Test" / "Images"
    names, images = _pictures([folder, root / "GTSRB_Final_Test_Images.zip"], (".ppm",), _square)
    stems = [Path(name).name for name in names]
    labels = _gtsrb_labels([folder, root / "GTSRB_Final_Test_GT.zip"], stems)
    half = np.array([in_test_half(stem) == (split == "test") for stem in stems])
    return images[half], labels[half]


def in_test_half(name: str) -> bool:
    """A fixed coin for each file name."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def _gtsrb_labels(places: Sequence[Path], names: Sequence[str]) -> np.ndarray:
    classes: dict[str, int] = {}
    for place in places:
        if not place.exists():  # the labels are an archive of their own, and no protocol needs them
            continue
        try:
            tables = [
                content
                for _, content in members([place], lambda name: name.startswith("GT-final_test"))
            ]
        except MissingDataError:
            continue
        for table in tables:  # next to the images lies one without classes
            rows = csv.DictReader(io.StringIO(table.decode()), delimiter=";")
            classes |= {row["Filename"]: int(row["ClassId"]) for row in rows if "ClassId" in row}
    return np.array([classes.get(name, -1) for name in names])


CELEBA_CROP = 140


def celeba(root: Path, split: Split) -> Labelled:
    """The aligned faces: the central 140x140 pixels, at 32x32.

    The official partition (validation is left out).
    """
    partition = root / "celeba" / "list_eval_partition.txt"
    lines = _bytes(partition).decode().split("\n")
    number = {"train": "0", "test": "2"}[split]
    wanted = {words[0] for line in lines if len(words := line.split()) == 2 and words[1] == number}
    if not wanted:
        raise InputError(f"{partition}: names no image of the {split} split")

    def face(picture: Image.Image) -> Image.Image:
        left, top = (picture.width - CELEBA_CROP) // 2, (picture.height - CELEBA_CROP) // 2
        return _square(picture.crop((left, top, left + CELEBA_CROP, top + CELEBA_CROP)))

    places = [root / "celeba" / "img_align_celeba", root / "celeba" / "img_align_celeba.zip"]
    names, images = _pictures(places, (".jpg",), face, wanted)
    return images, np.full(len(names), -1)


def _square(picture: Image.Image) -> Image.Image:
    return shrunk(picture.convert("RGB"), SIDE)


def _pictures(
    places: Sequence[Path],
    suffixes: tuple[str, ...],
    prepared: Callable[[Image.Image], Image.Image],
    only: set[str] | None = None,
) -> tuple[list[str], np.ndarray]:
    """Every image with such a name, sorted by name."""
    images: dict[str, np.ndarray] = {}

    def wanted(name: str) -> bool:
        return name.lower().endswith(suffixes) and (only is None or name in only)

    for name, content in members(places, wanted):
        try:
            with Image.open(io.BytesIO(content)) as picture:
                images[name] = np.asarray(prepared(picture))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{first_existing(places)}, {name}: cannot be read as an image ({error})"
            ) from error
    names = sorted(images)
    return names, np.stack([images[name] for name in names])


def _paired(images: np.ndarray, labels: np.ndarray, place: Path) -> Labelled:
    if len(images) != len(labels):
        raise InputError(
            f"{place}: {len(images)} images and {len(labels)} labels do not belong together"
        )
    return images, labels


def _bytes(file: Path) -> bytes:
    try:
        return first_existing([file]).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
