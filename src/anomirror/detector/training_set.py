"""What a fit is given: images and labels, checked, counted, and known again by their hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

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
        cls, images: ImageSet, y: object, *, workers: int, skip_bad: bool, verbose: bool
    ) -> Self:
        """Read and check everything.

        Raises
        ------
        ImageError : unreadable files (all of them are listed), unless ``skip_bad``; fewer than two
            normal images; an image that is given as normal and as an anomaly.
        InputError : labels that do not fit the images.
        """
        images, labels, skipped = _readable(
            images, _labels(y, len(images)), skip_bad=skip_bad, verbose=verbose
        )
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
        if anomalies is not None:
            _refuse_two_roles(normal, hashes, anomalies, fingerprints(anomalies, workers)[1])
        known = known_sizes(normal)
        sizes = SizeRange.of(known) if len(known) else None
        if sizes is not None and sizes.mixed:
            warn(
                "training images differ in size and shape, and all are brought into one frame: "
                f"{sizes}"
            )
        return cls(normal, anomalies, hashes, fingerprint, sizes, skipped)


def _readable(
    images: ImageSet, labels: np.ndarray, *, skip_bad: bool, verbose: bool
) -> tuple[ImageSet, np.ndarray, int]:
    """Images that can be read, their labels, and how many cannot."""
    with Progress("reading", len(images), "images", shown=verbose) as progress:
        good, bad = check_files(images, report=progress.advance)
    if not bad:
        return good, labels, 0
    error = unreadable_error(
        images, bad, "remove them, or pass skip_bad=True (--skip-bad) to leave them out"
    )
    if not skip_bad:
        raise error
    left = np.delete(labels, list(bad))
    if (labels == -1).any() and not (left == -1).any():
        raise ImageError(
            "none of the labelled anomalies can be read; without them this would be another "
            "training",
            error.bad,
        )
    return good, left, len(bad)


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
