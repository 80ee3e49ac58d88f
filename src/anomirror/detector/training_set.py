"""What a fit is given: images and labels, checked, counted, and known again by their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anomirror.errors import ImageError, InputError, warn
from anomirror.images import (
    ImageSet,
    SizeRange,
    Subset,
    check_files,
    fingerprints,
    known_sizes,
    places_in,
    unreadable_error,
)
from anomirror.progress import Progress


@dataclass(frozen=True)
class TrainingSet:
    """Images of a fit that can be read, none of them in two roles."""

    normal: ImageSet
    anomalies: ImageSet | None
    """Labelled ones."""
    hashes: np.ndarray
    """Of the normal images, ``(n,)``: equal ones are exact copies."""
    anomaly_hashes: np.ndarray
    """The same of the labelled anomalies."""
    together: np.ndarray
    """Of the normal images, ``(n,)`` int: images of one number, copies or of one group, never
    stand on both sides of a split."""
    categories: np.ndarray | None
    """Of the normal images, ``(n,)`` text: each is decided among those of its own; None without."""
    fingerprint: str
    sizes: SizeRange | None
    """Of the normal images in their files; None if they are not known."""
    skipped: int
    """Files that cannot be read, left out."""

    @property
    def copies(self) -> int:
        """Normal images that are exact copies of another one."""
        return len(self.hashes) - len(np.unique(self.hashes))

    @classmethod
    def of(
        cls,
        images: ImageSet,
        y: object,
        groups: object = None,
        by: object = None,
        *,
        workers: int,
        skip_bad: bool,
        verbose: bool,
    ) -> Self:
        """Read and check everything.

        Raises
        ------
        ImageError : unreadable files (all of them are listed), unless ``skip_bad``; fewer than two
            normal images; an image that is given as normal and as an anomaly.
        InputError : labels, groups or categories that do not fit the images.
        """
        members = _groups(groups, len(images))
        categories = categories_of_each(by, len(images))
        images, places, labels = _readable(
            images, _labels(y, len(images)), skip_bad=skip_bad, verbose=verbose
        )
        skipped = len(members) - len(places)
        members = members[places][labels == 1]
        if categories is not None:
            categories = categories[places][labels == 1]
        normal: ImageSet = images
        anomalies: ImageSet | None = None
        if (labels == -1).any():
            normal = Subset(images, np.flatnonzero(labels == 1).tolist())
            anomalies = Subset(images, np.flatnonzero(labels == -1).tolist())
        _refuse_few(normal)
        fingerprint, hashes = fingerprints(normal, workers)
        anomaly_hashes = np.empty(0, np.int64)
        if anomalies is not None:
            anomaly_hashes = fingerprints(anomalies, workers)[1]
            _refuse_two_roles(normal, hashes, anomalies, anomaly_hashes)
        return cls(
            normal=normal,
            anomalies=anomalies,
            hashes=hashes,
            anomaly_hashes=anomaly_hashes,
            together=joined(hashes, members),
            categories=categories,
            fingerprint=fingerprint,
            sizes=_sizes(normal),
            skipped=skipped,
        )

    def categories_of(self, images: ImageSet) -> np.ndarray | None:
        """Of some of the normal images."""
        places = places_in(images, self.normal)
        return None if self.categories is None or places is None else self.categories[places]

    @property
    def split_fingerprint(self) -> str:
        """Short hash of groups and categories, which decide what is held out."""
        digest = hashlib.sha256(self.together.tobytes())
        if self.categories is not None:
            digest.update("\0".join(self.categories).encode())
        return digest.hexdigest()[:16]


def _sizes(images: ImageSet) -> SizeRange | None:
    """Of the images in their files; that they differ is said."""
    known = known_sizes(images)
    sizes = SizeRange.of(known) if len(known) else None
    if sizes is not None and sizes.mixed:
        warn(
            f"training images differ in size and shape, and all are brought into one frame: {sizes}"
        )
    return sizes


def _readable(
    images: ImageSet, labels: np.ndarray, *, skip_bad: bool, verbose: bool
) -> tuple[ImageSet, np.ndarray, np.ndarray]:
    """Images that can be read, their places, and their labels."""
    with Progress("reading", len(images), "images", shown=verbose) as progress:
        good, bad = check_files(images, report=progress.advance)
    if not bad:
        return good, np.arange(len(images)), labels
    error = unreadable_error(
        images, bad, "remove them, or pass skip_bad=True (--skip-bad) to leave them out"
    )
    if not skip_bad:
        raise error
    places = np.delete(np.arange(len(images)), list(bad))
    left = labels[places]
    if (labels == -1).any() and not (left == -1).any():
        raise ImageError(
            "none of the labelled anomalies can be read; without them this would be another "
            "training",
            error.bad,
        )
    return good, places, left


def joined(hashes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Numbers of images that belong together, ``(n,)`` int: equal for copies, for members of one
    group, and for what these connect.

    >>> joined(np.array([7, 8, 8, 9]), np.array([0, 0, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    copies, members = (np.unique(each, return_inverse=True)[1] for each in (hashes, groups))
    count, most = len(hashes), int(copies.max()) + 1
    ends = np.concatenate([count + copies, count + most + members])
    edges = np.tile(np.arange(count), 2), ends
    graph = coo_array((np.ones(2 * count), edges), shape=(int(ends.max()) + 1,) * 2)
    components = connected_components(graph, directed=False)[1]
    return np.asarray(components[:count], np.int64)


def _groups(groups: object, count: int) -> np.ndarray:
    """A number for each image, equal within a group; every image is its own without groups."""
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups)
    if names.shape != (count,):
        raise InputError(f"groups has shape {names.shape}: expected one for each of {count} images")
    return np.asarray(np.unique(names, return_inverse=True)[1])


def categories_of_each(by: object, count: int) -> np.ndarray | None:
    """A category for each of so many images, ``(count,)`` text; None without.

    Raises
    ------
    InputError : not one for each image; one is empty.
    """
    if by is None:
        return None
    if isinstance(by, str) or not isinstance(by, Iterable):
        raise InputError(f"by={by!r}: expected a category for each of {count} images")
    listed = list(by)
    if len(listed) != count:
        raise InputError(
            f"by has {len(listed)} categories: expected one for each of {count} images"
        )
    return np.array([_category(each, place) for place, each in enumerate(listed)], dtype=np.str_)


def _category(each: object, place: int) -> str:
    """Text of a name or an integer; anything else would be another one elsewhere."""
    if isinstance(each, np.generic):
        each = each.item()
    if not isinstance(each, (str, int)) or not str(each).strip():
        raise InputError(
            f"by: the category of image {place} is {each!r}; give each a name, or an integer"
        )
    # of undecodable file names what JSON can hold; numpy's text ends at a zero
    return str(each).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _labels(y: object, count: int) -> np.ndarray:
    if y is None:
        return np.ones(count, dtype=int)
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise InputError(
            f"y has shape {labels.shape}: expected one label for each of {count} images"
        )
    wrong = labels[~np.isin(labels, (-1, 1))]
    if len(wrong):
        raise InputError(
            f"y holds {wrong[0].item()!r}: expected +1 (normal) or -1 (labelled anomaly)"
        )
    return labels.astype(int)


def _refuse_few(normal: ImageSet) -> None:
    if len(normal) < 2:
        raise ImageError(
            f"{len(normal)} normal image(s): a detector needs at least 2, and hundreds to be any "
            "good"
        )


def _refuse_two_roles(
    normal: ImageSet, hashes: np.ndarray, anomalies: ImageSet, known: np.ndarray
) -> None:
    """No image may be given as normal and as an anomaly."""
    shared = np.flatnonzero(np.isin(known, hashes))
    if not len(shared):
        return
    place = {int(digest): index for index, digest in enumerate(hashes)}
    listed = "\n".join(
        f"  {anomalies.names[int(i)]} is {normal.names[place[int(known[i])]]}" for i in shared[:10]
    )
    more = f"\n  and {len(shared) - 10} more" if len(shared) > 10 else ""
    raise ImageError(
        f"{len(shared)} of {len(anomalies)} anomalies are also given as normal images (the same "
        f"pixels):\n{listed}{more}\n"
        "leave them in one of the two"
    )
