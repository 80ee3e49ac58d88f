"""Readers of official file formats: IDX, the CIFAR binaries, Omniglot's archives, GTSRB's folder."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from anomirror.errors import InputError

Split = Literal["train", "test"]
Labelled = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DataSet:
    """A data set by name: where it comes from, on which terms, and how it is read."""

    channels: int
    splits: tuple[Split, ...]
    read: Callable[[Path, Split], Labelled]
    terms: str
    source: str


def read_idx(file: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not (yann.lecun.com/exdb/mnist)."""
    raw = _bytes(file)
    if file.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise InputError(f"{file}: damaged archive ({error})") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(f"{file}: not an IDX file of unsigned bytes")
    dims = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    if len(raw) != 4 + 4 * dims + int(np.prod(shape)):
        raise InputError(f"{file}: {len(raw)} bytes do not hold {shape}: truncated?")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape).copy()


def _idx_set(folder: str) -> Callable[[Path, Split], Labelled]:
    def read(root: Path, split: Split) -> Labelled:
        stem = {"train": "train", "test": "t10k"}[split]
        images, labels = (_either(root / folder, f"{stem}-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        return read_idx(images), read_idx(labels).astype(int)

    return read


def _either(folder: Path, name: str) -> Path:
    """The file as it is downloaded, gzipped, or unpacked."""
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _cifar_set(files: dict[Split, list[str]], label_bytes: int) -> Callable[[Path, Split], Labelled]:
    def read(root: Path, split: Split) -> Labelled:
        images, labels = [], []
        for name in files[split]:
            raw = np.frombuffer(_bytes(root / name), np.uint8)
            record = label_bytes + 3072
            if len(raw) == 0 or len(raw) % record:
                raise InputError(f"{root / name}: {len(raw)} bytes are no multiple of {record}: truncated?")
            rows = raw.reshape(-1, record)
            labels.append(rows[:, label_bytes - 1].astype(int))  # CIFAR-100: coarse, then fine
            images.append(rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        return np.concatenate(images), np.concatenate(labels)

    return read


def _omniglot(root: Path, split: Split) -> Labelled:
    """Inverted to light on dark and reduced, anti-aliased, from 105 to 28 pixels; label = character.

    The background half is "train", the evaluation half "test".
    """
    half = {"train": "background", "test": "evaluation"}[split]
    file = root / "omniglot" / f"images_{half}.zip"
    images, labels = [], []
    characters: dict[str, int] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(_bytes(file))) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".png")):
                with Image.open(io.BytesIO(archive.read(name))) as drawing:
                    small = ImageOps.invert(drawing.convert("L")).resize((28, 28), Image.Resampling.BOX)
                images.append(np.asarray(small))
                labels.append(characters.setdefault(str(Path(name).parent), len(characters)))
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{file}: damaged archive ({error})") from error
    return np.stack(images), np.array(labels)


def _picture_folder(folder: str, pattern: str) -> Callable[[Path, Split], Labelled]:
    def read(root: Path, split: Split) -> Labelled:
        files = sorted((root / folder).rglob(pattern))
        if not files:
            raise InputError(f"{root / folder}: no {pattern} here")
        pictures = []
        for file in files:
            with Image.open(file) as picture:
                pictures.append(np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)))
        return np.stack(pictures), np.full(len(files), -1)

    return read


def _gtsrb(root: Path, split: Split) -> Labelled:
    """The test signs, halved into train and test by their number: even ones train."""
    images, _ = _picture_folder("GTSRB/Final_Test/Images", "*.ppm")(root, split)
    labels = np.full(len(images), -1)
    annotations = root / "GTSRB/Final_Test/Images/GT-final_test.csv"
    if annotations.is_file():
        with annotations.open(newline="", encoding="utf-8") as stream:
            labels = np.array([int(row["ClassId"]) for row in csv.DictReader(stream, delimiter=";")])
    half = np.arange(len(images)) % 2 == (1 if split == "test" else 0)
    return images[half], labels[half]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; put the data set's official file there") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


_CIFAR10: dict[Split, list[str]] = {
    "train": [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["cifar-10-batches-bin/test_batch.bin"],
}
_CIFAR100: dict[Split, list[str]] = {"train": ["cifar-100-binary/train.bin"], "test": ["cifar-100-binary/test.bin"]}
_BOTH: tuple[Split, ...] = ("train", "test")

DATASETS: dict[str, DataSet] = {
    "fashion-mnist": DataSet(1, _BOTH, _idx_set("fashion-mnist"), "MIT", "github.com/zalandoresearch/fashion-mnist"),
    "mnist": DataSet(1, _BOTH, _idx_set("mnist"), "CC BY-SA 3.0", "yann.lecun.com/exdb/mnist"),
    "omniglot": DataSet(1, _BOTH, _omniglot, "MIT", "github.com/brendenlake/omniglot"),
    "cifar10": DataSet(3, _BOTH, _cifar_set(_CIFAR10, 1), "none stated", "cs.toronto.edu/~kriz/cifar.html"),
    "cifar100": DataSet(3, _BOTH, _cifar_set(_CIFAR100, 2), "none stated", "cs.toronto.edu/~kriz/cifar.html"),
    "imagenet-resize": DataSet(
        3, ("test",), _picture_folder("Imagenet_resize", "*.png"), "research", "github.com/facebookresearch/odin"
    ),
    "gtsrb": DataSet(3, _BOTH, _gtsrb, "research", "benchmark.ini.rub.de/gtsrb_news.html"),
}
"""Every named data set."""
