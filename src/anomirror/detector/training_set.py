"""What a fit is given: images and labels, checked, counted, and known again by their hashes."""

from __future__ import annotations

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
        InputError : labels or groups that do not fit the images.
        """
        members = _groups(groups, len(images))
        images, places, labels = _readable(
            images, _labels(y, len(images)), skip_bad=skip_bad, verbose=verbose
        )
        skipped = len(members) - len(places)
        members = members[places][labels == 1]
        normal: ImageSet = images
        anomalies: ImageSet | None = None
        if (labels == -1).any():
            normal = Subset(images, np.flatnonzero(labels == 1).tolist())
            anomalies = Subset(images, np.flatnonzero(labels == -1).tolist())
        if len(normal) < 2:
            raise ImageError(
                f"{len(normal)} normal image(s): a detector needs at least 2, and hundreds to be "
                "any good"
            )
        fingerprint, hashes = fingerprints(normal, workers)
        anomaly_hashes = np.empty(0, np.int64)
        if anomalies is not None:
            anomaly_hashes = fingerprints(anomalies, workers)[1]
            _refuse_two_roles(normal, hashes, anomalies, anomaly_hashes)
        known = known_sizes(normal)
        sizes = SizeRange.of(known) if len(known) else None
        if sizes is not None and sizes.mixed:
            warn(
                "training images differ in size and shape, and all are brought into one frame: "
                f"{sizes}"
            )
        together = joined(hashes, members)
        return cls(normal, anomalies, hashes, anomaly_hashes, together, fingerprint, sizes, skipped)


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
