"""How many bits a lossless codec needs for an image: an estimate of its complexity that knows no normal images."""

from __future__ import annotations

import hashlib
import io
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from anomirror.errors import InputError, MissingDependencyError, SettingError

Picture = npt.NDArray[np.uint8]
"""``(h, w)`` or ``(h, w, 3)``."""

Codec = Callable[[Sequence[Picture]], list[int]]
"""Lengths in bytes of some pictures, each compressed for itself, without loss."""

_FLIF = """
const fs = require("fs"), path = require("path");
let folder;
try { folder = path.dirname(require.resolve("flif-wasm/lib/flif.js", { paths: [process.cwd()] })); }
catch { process.exit(3); }
const flif = require(path.join(folder, "flif.js"))({
  locateFile: file => path.join(folder, file), print: () => {}, quit: () => {}, noInitialRun: true });
flif.then(() => {
  for (let i = 0; i < Number(process.argv[2]); i++) {
    const from = path.join(process.argv[1], i + ".pnm"), to = from + ".flif";
    flif.callMain(["-e", "--overwrite", from, to]);
    console.log(fs.existsSync(to) ? fs.statSync(to).size : -1);
  }
});
"""


def _by_pillow(name: str, settings: dict[str, Any], pictures: Sequence[Picture]) -> list[int]:
    lengths = []
    for picture in pictures:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, name, **settings)
        lengths.append(stream.tell())
    return lengths


def _jpeg_xl(pictures: Sequence[Picture]) -> list[int]:
    try:
        import pillow_jxl  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("codec='jpeg-xl' needs pillow-jxl-plugin: pip install 'anomirror[codecs]'") from error
    return _by_pillow("JXL", {"lossless": True}, pictures)


def _flif(pictures: Sequence[Picture]) -> list[int]:
    """All pictures in one process of Node, by way of files."""
    node = shutil.which("node")
    if node is None:
        raise MissingDependencyError("codec='flif' needs Node.js, and there is no `node` on the path; or choose another codec")
    with tempfile.TemporaryDirectory() as folder:
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(Path(folder) / f"{index}.pnm", "PPM")
        done = subprocess.run([node, "-e", _FLIF, folder, str(len(pictures))], capture_output=True, text=True)
    if done.returncode == 3:
        raise MissingDependencyError(
            f"codec='flif' needs flif-wasm, and Node finds none from {Path.cwd()}: run `npm install flif-wasm` there, "
            "or name the folder above its node_modules in NODE_PATH"
        )
    lengths = [int(line) for line in done.stdout.split()]
    if done.returncode or len(lengths) != len(pictures) or min(lengths, default=1) < 1:
        raise InputError(f"codec='flif': Node ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return lengths


CODECS: dict[str, Codec] = {
    "png": partial(_by_pillow, "PNG", {"optimize": True}),
    "webp": partial(_by_pillow, "WEBP", {"lossless": True}),
    "jpeg-xl": _jpeg_xl,
    "flif": _flif,
}
"""Every codec by name. Another one is an entry here."""


@cache
def installed(codec: str) -> bool:
    """Whether a codec's program is there."""
    try:
        CODECS[codec]([np.zeros((8, 8), np.uint8)])
    except MissingDependencyError:
        return False
    return True


def check_codec(name: str) -> None:
    """Refuse a name that is not registered.

    Raises
    ------
    SettingError : with those that are.
    """
    if name not in CODECS:
        raise SettingError(f"codec={name!r}: choose one of {', '.join(CODECS)}")


def compressed_bits(pictures: Sequence[Picture], codec: str, cache_dir: Path | None = None) -> npt.NDArray[np.float64]:
    """L(x) in bits, ``(n,)``: 8 times the compressed bytes, headers included.

    What was compressed before is looked up in ``cache_dir``, by the picture's content, if one is given.

    Raises
    ------
    MissingDependencyError : the codec's program is not installed.
    """
    check_codec(codec)
    if cache_dir is None:
        return 8.0 * np.array(CODECS[codec](pictures), float)
    cache_dir.mkdir(parents=True, exist_ok=True)
    names = [hashlib.sha256(repr(p.shape).encode() + np.ascontiguousarray(p).tobytes()).digest()[:16] for p in pictures]
    with closing(sqlite3.connect(cache_dir / f"{codec}.sqlite", timeout=60)) as store:
        store.execute("CREATE TABLE IF NOT EXISTS lengths (picture BLOB PRIMARY KEY, bytes INTEGER) WITHOUT ROWID")
        found = {}
        for name in set(names):
            row = store.execute("SELECT bytes FROM lengths WHERE picture = ?", (name,)).fetchone()
            if row is not None:
                found[name] = row[0]
        new = {name: picture for name, picture in zip(names, pictures, strict=True) if name not in found}
        if new:
            found |= zip(new, CODECS[codec](list(new.values())), strict=True)
            with store:
                store.executemany("INSERT OR IGNORE INTO lengths VALUES (?, ?)", [(name, found[name]) for name in new])
    return 8.0 * np.array([found[name] for name in names], float)


def pictures(x: Tensor) -> list[Picture]:
    """Images ``(b, c, h, w)`` in [-1, 1] as pictures: grey, RGB, or with other numbers of channels one below the other."""
    values = ((x.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    if values.shape[1] == 3:
        return list(np.ascontiguousarray(values.transpose(0, 2, 3, 1)))
    return list(values.reshape(len(values), -1, values.shape[3]))
