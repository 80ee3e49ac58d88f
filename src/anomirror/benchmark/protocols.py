"""Which images are trained on and which are tested: protocols as data, without any method.

``blind``: no anomaly of the tested sets is seen before the test. ``paper``: 50 anomalies of each
tested set, and some of the normal training images, are drawn for the choice of an epoch, *before*
the test sample is drawn, and are in no test.

Out of distribution, the normal test images are the normal set's test split, and a column's
anomalies a random sample of the other set's test split, 20 % of the number of normal ones (a folder
of anomalies is tested whole). One class, a class of the train split is normal, and the whole test
split is tested, the other classes as anomalies (the column ``rest``). What is trained on is in no
test, not as another set's copy of the same pixels either (one test image of CIFAR-100 is a training
image of CIFAR-10).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from anomirror.benchmark.copies import Seen
from anomirror.data import (
    FOLDER_SIZE,
    GENERATED,
    Images,
    Split,
    canonical,
    images_of,
    is_folder,
    natural_form,
)
from anomirror.errors import InputError, SettingError

Protocol = Literal["blind", "paper"]
PROTOCOLS: tuple[Protocol, ...] = ("blind", "paper")

ANOMALY_SHARE = 0.2
VALIDATION_ANOMALIES = 50
VALIDATION_SHARE, VALIDATION_MOST = 0.05, 1000
"""Normal training images that protocol ``paper`` sets aside, and how many at most."""
REST = "rest"
"""The anomalies of a one-class comparison."""


@dataclass(frozen=True)
class Part:
    """Some images of one split of a set, by their place in it."""

    dataset: str
    split: Split
    indices: np.ndarray

    def members(self) -> set[tuple[str, str, int]]:
        """What makes two images the same one: set, split and place."""
        return {(self.dataset, self.split, int(index)) for index in self.indices}


@dataclass(frozen=True)
class Comparison:
    """A normal set against anomaly sets.

    Every array of images is ``(n, size, size, channels)`` uint8.
    """

    train: np.ndarray
    normal: np.ndarray
    anomalies: dict[str, np.ndarray]
    """The whole of each anomaly set, without what validation took."""
    sampled: dict[str, np.ndarray]
    """Places in ``anomalies`` of the images that are a column's test."""
    validation_normal: np.ndarray
    validation: dict[str, np.ndarray]
    """Empty arrays under protocol ``blind``."""
    labelled: np.ndarray
    """Labelled anomalies that are trained on; none as a rule."""
    parts: dict[str, Part]
    """Where all of these lie: train, labelled, normal, "validation normal", and each column's
    anomalies and "validation ...".
    """
    copies: dict[str, int]
    """Images of the normal test set and of each column that were left out, because the same pixels
    are trained on.
    """
    preparation: dict[str, tuple[str, ...]]
    """By set, what was done to its official pixels."""

    def hash_of(self, column: str) -> str:
        """Short hash of every index and pixel that decides this column."""
        decisive = ["train", "labelled", "normal", "validation normal", f"validation {column}"]
        parts = {name: self.parts[name] for name in decisive if name in self.parts}
        parts["anomalies"] = Part(
            column, self.parts[column].split, self.parts[column].indices[self.sampled[column]]
        )
        digest = hashlib.sha256()
        for name, part in parts.items():
            digest.update(
                f"{name.split()[0]} {plain_name(part.dataset)} {part.split} ".encode()
                + part.indices.astype("<i8").tobytes()
            )
        for images in (
            self.train,
            self.labelled,
            self.normal,
            self.anomalies[column][self.sampled[column]],
        ):
            digest.update(np.ascontiguousarray(images).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Labelled:
    """Labelled anomalies: how many images of a set's *train* split."""

    dataset: str
    count: int


def parse_normal(normal: str) -> tuple[str, int | None]:
    """``mnist:3`` is the class 3 of ``mnist``; a name without a class is the whole set."""
    name, separator, label = normal.rpartition(":")
    if separator and label.isdigit() and not Path(normal).exists():
        return name, int(label)
    return normal, None


def compare(
    normal: str,
    anomalies: Sequence[str],
    *,
    seed: int,
    protocol: Protocol = "blind",
    labelled: Labelled | None = None,
    data_dir: Path | None = None,
    folder_size: int = FOLDER_SIZE,
    tested: int | None = None,
) -> Comparison:
    """The images of one seed.

    ``tested`` limits the normal test images, and the anomalies with them; of one class, the whole
    test split. What is left is a fixed sample, under protocol ``blind`` the same in every seed.

    Raises
    ------
    SettingError : an unknown set, protocol or class; a set next to itself.
    InputError : a set's files are missing or damaged, or hold too few images.
    """
    name, label, columns = _checked(normal, anomalies, protocol)
    form = natural_form(name, folder_size=folder_size)
    pool, test = images_of(name, "train", form, data_dir), images_of(name, "test", form, data_dir)
    train_at, set_aside = _train_places(pool, name, label, normal, seed, protocol)
    tested_at, normal_at = _normal_places(test, name, label, normal, tested)
    labelled_images, labelled_part = _labelled(labelled, seed, form, data_dir)
    seen = Seen((*pool.images[train_at], *labelled_images))
    set_aside = seen.without_copies("validation normal", pool.images, set_aside)
    seen.add(pool.images[set_aside])
    normal_at = seen.without_copies("normal", test.images, normal_at)
    if label is None:
        wanted = round(ANOMALY_SHARE * len(normal_at))
        others = [_other_set(column, form, data_dir, wanted) for column in columns]
    else:
        others = [_Candidates(name, test, _rest(test, label, normal, tested_at), None)]
    drawing = _Drawing(seen, seed, protocol, tested)
    drawn = dict(zip(columns, map(drawing.anomalies, columns, others), strict=True))
    return Comparison(
        train=pool.images[train_at],
        normal=test.images[normal_at],
        anomalies={column: each.images for column, each in drawn.items()},
        sampled={column: each.sampled for column, each in drawn.items()},
        validation_normal=pool.images[set_aside],
        validation={column: each.validation for column, each in drawn.items()},
        labelled=labelled_images,
        parts=_parts(name, train_at, normal_at, set_aside, drawn) | labelled_part,
        copies=dict(seen.copies),
        preparation={name: test.preparation} | {o.source: o.images.preparation for o in others},
    )


def _rest(test: Images, label: int, normal: str, tested_at: np.ndarray) -> np.ndarray:
    """Tested images of all other classes."""
    return np.setdiff1d(tested_at, of_class(test.labels, label, normal))


def _parts(
    name: str,
    train_at: np.ndarray,
    normal_at: np.ndarray,
    set_aside: np.ndarray,
    drawn: Mapping[str, _Anomalies],
) -> dict[str, Part]:
    """Where the images of the normal set and of each column lie."""
    return {
        "train": Part(name, "train", train_at),
        "normal": Part(name, "test", normal_at),
        "validation normal": Part(name, "train", set_aside),
        **{column: each.part for column, each in drawn.items()},
        **{f"validation {column}": each.validation_part for column, each in drawn.items()},
    }


def _checked(
    normal: str, anomalies: Sequence[str], protocol: str
) -> tuple[str, int | None, list[str]]:
    """The normal set, its class if one is normal, and the anomaly sets, under one spelling each."""
    if protocol not in PROTOCOLS:
        raise SettingError(f"protocol={protocol!r}: choose {' or '.join(PROTOCOLS)}")
    name, label = parse_normal(normal)
    name, columns = canonical(name), [canonical(column) for column in anomalies]
    if len(set(columns)) < len(columns):
        raise SettingError(f"an anomaly set is named twice: {', '.join(columns)}")
    if label is None and name in columns:
        raise SettingError(f"{name} is the normal set, and cannot be an anomaly set as well")
    if label is not None and columns != [REST]:
        raise SettingError(
            f"{normal}: a class is compared with the rest of its set; the only column is {REST!r}"
        )
    return name, label, columns


def _train_places(
    pool: Images, name: str, label: int | None, normal: str, seed: int, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """Normal images to train on, and those that protocol ``paper`` sets aside."""
    places = of_class(pool.labels, label, normal)
    if protocol == "blind":
        return places, np.array([], int)
    count = min(VALIDATION_MOST, max(1, round(VALIDATION_SHARE * len(places))))
    order = _shuffled(22, seed, name, len(places))
    return np.sort(places[order[count:]]), np.sort(places[order[:count]])


def _normal_places(
    test: Images, name: str, label: int | None, normal: str, tested: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Images of the test split that may be tested, and the normal ones among them."""
    tested_at, places = np.arange(len(test.images)), of_class(test.labels, label, normal)
    if tested is None:
        return tested_at, places
    among = places if label is None else tested_at
    tested_at = np.sort(among[_shuffled(23, 0, name, len(among))[:tested]])
    return tested_at, np.intersect1d(places, tested_at)


@dataclass(frozen=True)
class _Candidates:
    """Images that may be an anomaly set."""

    source: str
    images: Images
    places: np.ndarray
    count: int | None
    """How many of them are tested; None: all."""


def _other_set(
    column: str, form: tuple[int, int], data_dir: Path | None, count: int
) -> _Candidates:
    """A sample of another set's test split.

    A folder of anomalies is for nothing but the test, whole.
    """
    whole = is_folder(column)
    images = images_of(column, None if whole else "test", form, data_dir)
    return _Candidates(column, images, np.arange(len(images.images)), None if whole else count)


@dataclass(frozen=True)
class _Anomalies:
    """What is drawn of one anomaly set."""

    images: np.ndarray
    sampled: np.ndarray
    """Places in ``images`` of those that are tested."""
    part: Part
    validation: np.ndarray
    validation_part: Part


@dataclass(frozen=True)
class _Drawing:
    """How anomalies are drawn from their sets."""

    seen: Seen
    seed: int
    protocol: Protocol
    tested: int | None

    def anomalies(self, column: str, candidates: _Candidates) -> _Anomalies:
        """Validation first, then the test, from what is left."""
        source, images = candidates.source, candidates.images
        places = self.seen.without_copies(column, images.images, candidates.places)
        seed = self.seed if self.tested is None else 0
        order = places[_shuffled(20, seed, source, len(places))]
        held = VALIDATION_ANOMALIES if self.protocol == "paper" else 0
        if len(order) <= held:
            raise InputError(
                f"{column}: {len(order)} images are too few, {held} of them are for validation"
            )
        validated, rest = np.sort(order[:held]), order[held:]
        if held:
            validation = images.images[validated]
            rest = self.seen.without_copies(column, images.images, rest, also=validation)
        sample = rest[: self.tested if candidates.count is None else candidates.count]
        left = np.sort(rest if self.tested is None else sample)
        return _Anomalies(
            images=images.images[left],
            sampled=np.flatnonzero(np.isin(left, sample)),
            part=Part(source, "test", left),
            validation=images.images[validated],
            validation_part=Part(source, "test", validated),
        )


def _labelled(
    labelled: Labelled | None, seed: int, form: tuple[int, int], data_dir: Path | None
) -> tuple[np.ndarray, dict[str, Part]]:
    """Labelled anomalies and where they lie: images of their set's train split."""
    if labelled is None or labelled.count == 0:
        return np.empty((0, form[0], form[0], form[1]), np.uint8), {}
    if labelled.dataset in GENERATED:
        raise SettingError(
            f"{labelled.dataset}: a generated set has no train split for labelled anomalies"
        )
    pool = images_of(labelled.dataset, "train", form, data_dir).images
    if labelled.count > len(pool):
        raise InputError(
            f"{labelled.dataset} has {len(pool)} training images, "
            f"{labelled.count} labelled anomalies "
            "were "
            "asked for"
        )
    at = np.sort(_shuffled(21, seed, labelled.dataset, len(pool))[: labelled.count])
    return pool[at], {"labelled": Part(labelled.dataset, "train", at)}


def of_class(labels: np.ndarray, label: int | None, normal: str) -> np.ndarray:
    """Places of the images of a class, ``(n,)``; of all without one."""
    if label is None:
        return np.arange(len(labels))
    places = np.flatnonzero(labels == label)
    if not len(places):
        known = sorted(set(labels.tolist()))
        raise SettingError(
            f"{normal}: no image of class {label}; the set's classes are {known[0]} to {known[-1]}"
        )
    return places


def _shuffled(purpose: int, seed: int, name: str, count: int) -> np.ndarray:
    """A random order that depends on the set's name (of a folder its last part), not on what else
    is compared.
    """
    return np.random.default_rng([purpose, seed, zlib.crc32(Path(name).name.encode())]).permutation(
        count
    )


def plain_name(name: str) -> str:
    """A set's name in names of files and arrays.

    Of a folder its last part, and a hash of its whole path.
    """
    if not is_folder(name):
        return name
    path = Path(name).resolve()
    return f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"


def places_tested(comparison: Comparison) -> dict[str, np.ndarray]:
    """For "normal" and each anomaly set, which images of its split are tested, as flags.

    A part that is tested whole is left out.
    """
    indices = {"normal": comparison.parts["normal"].indices}
    for column, sample in comparison.sampled.items():
        indices[plain_name(column)] = comparison.parts[column].indices[sample]
    whole = (name for name, at in indices.items() if np.array_equal(at, np.arange(len(at))))
    return {name: flags(indices[name]) for name in indices.keys() - set(whole)}


def flags(indices: np.ndarray) -> np.ndarray:
    """``(max + 1,)``, true at some indices."""
    marked = np.zeros(indices.max() + 1, bool)
    marked[indices] = True
    return marked
