"""How many bits a lossless codec needs for an image.

An estimate of its complexity that knows no normal images.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, features
from torch import Tensor

from anomirror.errors import InputError, MissingDependencyError, SettingError

Picture = npt.NDArray[np.uint8]
"""``(h, w)`` or ``(h, w, 3)``."""

LONGEST = 3600
"""Seconds that another program may take for a batch."""


@dataclass(frozen=True)
class Codec:
    """A way to compress without loss."""

    lengths: Callable[[Sequence[Picture]], list[int]]
    """Bytes of some pictures, each compressed for itself."""
    version: Callable[[], str]
    """Of the program: another one may compress otherwise."""

    def require(self) -> None:
        """Compress something grey and something coloured.

        Raises
        ------
        MissingDependencyError : the program is not there; the message says how to get it.
        """
        noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        self.lengths([np.zeros((8, 8), np.uint8), noise])


_FLIF = """
const fs = require("fs"), path = require("path");
const [folder, pictures, count] = process.argv.slice(1);
const flif = require(path.join(folder, "flif.js"))({
  locateFile: file => path.join(folder, file),
  print: () => {}, quit: () => {}, noInitialRun: true });
flif.then(() => {
  for (let i = 0; i < Number(count); i++) {
    const from = path.join(pictures, i + ".pnm"), to = from + ".flif";
    flif.callMain(["-e", "--overwrite", from, to]);
    console.log(fs.existsSync(to) ? fs.statSync(to).size : -1);
  }
});
"""


def _by_pillow(name: str, settings: dict[str, object], pictures: Sequence[Picture]) -> list[int]:
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
        raise MissingDependencyError(
            "codec='jpeg-xl' needs pillow-jxl-plugin: pip install 'anomirror[codecs]'"
        ) from error
    return _by_pillow("JXL", {"lossless": True}, pictures)


def _flif_package() -> Path:
    """flif-wasm below a folder that NODE_PATH names by its whole path.

    Below the working folder files may be anybody's.
    """
    for folder in filter(os.path.isabs, os.environ.get("NODE_PATH", "").split(os.pathsep)):
        if (package := Path(folder) / "flif-wasm" / "lib" / "flif.js").is_file():
            return package.parent.parent
    raise MissingDependencyError(
        "codec='flif' needs flif-wasm: run `npm install flif-wasm` in a folder of yours, "
        "and name its node_modules, by the whole path, in NODE_PATH"
    )


def _flif(pictures: Sequence[Picture]) -> list[int]:
    """All pictures in one process of Node, by way of files."""
    node, package = shutil.which("node"), _flif_package()
    if node is None:
        raise MissingDependencyError(
            "codec='flif' needs Node.js, and there is no `node` on the path; or choose another "
            "codec"
        )
    with tempfile.TemporaryDirectory() as folder:
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(Path(folder) / f"{index}.pnm", "PPM")
        command = [node, "-e", _FLIF, str(package / "lib"), folder, str(len(pictures))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"codec='flif': Node took more than {LONGEST} seconds for {len(pictures)} pictures"
            ) from error
    lengths = [int(word) if word.isdigit() else 0 for word in done.stdout.split()]
    if done.returncode or len(lengths) != len(pictures) or min(lengths, default=1) < 1:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise InputError(
            f"codec='flif': Node ended with {done.returncode}: {said}; try another Node, or "
            "another codec"
        )
    return lengths


def _flif_version() -> str:
    return str(
        json.loads((_flif_package() / "package.json").read_text(encoding="utf-8"))["version"]
    )


CODECS: dict[str, Codec] = {
    "png": Codec(
        partial(_by_pillow, "PNG", {"optimize": True}), lambda: str(features.version("zlib"))
    ),
    "webp": Codec(
        partial(_by_pillow, "WEBP", {"lossless": True}), lambda: str(features.version("webp"))
    ),
    "jpeg-xl": Codec(_jpeg_xl, lambda: version("pillow-jxl-plugin")),
    "flif": Codec(_flif, _flif_version),
}
"""Every codec by name. Another one is an entry here."""


def codec_of(name: str) -> Codec:
    """A codec by name.

    Raises
    ------
    SettingError : none is registered so; the message names those that are.
    """
    if name not in CODECS:
        raise SettingError(f"codec={name!r}: choose one of {', '.join(CODECS)}")
    return CODECS[name]


@cache
def installed(name: str) -> bool:
    """Whether a codec's program is there, and works."""
    try:
        codec_of(name).require()
    except (MissingDependencyError, InputError, OSError, KeyError):
        return False
    return True


def compressed_bits(
    pictures: Sequence[Picture], codec: str, cache_dir: Path | None = None
) -> npt.NDArray[np.float64]:
    """L(x) in bits, ``(n,)``: 8 times the compressed bytes, headers included.

    What was compressed before is looked up in ``cache_dir``, by the picture's content, if one is
    given.

    Raises
    ------
    MissingDependencyError : the codec's program is not installed.
    InputError : the program fails, or what ``cache_dir`` holds cannot be used.
    """
    chosen = codec_of(codec)
    names = [
        hashlib.sha256(repr(p.shape).encode() + np.ascontiguousarray(p).tobytes()).digest()[:16]
        for p in pictures
    ]
    different = dict(zip(names, pictures, strict=True))
    file = None if cache_dir is None else cache_dir / f"{codec}-{chosen.version()}.sqlite"
    lengths_of = {} if file is None else _remembered(file, list(different))
    new = {name: picture for name, picture in different.items() if name not in lengths_of}
    if new:
        lengths = dict(zip(new, chosen.lengths(list(new.values())), strict=True))
        lengths_of |= lengths
        if file is not None:
            _remember(file, lengths)
    return 8.0 * np.array([lengths_of[name] for name in names], float)


def _remembered(file: Path, names: Sequence[bytes]) -> dict[bytes, int]:
    """Lengths of those of some pictures that are stored."""
    if not file.is_file():
        return {}
    with _store(file) as store:
        rows = [
            store.execute("SELECT bytes FROM lengths WHERE picture = ?", (name,)).fetchone()
            for name in names
        ]
    return {name: row[0] for name, row in zip(names, rows, strict=True) if row is not None}


def _remember(file: Path, lengths: Mapping[bytes, int]) -> None:
    with _store(file) as store, store:
        store.executemany("INSERT OR IGNORE INTO lengths VALUES (?, ?)", list(lengths.items()))


@contextmanager
def _store(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=60)) as store:
            store.execute(
                "CREATE TABLE IF NOT EXISTS lengths (picture BLOB PRIMARY KEY, bytes INTEGER) "
                "WITHOUT ROWID"
            )
            yield store
    except (sqlite3.Error, OSError) as error:
        raise InputError(
            f"{file}: cannot remember lengths ({error}); remove it, or choose another cache_dir"
        ) from error


def pictures(x: Tensor) -> list[Picture]:
    """Images ``(b, c, h, w)`` in [-1, 1] as pictures.

    Grey, RGB, or with other numbers of channels one below the other.
    """
    values = ((x.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    if values.shape[1] == 3:
        return list(np.ascontiguousarray(values.transpose(0, 2, 3, 1)))
    return list(values.reshape(len(values), -1, values.shape[3]))
