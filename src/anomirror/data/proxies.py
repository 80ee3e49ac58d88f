"""Proxy anomalies: what our defaults are tuned on, in place of the anomalies of a published table.

docs/stability.md says how far that held.

Generated shapes and noises, light on dark for one channel; Omniglot's background half, as it is and in bold.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, grey_dilation


def shapes(count: int, size: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """``(count, size, size, channels)`` uint8: one to three filled or outlined polygons, ellipses and lines on black."""
    rng = np.random.default_rng(seed)
    scale = 4  # drawn larger and reduced: anti-aliased
    out = np.empty((count, size, size, channels), np.uint8)
    for index in range(count):
        canvas = Image.new("RGB", (size * scale, size * scale))
        draw = ImageDraw.Draw(canvas)
        for _ in range(rng.integers(1, 4)):
            colour = tuple(int(v) for v in rng.integers(90, 256, 3)) if channels == 3 else (int(rng.integers(90, 256)),) * 3
            points = [(float(x), float(y)) for x, y in rng.uniform(0.1, 0.9, (3, 2)) * size * scale]
            width = int(rng.integers(1, 4)) * scale
            match int(rng.integers(4)):
                case 0:
                    draw.polygon(points, fill=colour)
                case 1:
                    draw.line([*points, points[0]], fill=colour, width=width)
                case 2:
                    (x0, y0), (x1, y1), _ = points
                    draw.ellipse((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=colour, width=width)
                case _:
                    draw.line(points[:2], fill=colour, width=width)
        small = np.asarray(canvas.resize((size, size), Image.Resampling.BOX))
        out[index] = small[..., :channels]
    return out


def noises(count: int, size: int = 28, channels: int = 1, seed: int = 0) -> np.ndarray:
    """``(count, size, size, channels)`` uint8: uniform noise, smoothed by nothing to a quarter of the side, any contrast."""
    rng = np.random.default_rng(seed)
    out = np.empty((count, size, size, channels), np.uint8)
    for index in range(count):
        field = gaussian_filter(rng.normal(size=(size, size, channels)), (*[rng.uniform(0, size / 4)] * 2, 0))
        field = (field - field.min()) / max(np.ptp(field), 1e-9)
        out[index] = (field * rng.uniform(60, 255)).astype(np.uint8)
    return out


def bold(drawings: np.ndarray) -> np.ndarray:
    """Light drawings ``(n, h, w)`` uint8 with every stroke a pixel wider."""
    return np.asarray(grey_dilation(drawings, size=(1, 2, 2)))
