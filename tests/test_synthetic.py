"""Made-up anomalies: what is changed of an image, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from anomirror.synthetic import KINDS, VISIBLE, made_up
from tests.first_hour.conftest import tiles

LOCAL = ("cut_paste", "scar", "spot", "noise", "blend")
"""Kinds that change a part of an image."""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """``(20, 1, 48, 48)`` uint8."""
    return tiles(20)[:, None]


@pytest.mark.parametrize("kind", KINDS)
def test_anomalies_are_seeded_visible_and_of_the_type_of_the_images(
    images: np.ndarray, kind: str
) -> None:
    before = images.copy()
    made = made_up(images, kind)
    assert (made.shape, made.dtype) == (images.shape, np.uint8)
    assert_array_equal(images, before)
    assert_array_equal(made, made_up(images, kind))
    assert not np.array_equal(made, made_up(images, kind, seed=1))
    changes = np.abs(made.astype(int) - images).max((1, 2, 3))
    assert (changes >= 255 * VISIBLE - 1).mean() > 0.8
    floats = made_up(images / 255, kind)
    assert np.abs(floats * 255 - made).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("kind", LOCAL)
def test_a_defect_leaves_most_of_the_image_as_it_was(images: np.ndarray, kind: str) -> None:
    changed = (made_up(images, kind) != images).any(1)
    assert 0 < changed.mean() < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_touched_and_colour_stays_colour(kind: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    boxes = [(4, 0, 24, 32), (0, 5, 32, 20), (0, 0, 32, 32)] * 2  # of other shapes
    made = made_up(images, kind, boxes=boxes)
    for image, was, (top, left, height, width) in zip(made, images, boxes, strict=True):
        outside = np.ones((32, 32), bool)
        outside[top : top + height, left : left + width] = False
        assert_array_equal(image[:, outside], was[:, outside])
        assert (image != was).any()


def test_a_quarter_turn_is_a_quarter_turn(images: np.ndarray) -> None:
    for made, image in zip(made_up(images, "rotation"), images, strict=True):
        assert any(np.array_equal(made, np.rot90(image, k, (1, 2))) for k in (1, 2, 3))


def test_shuffled_quarters_hold_the_same_pixels_elsewhere(images: np.ndarray) -> None:
    for made, image in zip(made_up(images, "shuffle"), images, strict=True):
        assert_array_equal(np.sort(made.ravel()), np.sort(image.ravel()))
        assert not np.array_equal(made, image)


def test_black_images_stay_without_an_endless_search() -> None:
    black = np.zeros((3, 1, 16, 16), np.uint8)
    assert_array_equal(made_up(black, "cut_paste"), black)
