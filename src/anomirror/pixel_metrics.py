"""How well maps find defects whose place is known: pixel AUROC, AUPRO, recall of regions.

Maps are high where an image is odd. Masks are True where a defect is; normal images have none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.ndimage import label

from anomirror.errors import InputError

LEVELS = 4096
"""Into so many levels maps are sorted, by quantiles, half of them towards the highest values. What
falls into one level counts as tied: half."""

LIMIT = 0.3
"""Share of false positive pixels up to which regions are counted (Bergmann et al., IJCV 2021)."""

_EIGHT = np.ones((3, 3), int)
"""Pixels that touch at a corner belong to one region."""


@dataclass(frozen=True)
class PixelMetrics:
    """In [0, 1], of all pixels of all images together."""

    auroc: float
    """Probability that a pixel of a defect is higher than a normal one."""
    aupro: float
    """Mean over regions of the share of each that is found, averaged over false positive rates of
    pixels up to :data:`LIMIT`."""
    recall: float
    """The same mean where 1 % of normal pixels are false positives."""
    regions: int
    """Connected parts of the masks."""

    def as_dict(self) -> dict[str, float]:
        """Values by name."""
        return asdict(self)


class PixelCounts:
    """Pixels of maps, counted by level, an image at a time."""

    def __init__(self, sample: np.ndarray) -> None:
        """``sample``: values of maps, from which the levels are taken.

        Raises
        ------
        InputError : none, or NaN or infinity among them.
        """
        values = np.asarray(sample, np.float64).ravel()
        if not values.size or not np.isfinite(values).all():
            raise InputError("levels of maps need finite values")
        shares = np.linspace(0, 1, LEVELS // 2), 1 - np.geomspace(1e-7, 0.5, LEVELS // 2)
        self._levels = np.unique(np.quantile(values, np.concatenate(shares)))
        self._normal = np.zeros(len(self._levels) + 1)
        self._defect = np.zeros_like(self._normal)
        self._found = np.zeros_like(self._normal)
        self.regions = 0
        """Connected parts of the masks so far."""

    def add(self, one: np.ndarray, mask: np.ndarray | None = None) -> None:
        """A map ``(h, w)`` and its mask, of one size; without a mask all of it is normal.

        Raises
        ------
        InputError : of different sizes.
        """
        if mask is not None and mask.shape != one.shape:
            raise InputError(f"a mask of {mask.shape} for a map of {one.shape}")
        at = np.searchsorted(self._levels, one, side="right")
        defect = np.zeros(one.shape, bool) if mask is None else np.asarray(mask, bool)
        self._normal += self._counted(at[~defect])
        if not defect.any():
            return
        self._defect += self._counted(at[defect])
        regions, count = label(defect, _EIGHT)
        sizes = np.bincount(regions.ravel())
        weights = 1 / sizes[regions[defect]]
        self._found += np.bincount(at[defect], weights, minlength=len(self._found))
        self.regions += int(count)

    def _counted(self, at: np.ndarray) -> np.ndarray:
        return np.bincount(at, minlength=len(self._normal))

    def metrics(self) -> PixelMetrics:
        """Of all that was added.

        Raises
        ------
        InputError : no pixel of a defect, or no normal one.
        """
        if not (self.regions and self._normal.sum()):
            raise InputError("pixel metrics need pixels of defects and normal ones")
        below = np.concatenate([[0], np.cumsum(self._normal)[:-1]]) + self._normal / 2
        auroc = float((self._defect * below).sum() / (self._defect.sum() * self._normal.sum()))
        # from the highest level down
        false, found = (
            np.concatenate([[0.0], np.cumsum(counts[::-1]) / total])
            for counts, total in (
                (self._normal, self._normal.sum()),
                (self._found, float(self.regions)),
            )
        )
        return PixelMetrics(
            auroc=auroc,
            aupro=_area(false, found, LIMIT) / LIMIT,
            recall=_at(0.01, false, found),
            regions=self.regions,
        )


def _area(false: np.ndarray, found: np.ndarray, limit: float) -> float:
    """Under the curve of straight lines up to ``limit``."""
    inside = false < limit
    x, y = np.append(false[inside], limit), np.append(found[inside], _at(limit, false, found))
    return float(np.trapezoid(y, x))


def _at(rate: float, false: np.ndarray, found: np.ndarray) -> float:
    """The curve at a rate: where it rises straight up, its top."""
    after = int(np.searchsorted(false, rate, side="right"))
    if after == len(false):
        return float(found[-1])
    share = (rate - false[after - 1]) / (false[after] - false[after - 1])
    return float(found[after - 1] + share * (found[after] - found[after - 1]))
