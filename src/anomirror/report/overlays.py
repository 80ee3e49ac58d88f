"""Where an image is odd, drawn over the image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

SIDES = (256, 1024)
"""Longest side of an overlay: smaller images are enlarged, larger ones reduced."""
LIMIT = 2.0
"""Deviation at which the colour is full."""
SOFTWARE = "anomirror map"
"""What the PNG says that wrote it: only such files are ever overwritten."""

_STRIP = 64
_COLD, _HOT = np.array([255, 220, 0], np.float32), np.array([220, 0, 40], np.float32)


def overlay(picture: np.ndarray, deviations: np.ndarray) -> Image.Image:
    """An image in grey with its deviations in yellow to red over it, and a scale next to it.

    Parameters
    ----------
    image : ``(h, w)`` or ``(h, w, 3)`` uint8.
    deviations : ``(h, w)`` float, 0 where the image is normal: see ``Detector.explain``.

    Returns
    -------
    RGB; the image takes its left part, and its longest side has 256 to 1024 pixels.
    """
    height, width = deviations.shape
    scale = min(max(1.0, SIDES[0] / max(height, width)), SIDES[1] / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = np.asarray(
        Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BILINEAR), np.float32
    )
    heat = Image.fromarray(deviations.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    strength = (np.asarray(heat) / LIMIT).clip(0, 1)
    drawn = _coloured(np.repeat(grey[..., None], 3, 2), strength)
    whole = Image.new("RGB", (size[0] + _STRIP, max(size[1], 96)), "white")
    whole.paste(Image.fromarray(drawn.round().astype(np.uint8)), (0, 0))
    _draw_scale(whole, size[0])
    return whole


def _coloured(base: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """``(h, w, 3)`` under a colour from yellow to red that hides it the more, the stronger it
    is.
    """
    strength = strength[..., None]
    colour = _COLD + (_HOT - _COLD) * strength
    opacity = 0.85 * np.sqrt(strength)
    return np.asarray(base * (1 - opacity) + colour * opacity)


def _draw_scale(whole: Image.Image, left: int) -> None:
    """A bar from 0 to the limit."""
    top, bottom = 16, whole.height - 16
    steps = np.linspace(1, 0, bottom - top, dtype=np.float32)[:, None].repeat(12, 1)
    bar = _coloured(np.full((*steps.shape, 3), 128, np.float32), steps)
    whole.paste(Image.fromarray(bar.round().astype(np.uint8)), (left + 8, top))
    draw = ImageDraw.Draw(whole)
    for value, y in ((LIMIT, top), (LIMIT / 2, (top + bottom) // 2), (0.0, bottom)):
        label = f"{value:g}x" if value else "normal"
        draw.text((left + 24, min(max(0, y - 6), whole.height - 12)), label, fill="black")


def as_ours() -> PngImagePlugin.PngInfo:
    """What is written into a map's file, so that it is known as one."""
    information = PngImagePlugin.PngInfo()
    information.add_text("Software", SOFTWARE)
    return information


def is_ours(file: str) -> bool:
    """Whether a file is a map that this package wrote."""
    try:
        with Image.open(file) as picture:
            return picture.info.get("Software") == SOFTWARE
    except OSError:
        return False
