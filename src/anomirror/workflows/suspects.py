"""Images that do not look normal among those that are given as normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomirror.decisions import parts
from anomirror.detectors import Detector
from anomirror.errors import SettingError
from anomirror.images import ImageSet, Subset
from anomirror.workflows.reading import readable


@dataclass(frozen=True)
class Suspect:
    """One image of a training set, by how odd it is to a fit without it."""

    index: int
    path: str
    p_value: float
    """Share of the images that are at least as odd."""
    raw_score: float


def suspects_of(
    detector: Detector, images: ImageSet, groups: object = None, by: np.ndarray | None = None
) -> list[Suspect]:
    """All images, the oddest first.

    Parameters
    ----------
    detector : not fitted, and left as it is.
    by : categories: each image is ranked among those of its own, the oddest of each come first.

    Raises
    ------
    ImageError : images that cannot be read, unless the detector has ``skip_bad``; too few images.
    """
    good, places = readable(images, skip_bad=detector.skip_bad)
    raw = detector.out_of_fold(good, None if groups is None else np.asarray(groups)[places])
    values = np.empty(len(raw))
    for _, members in parts(None if by is None else by[places], len(raw)):
        own = raw[members]
        # conformal among the others: its own score is the 1 of 1 + #{others at least as high}
        at_least = len(own) - np.searchsorted(np.sort(own), own, side="left")
        values[members] = at_least / len(own)
    return [
        Suspect(int(places[at]), good.names[at], float(values[at]), float(raw[at]))
        for at in np.lexsort((-raw, values)).tolist()
    ]


@dataclass(frozen=True)
class Cleared:
    """A training set without its suspects."""

    images: ImageSet
    labels: np.ndarray
    places: np.ndarray
    """Of these images among all that were given."""
    dropped: tuple[Suspect, ...]


def without_suspects(
    detector: Detector,
    images: ImageSet,
    labels: np.ndarray,
    count: int,
    groups: np.ndarray | None = None,
    by: np.ndarray | None = None,
) -> Cleared:
    """All images but the ``count`` oddest ones of those that are taken as normal.

    Raises
    ------
    SettingError : so many are no suspects but most of the set.
    ImageError : images that cannot be read, unless the detector has ``skip_bad``.
    """
    good, places = readable(images, skip_bad=detector.skip_bad)
    labels = labels[places]
    normal = np.flatnonzero(labels == 1)
    if not 0 < count <= len(normal) // 2:
        raise SettingError(
            f"--drop-suspects {count}: expected at least 1, and at most half of {len(normal)} "
            "normal images"
        )
    of_normal = (None if each is None else each[places][normal] for each in (groups, by))
    ranked = suspects_of(detector, Subset(good, normal.tolist()), *of_normal)[:count]
    dropped = normal[[each.index for each in ranked]]
    left = np.setdiff1d(np.arange(len(good)), dropped)
    return Cleared(Subset(good, left.tolist()), labels[left], places[left], tuple(ranked))
