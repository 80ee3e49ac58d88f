"""What names of images say: which belong together, and which category each is of."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from anomirror.detectors import Detector
from anomirror.errors import SettingError


def groups_of(names: Sequence[str], pattern: str) -> list[str]:
    """What a pattern finds in each name: its first group, or all of it.

    A name without it is a group of its own.

    Raises
    ------
    SettingError : no pattern, or one that no name has.

    >>> groups_of(["a/part_1/top.png", "a/part_1/side.png", "b.png"], "part_([0-9]+)")
    ['=1', '=1', 'b.png']
    """
    compiled = _compiled("--group-by", pattern)
    matches = [compiled.search(name) for name in names]
    if not any(matches):
        raise SettingError(f"--group-by {pattern}: in none of the names, such as {names[0]}")
    groups = [
        f"={_found(match)}" if match else name for name, match in zip(names, matches, strict=True)
    ]
    if len(set(groups)) == 1:
        raise SettingError(
            f"--group-by {pattern}: finds {groups[0][1:]!r} in all {len(names)} names, such as "
            f"{names[0]}: they are one group"
        )
    return groups


def categories_of(names: Sequence[str], pattern: str) -> np.ndarray:
    """What a pattern finds last in each name: its first group, or all of it, ``(n,)`` text.

    Raises
    ------
    SettingError : no pattern, or one that not every name has.

    >>> categories_of(["all/cam1/a.png", "all/cam2/a.png"], "([^/]+)/[^/]*$").tolist()
    ['cam1', 'cam2']
    """
    compiled = _compiled("--by", pattern)
    last = [max(compiled.finditer(name), key=re.Match.start, default=None) for name in names]
    without = [name for name, match in zip(names, last, strict=True) if not (match and match[0])]
    if without:
        raise SettingError(
            f"--by {pattern}: is not found in {len(without)} of {len(names)} names, such as "
            f"{without[0]}; every image needs a category"
        )
    return np.array([_found(match) for match in last if match])


def categories_for(detector: Detector, names: Sequence[str]) -> np.ndarray | None:
    """Categories of images that a fitted detector decides about, ``(n,)`` text, by the pattern of
    its fit; None where it has none.

    Raises
    ------
    SettingError : it has categories, but no pattern; a category that nothing calibrates.
    """
    if not detector.categories_:
        return None
    if not detector.category_pattern_:
        raise SettingError(
            "this model decides within categories that were given in Python, and names of images "
            "do not say them; recalibrate it with --by PATTERN, or score in Python with by="
        )
    categories = categories_of(names, detector.category_pattern_)
    detector.check_categories(categories)
    return categories


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SettingError(f"{option} {pattern}: is no pattern ({error})") from error


def _found(match: re.Match[str]) -> str:
    """The first group that took part, or all that was matched."""
    return next((part for part in match.groups() if part is not None), match[0])
