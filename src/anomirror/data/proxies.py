"""Proxy anomalies: what our defaults are tuned on, in place of the anomalies of a published table.

docs/stability.md says how far that held.

Generated shapes and noises, light on dark for one channel; Omniglot's background half, as it is and
in bold.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, grey_dilation

VISIBLE, ATTEMPTS = 32, 50
"""A defect changes some pixel by as many grey levels; and how often that is tried."""


def shapes(count: int, size: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """``(count, size, size, channels)`` uint8.

    One to three filled or outlined polygons, ellipses and lines on black.
    """
    rng = np.random.default_rng(seed)
    scale = 4  # drawn larger and reduced: anti-aliased
    out = np.empty((count, size, size, channels), np.uint8)
    for index in range(count):
        canvas = Image.new("RGB", (size * scale, size * scale))
        draw = ImageDraw.Draw(canvas)
        for _ in range(rng.integers(1, 4)):
            colour = (
                tuple(int(v) for v in rng.integers(90, 256, 3))
                if channels == 3
                else (int(rng.integers(90, 256)),) * 3
            )
            points = [(float(x), float(y)) for x, y in rng.uniform(0.1, 0.9, (3, 2)) * size * scale]
            width = int(rng.integers(1, 4)) * scale
            match int(rng.integers(4)):
                case 0:
                    draw.polygon(points, fill=colour)
                case 1:
                    draw.line([*points, points[0]], fill=colour, width=width)
                case 2:
                    (x0, y0), (x1, y1), _ = points
                    draw.ellipse(
                        (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)),
                        outline=colour,
                        width=width,
                    )
                case _:
                    draw.line(points[:2], fill=colour, width=width)
        small = np.asarray(canvas.resize((size, size), Image.Resampling.BOX))
        out[index] = small[..., :channels]
    return out


def noises(count: int, size: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """``(count, size, size, channels)`` uint8.

    Uniform noise, smoothed by nothing to a quarter of the side, any contrast.
    """
    rng = np.random.default_rng(seed)
    out = np.empty((count, size, size, channels), np.uint8)
    for index in range(count):
        field = gaussian_filter(
            rng.normal(size=(size, size, channels)), (*[rng.uniform(0, size / 4)] * 2, 0)
        )
        field = (field - field.min()) / max(np.ptp(field), 1e-9)
        out[index] = (field * rng.uniform(60, 255)).astype(np.uint8)
    return out


def bold(drawings: np.ndarray) -> np.ndarray:
    """Light drawings ``(n, h, w)`` uint8 with every stroke a pixel wider."""
    return np.asarray(grey_dilation(drawings, size=(1, 2, 2)))


def defects(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images ``(n, h, w)`` or ``(n, h, w, c)`` uint8 with one local defect each.

    A scratch, a spot, or a patch of another.
    """
    return defects_and_masks(images, seed)[0]


def defects_and_masks(images: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`defects`, and where they are, ``(n, h, w)`` bool: what is drawn at least a tenth
    opaque, all of a patch.
    """
    rng = np.random.default_rng(seed)
    height, width = images.shape[1:3]
    out = images.reshape(len(images), height, width, -1).astype(np.float64)
    masks = np.zeros((len(images), height, width), bool)
    for index, picture in enumerate(out):
        whole = picture.copy()
        for _ in range(ATTEMPTS):
            picture[:] = whole
            match index % 3:
                case 0:
                    masks[index] = _mix(picture, rng.uniform(0, 255), _scratch(height, width, rng))
                case 1:
                    masks[index] = _mix(picture, rng.uniform(0, 255), _spot(height, width, rng))
                case _:
                    other = images[(index + rng.integers(1, len(images))) % len(images)]
                    masks[index] = _paste(picture, other.reshape(picture.shape), rng)
            if np.abs(picture - whole).max() >= VISIBLE:
                break  # black on black is no defect
    return np.rint(out).astype(np.uint8).reshape(images.shape), masks


def _mix(picture: np.ndarray, tone: float, opacity: np.ndarray) -> np.ndarray:
    """Draw, and say where."""
    picture += (tone - picture) * opacity[..., None]
    return opacity >= 0.1


def _scratch(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A thin line of two parts, a third to two thirds of the side long, anti-aliased."""
    scale = 4
    canvas = Image.new("L", (width * scale, height * scale))
    start, angle = rng.uniform(0.2, 0.8, 2), rng.uniform(0, 2 * np.pi)
    points = [start]
    for bend in (0.0, rng.normal(0, 0.5)):
        points.append(
            points[-1]
            + rng.uniform(0.15, 0.35) * np.array([np.cos(angle + bend), np.sin(angle + bend)])
        )
    corners = [(float(x * width * scale), float(y * height * scale)) for x, y in points]
    ImageDraw.Draw(canvas).line(corners, fill=255, width=round(rng.uniform(1, 2) * scale))
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX), float) / 255


def _spot(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A soft ellipse of a tenth to a third of the side, up to opaque."""
    y, x = (np.arange(side)[:, None] / side - rng.uniform(0.2, 0.8) for side in (height, width))
    across, along = rng.uniform(0.05, 0.17, 2)
    return np.asarray(
        rng.uniform(0.5, 1) * np.exp(-(((y / across) ** 2 + (x.T / along) ** 2) ** 2))
    )


def _paste(picture: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set in a rectangle of an eighth to a third of each side of another image, and say where."""
    sides = [max(2, int(side * rng.uniform(0.125, 0.34))) for side in picture.shape[:2]]
    (y, x), (from_y, from_x) = (
        [
            int(rng.integers(0, whole - side + 1))
            for whole, side in zip(picture.shape[:2], sides, strict=True)
        ]
        for _ in range(2)
    )
    place = slice(y, y + sides[0]), slice(x, x + sides[1])
    picture[place] = other[from_y : from_y + sides[0], from_x : from_x + sides[1]]
    mask = np.zeros(picture.shape[:2], bool)
    mask[place] = True
    return mask
