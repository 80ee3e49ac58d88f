"""Made-up anomalies: normal images with something done to them, to compare methods by where no real
anomaly is at hand.

They are no substitute for real ones: which method finds these best tells which finds real ones best
only roughly (docs/choosing.md says how roughly).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy.ndimage import gaussian_filter

VISIBLE, ATTEMPTS = 24 / 255, 20
"""Some pixel changes by so much of the range of grey levels; and how often that is tried."""

Kind = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""An image and another normal one of its shape, ``(c, h, w)`` in [0, 1], to an anomaly."""


def cut_paste(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rectangle of 2 to 15 % of the area, from elsewhere in the image (CutPaste, arXiv
    2104.04015).
    """
    area, aspect = rng.uniform(0.02, 0.15), math.exp(rng.uniform(-1.2, 1.2))
    height, width = (
        int(np.clip(round(side * math.sqrt(area * ratio)), 2, side))
        for side, ratio in zip(x.shape[1:], (aspect, 1 / aspect), strict=True)
    )
    (top, left), (from_top, from_left) = (_corner(x, height, width, rng) for _ in range(2))
    out = x.copy()
    patch = x[:, from_top : from_top + height, from_left : from_left + width]
    out[:, top : top + height, left : left + width] = patch
    return out


def scar(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A thin turned stripe of pixels from elsewhere in the image, up to a third of the side long
    (CutPaste-Scar).
    """
    along, across = _turned(x, rng)
    half = rng.uniform(0.05, 0.17), max(rng.uniform(0.006, 0.03), 0.7 / min(x.shape[1:]))
    stripe = (np.abs(along) <= half[0]) & (np.abs(across) <= half[1])
    shift = [int(rng.integers(side)) for side in x.shape[1:]]
    return np.where(stripe, np.roll(x, shift, (1, 2)), x)


def spot(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A soft ellipse of one tone, up to a third of the side across."""
    tone = rng.uniform(0, 1, (len(x), 1, 1))
    return np.asarray(x + (tone - x) * rng.uniform(0.5, 1) * _blob(x, rng))


def noise(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A soft ellipse in which there is noise."""
    grain = rng.normal(0, rng.uniform(0.1, 0.5), x.shape)
    return np.asarray(np.clip(x + grain * _blob(x, rng), 0, 1))


def blend(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A soft ellipse of another normal image."""
    return np.asarray(x + (other - x) * rng.uniform(0.5, 1) * _blob(x, rng))


def shuffle(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Its quarters in another order."""
    height, width = x.shape[1] // 2, x.shape[2] // 2
    corners = [(top, left) for top in (0, height) for left in (0, width)]
    order = rng.permutation(4)
    while (order == np.arange(4)).all():
        order = rng.permutation(4)
    out = x.copy()
    for (top, left), source in zip(corners, order.tolist(), strict=True):
        from_top, from_left = corners[source]
        out[:, top : top + height, left : left + width] = x[
            :, from_top : from_top + height, from_left : from_left + width
        ]
    return out


def rotation(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned by one, two or three quarters; of an image that is not square, by two."""
    turns = int(rng.integers(1, 4)) if x.shape[1] == x.shape[2] else 2
    return np.rot90(x, turns, (1, 2))


def blur(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurred by 2 to 6 % of the side."""
    sigma = rng.uniform(0.02, 0.06) * min(x.shape[1:])
    return np.asarray(gaussian_filter(x, (0, sigma, sigma)))


def mix(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A third to a half of it is another normal image."""
    return np.asarray(x + (other - x) * rng.uniform(1 / 3, 1 / 2))


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (cut_paste, scar, spot, noise, blend, shuffle, rotation, blur, mix)
}
"""By name."""


def made_up(
    images: np.ndarray,
    kind: str,
    *,
    seed: int = 0,
    boxes: Iterable[tuple[int, int, int, int]] | None = None,
) -> np.ndarray:
    """Made-up anomalies of one kind, one of each normal image.

    Parameters
    ----------
    images : ``(n, c, h, w)`` uint8, or float in [0, 1]; at least two.
    kind : a name in :data:`KINDS`.
    boxes : top, left, height and width of what of each image is no padding; None: all of it.

    Returns
    -------
    Of the shape and type of ``images``. An image of which nothing can be made that is visible (a
    black one, say) stays nearly as it is.
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    whole = images.shape[0], *images.shape[2:]
    places = [(0, 0, *whole[1:])] * whole[0] if boxes is None else list(boxes)
    top_level = 255.0 if images.dtype == np.uint8 else 1.0
    out = images.copy()
    for index, place in enumerate(places):
        other = (index + int(rng.integers(1, len(images)))) % len(images)
        x, another = (_inner(images[i], places[i]) / top_level for i in (index, other))
        another = _of_size(another, x.shape[1], x.shape[2])
        made = x
        for _ in range(ATTEMPTS):
            made = KINDS[kind](x, another, rng)
            if np.abs(made - x).max() >= VISIBLE:
                break
        scaled = np.rint(made * top_level) if images.dtype == np.uint8 else made
        _inner(out[index], place)[...] = scaled
    return out


def _inner(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    top, left, height, width = box
    return image[:, top : top + height, left : left + width]


def _of_size(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The nearest pixels of an image of perhaps another size."""
    rows, columns = (
        np.arange(n) * of // n for n, of in ((height, image.shape[1]), (width, image.shape[2]))
    )
    return image[:, rows][:, :, columns]


def _corner(x: np.ndarray, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(x.shape[1] - height + 1)), int(rng.integers(x.shape[2] - width + 1))


def _turned(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates around a random place, turned by a random angle, in sides of the image."""
    rows, columns = (
        (np.arange(side) + 0.5) / side - rng.uniform(0.15, 0.85) for side in x.shape[1:]
    )
    angle = rng.uniform(0, math.pi)
    along = math.cos(angle) * columns[None] + math.sin(angle) * rows[:, None]
    across = math.cos(angle) * rows[:, None] - math.sin(angle) * columns[None]
    return along, across


def _blob(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A soft turned ellipse, ``(h, w)`` in [0, 1]."""
    along, across = _turned(x, rng)
    length, breadth = rng.uniform(0.05, 0.17, 2)
    return np.asarray(np.exp(-(((along / length) ** 2 + (across / breadth) ** 2) ** 2)))
