"""Detectors of other packages: entry points of the group ``anomirror.detectors``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from anomirror.errors import SettingError

GROUP = "anomirror.detectors"


def names() -> list[str]:
    """Methods that installed packages offer, without importing any of them."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str) -> object:
    """What an entry point names.

    Raises
    ------
    SettingError : its package cannot be imported, or several offer one of that name.
    """
    points: list[EntryPoint] = list(entry_points(group=GROUP, name=name))
    if len({point.value for point in points}) > 1:
        offers = ", ".join(sorted(point.value for point in points))
        raise SettingError(f"several packages offer a method named {name!r}: {offers}; remove one")
    try:
        return points[0].load()
    except Exception as error:
        raise SettingError(
            f"the method {name!r} of {points[0].value} cannot be imported: {type(error).__name__}: "
            f"{error}"
        ) from error
