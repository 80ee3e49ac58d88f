"""Every kind of file: how it is made, and what reading its folder should do."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import tifffile
from PIL import Image

SIDE = 48
GREY = np.add.outer(2 * np.arange(SIDE), 3 * np.arange(SIDE)).astype(np.uint8)
"""No two corners alike, so that a turn shows."""
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], 2)
DEEP = GREY.astype(np.uint16) * 257

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A file, or several, and what comes of it."""

    name: str
    make: Make
    images: int = 1
    expected: np.ndarray | None = None
    """Pixels of the first image, ``(h, w)`` or ``(h, w, 3)``, of 8 bits or 16; None: any."""
    tolerance: float = 0
    """Of the mean absolute difference, in grey levels of 256."""
    refused: str = ""
    """What the error says where it cannot be read."""
    left_out: str = ""
    """What is said where it is passed over."""


def _save(name: str, array: np.ndarray, mode: str | None = None, **how: Any) -> Make:
    def make(folder: Path) -> None:
        picture = Image.fromarray(array)
        (picture if mode is None else picture.convert(mode)).save(folder / name, **how)

    return make


def _bytes(name: str, content: bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(content)


def _cut(name: str, share: float, **how: Any) -> Make:
    def make(folder: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        _save(name, noise, **how)(folder)
        file = folder / name
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    return make


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _several(name: str, *frames: np.ndarray, **how: Any) -> Make:
    def make(folder: Path) -> None:
        first, *more = (Image.fromarray(frame) for frame in frames)
        first.save(folder / name, save_all=True, append_images=more, **how)

    return make


def _tiff(name: str, array: np.ndarray, **how: Any) -> Make:
    return lambda folder: tifffile.imwrite(folder / name, array, **how)


def _png_16_bit_colour(folder: Path) -> None:
    rows = (COLOUR.astype(">u2") * 257).tobytes()
    row = SIDE * 6
    raw = b"".join(b"\0" + rows[at : at + row] for at in range(0, len(rows), row))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)}
    _png(folder / "a.png", chunks | {b"IDAT": zlib.compress(raw), b"IEND": b""})


def _bomb(folder: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    _png(folder / "a.png", {b"IHDR": header, b"IDAT": zlib.compress(b"\0" * 9), b"IEND": b""})


def _png(file: Path, chunks: dict[bytes, bytes]) -> None:
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _heic(folder: Path) -> None:
    pillow_heif.from_pillow(Image.fromarray(COLOUR)).save(folder / "a.heic", quality=100)


def _pyramid(folder: Path) -> None:
    with tifffile.TiffWriter(folder / "a.tif") as writer:
        writer.write(GREY)
        writer.write(GREY[::2, ::2], subfiletype=1)


def _thumbnail_first(folder: Path) -> None:
    small, large, mask = (Image.fromarray(each) for each in (GREY[::2, ::2], GREY, GREY))
    for picture, kind in ((large, 0), (mask, 4)):
        picture.encoderinfo = {"tiffinfo": {254: kind}}  # type: ignore[attr-defined]
    small.save(folder / "a.tif", save_all=True, append_images=[large, mask], tiffinfo={254: 1})


def _turned_tiff(number: int, compression: str | None) -> Kind:
    stored = np.ascontiguousarray(_TURNED[number])
    exif = Image.Exif()
    exif[0x0112] = number
    make = _save("a.tif", stored, exif=exif, compression=compression)
    return Kind(f"tiff of orientation {number}, {compression}", make, expected=WIDE)


def _photo_with_preview(folder: Path) -> None:
    first, second = (Image.fromarray(each) for each in (COLOUR, COLOUR[::2, ::2]))
    first.save(folder / "a.jpg", "MPO", save_all=True, append_images=[second], quality=100)


def _link(folder: Path) -> None:
    target = folder.parent / "elsewhere.png"
    Image.fromarray(GREY).save(target)
    (folder / "a.png").symlink_to(target)


def _named(name: str) -> Kind:
    return Kind(f"name {name[:20]!r}", _save(name, GREY), expected=GREY)


def _beside(name: str, content: bytes, said: str) -> Kind:
    return Kind(f"sidecar {name}", _bytes(name, content), images=0, left_out=said)


WIDE = GREY[:40]
_TURNED = {
    1: WIDE,
    2: WIDE[:, ::-1],
    3: WIDE[::-1, ::-1],
    4: WIDE[::-1],
    5: WIDE.T,
    6: np.rot90(WIDE),
    7: WIDE[::-1, ::-1].T,
    8: np.rot90(WIDE, -1),
}
"""What is stored so that it is upright at each orientation."""

KINDS = [
    # modes and depths
    Kind("png of 1 bit", _save("a.png", GREY > 100), expected=255 * (GREY > 100)),
    Kind("grey png", _save("a.png", GREY), expected=GREY),
    Kind("grey png with alpha", _save("a.png", GREY, "LA"), expected=GREY),
    Kind("colour png", _save("a.png", COLOUR), expected=COLOUR),
    Kind("colour png with alpha", _save("a.png", COLOUR, "RGBA"), expected=COLOUR),
    Kind("png with a palette", _save("a.png", COLOUR, "P"), tolerance=20, expected=COLOUR),
    Kind("png with a transparent colour", _save("a.png", GREY, transparency=0), expected=GREY),
    Kind("16-bit grey png", _save("a.png", DEEP), expected=DEEP),
    Kind("16-bit colour png", _png_16_bit_colour, refused="16-bit colour"),
    Kind("grey jpeg", _save("a.jpg", GREY, quality=100), expected=GREY, tolerance=0.5),
    Kind("colour jpeg", _save("a.jpg", COLOUR, quality=100), expected=COLOUR, tolerance=2),
    Kind("progressive jpeg", _save("a.jpeg", GREY, progressive=True), expected=GREY, tolerance=2),
    Kind("cmyk jpeg", _save("a.jpg", COLOUR, "CMYK"), expected=COLOUR, tolerance=2),
    Kind("jfif", _save("a.jfif", GREY, format="JPEG"), expected=GREY, tolerance=2),
    Kind("photo with a preview", _photo_with_preview, expected=COLOUR, tolerance=2),
    Kind("grey bmp", _save("a.bmp", GREY), expected=GREY),
    Kind("colour bmp", _save("a.bmp", COLOUR), expected=COLOUR),
    Kind(
        "bmp of 160 columns",
        _save("a.bmp", np.tile(GREY, (1, 4))[:, :160]),
        expected=np.tile(GREY, (1, 4))[:, :160],
    ),
    Kind("bmp of 1 bit", _save("a.bmp", GREY > 100), expected=255 * (GREY > 100)),
    Kind("pgm", _save("a.pgm", GREY), expected=GREY),
    Kind("ppm", _save("a.ppm", COLOUR), expected=COLOUR),
    Kind("16-bit pgm", _save("a.pgm", DEEP), expected=DEEP),
    Kind("webp", _save("a.webp", COLOUR, lossless=True), expected=COLOUR),
    Kind("lossy webp", _save("a.webp", COLOUR, quality=90), expected=COLOUR, tolerance=2),
    Kind("avif", _save("a.avif", COLOUR, quality=95), expected=COLOUR, tolerance=2),
    Kind("jpeg 2000", _save("a.jp2", COLOUR), expected=COLOUR, tolerance=2),
    Kind("heic", _heic, expected=COLOUR, tolerance=2),
    Kind("gif", _save("a.gif", GREY), expected=GREY, tolerance=0.5),
    # tiff
    Kind("tiff", _tiff("a.tif", GREY), expected=GREY),
    Kind("colour tiff", _tiff("a.tiff", COLOUR, photometric="rgb"), expected=COLOUR),
    Kind("tiff, deflated", _tiff("a.tif", GREY, compression="zlib"), expected=GREY),
    Kind("tiff, lzw", _save("a.tif", GREY, compression="tiff_lzw"), expected=GREY),
    Kind("tiff, packbits", _save("a.tif", GREY, compression="packbits"), expected=GREY),
    Kind("tiled tiff", _tiff("a.tif", GREY, tile=(16, 16)), expected=GREY),
    Kind("big-endian tiff", _tiff("a.tif", GREY, byteorder=">"), expected=GREY),
    Kind("bigtiff", _tiff("a.tif", GREY, bigtiff=True), expected=GREY),
    Kind("cmyk tiff", _save("a.tif", COLOUR, "CMYK"), expected=COLOUR, tolerance=0.5),
    Kind("16-bit tiff", _tiff("a.tif", DEEP), expected=DEEP),
    Kind(
        "16-bit colour tiff",
        _tiff("a.tif", COLOUR.astype(np.uint16) * 257, photometric="rgb"),
        expected=COLOUR.astype(np.uint16) * 257,
    ),
    Kind("float tiff", _tiff("a.tif", GREY / np.float32(255)), refused="32-bit float"),
    Kind("smaller copy in a tiff", _pyramid, expected=GREY),
    Kind("smaller copy first, mask last", _thumbnail_first, expected=GREY),
    # several images
    Kind("pages of a tiff", _several("a.tif", GREY, GREY[::-1]), images=2, expected=GREY),
    Kind("frames of a gif", _several("a.gif", GREY, GREY[::-1]), images=2),
    Kind(
        "frames of a webp",
        _several("a.webp", COLOUR, COLOUR[::-1], lossless=True),
        images=2,
        expected=COLOUR,
    ),
    Kind("frames of a png", _several("a.png", GREY, GREY[::-1]), expected=GREY),
    # sizes
    Kind("one pixel", _save("a.png", GREY[:1, :1]), expected=GREY[:1, :1]),
    Kind("a line", _save("a.png", GREY[:1]), expected=GREY[:1]),
    Kind("a bomb", _bomb, refused="3,600 megapixels, more than"),
    # damaged
    Kind("nothing in it", _bytes("a.png", b""), refused="not an image"),
    Kind("text called png", _bytes("a.png", b"hello"), refused="not an image"),
    Kind("a web page called jpg", _bytes("a.jpg", b"<html>404</html>"), refused="not an image"),
    Kind("half a png", _cut("a.png", 0.5), refused=r"a\.png: ."),
    Kind("half a jpeg", _cut("a.jpg", 0.5), refused=r"a\.jpg: ."),
    Kind("half a tiff", _cut("a.tif", 0.5), refused=r"a\.tif: ."),
    Kind("a tenth of a webp", _cut("a.webp", 0.1), refused=r"a\.webp: ."),
    Kind("half an avif", _cut("a.avif", 0.5), refused=r"a\.avif: ."),
    Kind("text called dcm", _bytes("a.dcm", b"hello"), refused="DICOM"),
    Kind("text called heic", _bytes("a.heic", b"hello"), refused=r"a\.heic: ."),
    # names
    Kind("png called jpg", _save("a.jpg", GREY, format="PNG"), expected=GREY),
    _named("A.PNG"),
    _named("a b.png"),
    _named("größe 部品.png"),
    _named("line\nbreak.png"),
    _named("a#3.png"),
    _named("-a.png"),
    _named("'quoted\".png"),
    _named("a.b.c.png"),
    _named(f"{'long' * 60}.png"),
    # what else lies in folders
    Kind("link to a file", _link, expected=GREY),
    Kind(
        "broken link",
        lambda folder: (folder / "a.png").symlink_to("nowhere"),
        images=0,
        left_out="1 broken link (a.png)",
    ),
    Kind(
        "link to itself",
        lambda folder: (folder / "a.png").symlink_to("a.png"),
        images=0,
        left_out="1 link that leads to itself (a.png)",
    ),
    Kind("folder called png", lambda folder: (folder / "a.png").mkdir(), images=0),
    Kind(
        "pipe", lambda folder: os.mkfifo(folder / "a.png"), images=0, left_out="1 no file (a.png)"
    ),
    _beside("Thumbs.db", b"x", "1 .db file (Thumbs.db)"),
    _beside(".DS_Store", b"x", "1 hidden (.DS_Store)"),
    _beside("._a.jpg", b"x", "1 hidden (._a.jpg)"),
    _beside("a.xmp", b"<x/>", "1 .xmp file (a.xmp)"),
    _beside("a.json", b"{}", "1 .json file (a.json)"),
    _beside("README", b"x", "1 file without a suffix (README)"),
    _beside("a.png.part", b"x", "1 .part file (a.png.part)"),
    _beside("a.zip", b"PK", "1 .zip file (a.zip)"),
    _beside("a.mp4", b"x", "1 .mp4 file (a.mp4)"),
    *(
        Kind(
            f"jpeg of orientation {number}",
            _save("a.jpg", np.ascontiguousarray(stored), quality=100, exif=_exif(number)),
            expected=WIDE,
            tolerance=0.5,
        )
        for number, stored in _TURNED.items()
    ),
    *(_turned_tiff(number, how) for number in _TURNED for how in (None, "tiff_lzw")),
]
"""All of them."""
