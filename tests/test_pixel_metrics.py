"""Pixel AUROC, AUPRO and recall of regions, by hand and next to scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from anomirror.errors import InputError
from anomirror.pixel_metrics import LIMIT, PixelCounts, PixelMetrics


def measured(*pairs: tuple[np.ndarray, np.ndarray | None]) -> PixelMetrics:
    counts = PixelCounts(np.concatenate([one.ravel() for one, _ in pairs]))
    for one, mask in pairs:
        counts.add(one, mask)
    return counts.metrics()


def test_two_regions_by_hand() -> None:
    """Of ten normal pixels; a region of four is found whole before any, one of two half."""
    one = np.zeros((4, 4))
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = mask[3, 2:] = True
    one[:2, :2] = 9
    one[3, 2], one[3, 3] = 8, -1
    normal = np.flatnonzero(~mask)
    one.ravel()[normal] = np.arange(10) / 10  # .9 is the first false positive
    found = measured((one, mask))
    assert found.regions == 2
    # five of six defect pixels are above all normal ones, one is below all
    assert found.auroc == pytest.approx(5 / 6)
    # from no false positive on (4 / 4 + 1 / 2) / 2 is found, up to 30 % no more
    assert found.aupro == pytest.approx(0.75)
    assert found.recall == pytest.approx(0.75)


def test_regions_count_alike_however_large_and_touch_at_corners() -> None:
    mask = np.zeros((12, 12), bool)
    mask[:6, :6] = True  # found
    mask[6, 6] = True  # of the same region, by its corner
    mask[11, 0] = True  # of one pixel, not found
    one = np.where(mask, 5.0, 1.0)
    one[11, 0] = 0
    found = measured((one, mask), (np.ones((12, 12)), None))
    assert found.regions == 2
    assert found.recall == pytest.approx(0.5, abs=0.01)


def test_a_map_of_no_use_has_half() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((200, 200), bool)
    mask[20:60, 50:90] = True
    found = measured((rng.normal(size=mask.shape), mask))
    assert found.auroc == pytest.approx(0.5, abs=0.03)
    assert found.aupro == pytest.approx(LIMIT / 2, abs=0.03)
    flat = measured((np.ones(mask.shape), mask))
    assert flat.auroc == 0.5
    assert flat.aupro == pytest.approx(LIMIT / 2)


def test_it_is_scikit_learn_s_auroc_and_the_definition_of_aupro() -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(6, 60, 60)) ** 3
    masks = np.zeros(maps.shape, bool)
    for index, (top, left, side) in enumerate([(0, 0, 9), (30, 20, 3), (50, 50, 10), (5, 40, 20)]):
        masks[index, top : top + side, left : left + side] = True
    masks[3, 40:42, 40:50] = True
    maps[masks] += 1.5
    found = measured(*zip(maps, masks, strict=True))
    assert found.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-3)
    regions = regions_of(masks)
    every = np.sort(maps.ravel())[::-1]
    normal = maps[~masks]
    rates, shares = [0.0], [0.0]
    for threshold in every[::20]:
        rates.append(float((normal >= threshold).mean()))
        shares.append(
            float(np.mean([(maps[at][region] >= threshold).mean() for at, region in regions]))
        )
    inside = np.array(rates) < LIMIT
    x = np.append(np.array(rates)[inside], LIMIT)
    y = np.append(np.array(shares)[inside], np.interp(LIMIT, rates, shares))
    assert found.aupro == pytest.approx(np.trapezoid(y, x) / LIMIT, abs=3e-3)
    assert found.recall == pytest.approx(np.interp(0.01, rates, shares), abs=1e-2)


def _regions(mask: np.ndarray) -> list[np.ndarray]:
    numbers, count = label(mask, np.ones((3, 3)))
    return [numbers == number for number in range(1, count + 1)]


def regions_of(masks: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(at, region) for at, mask in enumerate(masks) for region in _regions(mask)]


def test_the_highest_values_are_told_apart_where_most_are_nothing() -> None:
    """A clamped map, as of an image that is usual: its few high pixels decide."""
    rng = np.random.default_rng(2)
    one = np.zeros((500, 500))
    lit = rng.random(one.shape) < 0.001
    one[lit] = rng.uniform(0, 1, lit.sum())
    mask = np.zeros(one.shape, bool)
    mask[100:110, 100:110] = True
    one[mask] = 0.9
    found = measured((one, mask))
    share = float((one[~mask] > 0.9).mean())
    assert share < 2e-4
    assert found.auroc == pytest.approx(1 - share, abs=1e-5)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(np.zeros((3, 3)), np.zeros((3, 4), bool))], r"a mask of \(3, 4\) for a map of \(3, 3\)"),
        ([(np.zeros((3, 3)), None)], "need pixels of defects and normal ones"),
        ([(np.zeros((3, 3)), np.ones((3, 3), bool))], "need pixels of defects and normal ones"),
        ([(np.full((3, 3), np.nan), None)], "finite"),
    ],
)
def test_what_has_no_figure_is_refused(
    pairs: list[tuple[np.ndarray, np.ndarray | None]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        measured(*pairs)
