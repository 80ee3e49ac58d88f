"""Many images on one sheet, each with a line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SIDE, COLUMNS, LINE, GAP = 160, 8, 14, 8
"""Of a thumbnail and of the sheet, in pixels; images in a row."""


def contact_sheet(images: Sequence[np.ndarray], captions: Sequence[str]) -> Image.Image:
    """RGB: ``(h, w)`` or ``(h, w, 3)`` uint8 images, eight in a row, their captions below them."""
    rows = -(-len(images) // COLUMNS)
    columns = min(COLUMNS, max(1, len(images)))
    cell = SIDE + GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (columns * cell[0] + GAP, max(1, rows) * cell[1] + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        left = GAP + place % COLUMNS * cell[0]
        top = GAP + place // COLUMNS * cell[1]
        thumbnail = Image.fromarray(pixels).convert("RGB")
        scale = SIDE / max(thumbnail.size)
        size = max(1, round(thumbnail.width * scale)), max(1, round(thumbnail.height * scale))
        thumbnail = thumbnail.resize(size, Image.Resampling.BILINEAR)
        sheet.paste(thumbnail, (left, top))
        draw.text((left, top + SIDE + 1), caption, fill="black")
    return sheet
