"""Which images a detector is fitted on, and which ones its threshold comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from anomirror.decisions import (
    Guarantee,
    highest_rate,
    least_count,
    least_rate,
    place_taken,
    rate_bound,
)
from anomirror.errors import ImageError, warn

Calibration = Literal["auto", "train", "heldout", "folds"]
"""Where scorer and threshold come from: images that are held out of the fit; folds, each scored by
a fit on the others; or the fitted images themselves, as in the paper, which promises nothing.
"auto" is held out or folds."""

CalibratedBy = Literal["train", "heldout", "folds"]

HELD_OUT_FROM, HELD_OUT_LEAST = 1000, 100
"""Of so many images or more, at least so many are held out."""
SMALL_SHARE, SMALL_LEAST = 0.2, 20
"""Of fewer: this share, and at least so many, but never more than half."""
FOLDS = ((2_000_000, 20), (8_000_000, 10), (math.inf, 5))
"""Up to so many numbers in all images, so many folds: the more, the less a fold's fit differs from
the final one, and the nearer the rate comes to what was asked (docs/guarantees.md).
"""
FEWEST_FOLDED = 4
"""Distinct images below which there is nothing to fold."""


def heldout_count(count: int, share: float) -> int:
    """Images of ``count`` that "auto" holds out; ``share`` is what is held out of many.

    >>> [heldout_count(n, 0.05) for n in (30, 200, 1000, 60_000)]
    [15, 40, 100, 3000]
    """
    if count >= HELD_OUT_FROM:
        return max(HELD_OUT_LEAST, math.floor(count * share))
    return max(
        min(max(SMALL_LEAST, math.floor(count * SMALL_SHARE)), count // 2),
        math.floor(count * share),
    )


def held_out(
    order: Sequence[int],
    copies: np.ndarray,
    count: int,
    *,
    in_order: bool = False,
    categories: np.ndarray | None = None,
    least: int = 0,
) -> np.ndarray:
    """The first ``count`` images of a random order, but copies of one image stay together, ``(m,)``
    sorted.

    Parameters
    ----------
    order : a permutation of all images.
    copies : ``(n,)``: equal for copies of one image.
    count : how many are wanted; fewer come where only groups of copies are left that are larger
        than what is missing.
    in_order : take whole groups in their order until there are so many, perhaps more.
    categories, least : as of :func:`held_out_of_each`, where there are some.
    """
    if categories is not None:
        return held_out_of_each(order, copies, categories, count, least=least)
    members = _groups(order, copies)
    chosen: list[int] = []
    if in_order:
        while len(chosen) < count and len(members) > 1:
            chosen += members.pop(0)
        return np.sort(np.asarray(chosen, dtype=np.int64))
    for group in members:
        if len(chosen) + len(group) <= count:
            chosen += group
        if len(chosen) == count:
            break
    if not chosen and len(members) > 1:
        chosen = min(members, key=len)
    return np.sort(np.asarray(chosen, dtype=np.int64))


def held_out_of_each(
    order: Sequence[int],
    copies: np.ndarray,
    categories: np.ndarray,
    count: int,
    *,
    least: int = 0,
) -> np.ndarray:
    """:func:`held_out`, of each category its share of ``count`` and at least ``least``, but never
    more than half of its images or groups, ``(m,)`` sorted; whole groups, so perhaps more images.

    Raises
    ------
    ImageError : categories of which nothing can be held out.
    """
    room = {
        category: len(np.unique(copies[categories == category])) // 2
        for category in np.unique(categories).tolist()
    }
    all_groups = len(np.unique(copies))
    wanted = {
        category: min(max(math.ceil(count * 2 * half / all_groups), least), half)
        for category, half in room.items()
    }
    chosen: list[int] = []
    for group in _groups(order, copies):
        within = np.unique(categories[group]).tolist()
        if any(wanted[each] > 0 for each in within) and all(room[each] > 0 for each in within):
            chosen += group
            for each in within:
                wanted[each] -= 1
                room[each] -= 1
    if without := sorted(set(room) - set(categories[chosen].tolist())):
        listed = ", ".join(without[:5]) + (" and others" if len(without) > 5 else "")
        raise ImageError(
            f"category {listed}: too few images or groups to hold one out to calibrate it; give "
            "more, or leave it out"
        )
    return np.sort(np.asarray(chosen, dtype=np.int64))


def fold_count(images: int, numbers: int) -> int:
    """Folds of so many images with so many numbers each.

    >>> [fold_count(300, size**2) for size in (32, 64, 128, 256)]
    [20, 20, 10, 5]
    """
    return next(folds for most, folds in FOLDS if images * numbers <= most)


def folds(order: Sequence[int], copies: np.ndarray, count: int) -> list[np.ndarray]:
    """All images in ``count`` parts of about the same size, each sorted.

    Copies of one image lie in one part.
    """
    parts: list[list[int]] = [[] for _ in range(min(count, len(np.unique(copies))))]
    for group in sorted(_groups(order, copies), key=len, reverse=True):
        min(parts, key=len).extend(group)
    return [np.sort(np.asarray(part, dtype=np.int64)) for part in parts]


def _groups(order: Sequence[int], copies: np.ndarray) -> list[list[int]]:
    """Images by copy, in the order in which their first one comes."""
    groups: dict[int, list[int]] = {}
    for index in order:
        groups.setdefault(int(copies[index]), []).append(int(index))
    return list(groups.values())


def choose(
    calibration: Calibration, fraction: float, copies: np.ndarray, *, can_fold: bool
) -> CalibratedBy:
    """What calibrates a fit to images with these hashes, ``(n,)``.

    Parameters
    ----------
    can_fold : whether the method is fast enough to be fitted once for each fold.

    Warns
    -----
    AnomirrorWarning : so few different images that none can be left out of the fit.
    """
    if calibration != "auto" and calibration != "folds":
        return calibration
    if (distinct_images := len(np.unique(copies))) < FEWEST_FOLDED:
        warn(
            f"{distinct_images} different normal image{'s' if distinct_images > 1 else ''} or "
            "groups: none can be left out of the fit to calibrate"
        )
        return "train"
    if fraction == 0 and not can_fold:
        return "train"  # nothing is to be held out
    return (
        "folds"
        if can_fold and (calibration == "folds" or len(copies) < HELD_OUT_FROM)
        else "heldout"
    )


def held_out_places(
    calibration: Calibration,
    fraction: float,
    order: Sequence[int],
    copies: np.ndarray,
    *,
    least: int = 0,
    in_order: bool = False,
    categories: np.ndarray | None = None,
) -> np.ndarray:
    """Places of the images that are held out to calibrate, ``(m,)`` sorted, from an order of all.

    "auto" holds out ``least`` of them (of each category), what the false-alarm rate needs, but
    never more than half.

    Raises
    ------
    ImageError : ``calibration="heldout"`` asks for so few that they calibrate nothing.
    """
    count = len(copies)
    wanted = (
        max(1, math.floor(count * fraction))
        if calibration == "heldout"
        else max(heldout_count(count, fraction), min(least, count // 2))
    )
    chosen = held_out(
        order,
        copies,
        wanted,
        in_order=in_order,
        categories=categories,
        least=0 if calibration == "heldout" else least,
    )
    if calibration == "heldout" and len(chosen) < SMALL_LEAST:
        raise ImageError(
            f"calibration='heldout': calibration_fraction={fraction} of {count} images are "
            f"{len(chosen)} to calibrate on, and at least {SMALL_LEAST} are needed; raise "
            "calibration_fraction, give more images, or use calibration='auto'"
        )
    return chosen


def within_categories(numbers: np.ndarray, categories: np.ndarray | None) -> np.ndarray:
    """Numbers, ``(n,)``: equal where these are, and the categories."""
    if categories is None:
        return numbers
    pairs = np.stack([np.unique(categories, return_inverse=True)[1], numbers])
    return np.asarray(np.unique(pairs, axis=1, return_inverse=True)[1])


def distinct(
    copies: np.ndarray, places: np.ndarray, categories: np.ndarray | None = None
) -> list[int]:
    """Of some places the first of each group of copies (in each category), in order.

    Copies say nothing more of what is normal.
    """
    _, first = np.unique(within_categories(copies, categories)[places], return_index=True)
    return [int(place) for place in np.sort(places[first])]


def promise(
    by: CalibratedBy,
    count: int,
    asked: float,
    guarantee: Guarantee,
    categories: Mapping[str, int] | None = None,
) -> str | None:
    """What ``count`` calibration images cannot promise of false alarms, in a sentence.

    None if they keep ``asked``.

    Parameters
    ----------
    categories : of each, how many calibrate it; the fewest are ``count``.

    >>> promise("folds", 12, 0.05, "expected")
    '12 images calibrate this: false alarms below 7.7 % cannot be asked for (5 % were, which needs \
19); give more normal images'
    """
    if by == "train":
        return (
            "the threshold comes from images that were fitted: false alarms on new images can be "
            f"far more than {100 * asked:g} %"
        )
    least = least_rate(count, guarantee)
    if least <= asked + 1e-9:
        return None
    confident = " with 95 % confidence" if guarantee == "confident" else ""
    what = "this"
    if categories:
        few = [name for name, number in categories.items() if least_rate(number, guarantee) > asked]
        more = f" and {len(few) - 1} more of {len(categories)}" if len(few) > 1 else ""
        what = f"category {min(categories, key=lambda name: categories[name])}{more}"
    return (
        f"{count} image{' calibrates' if count == 1 else 's calibrate'} {what}: false alarms below "
        f"{100 * least:.1f} % cannot be asked for{confident} ({100 * asked:g} % were, which needs "
        f"{least_count(asked, guarantee):,}); give more normal images"
    )


def guarantee_sentence(
    by: CalibratedBy,
    count: int,
    asked: float,
    guarantee: Guarantee,
    images: int,
    later: int,
    categories: Mapping[str, int] | None = None,
) -> str:
    """What ``count`` calibration images, or groups of them, promise of false alarms.

    Parameters
    ----------
    images, later : how many images these are, and how many of them were given after the fit.
    categories : of each, how many calibrate it.

    >>> guarantee_sentence("heldout", 199, 0.05, "expected", 199, 0)
    'of new normal images 5.0 % are called anomalies on average over calibration sets, and with \
95 % confidence at most 7.8 % (199 held-out images calibrate this)'
    """
    unkept = promise(
        by, min(categories.values()) if categories else count, asked, guarantee, categories
    )
    if unkept is not None and by == "train":
        return unkept
    within, deciding = "", count
    if categories:
        loosest = max(categories, key=lambda name: highest_rate(categories[name], asked, guarantee))
        deciding = categories[loosest]
        within = f", in each of {len(categories)} categories; of {loosest}, the least certain:"
    at = place_taken(deciding, asked, guarantee)
    words = {"heldout": "held-out", "folds": "cross-fitted"}[by]
    since = f", {later:,} of them given later" if later else ""
    groups = f" in {count:,} groups" if count < images else ""
    most = "at most " if groups else ""
    return (
        f"of new normal images{within} {most}{100 * at / (deciding + 1):.1f} % are called "
        f"anomalies on average over calibration sets, and with 95 % confidence at most "
        f"{100 * rate_bound(deciding, at):.1f} % "
        f"({images:,} {words} image{' calibrates' if images == 1 else 's calibrate'} this{groups}"
        f"{since}"
        f"{'; folds keep this nearly' if by == 'folds' else ''})"
        + (f"; {unkept}" if unkept else "")
    )
