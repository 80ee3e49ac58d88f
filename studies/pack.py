"""Packs the arrays of every folder of records into one file, so that ``results/`` has few files.

    python -m studies.pack results

Arrays that a record has of its own replace those of the pack. Raw scores of training images are
left out where nothing here reads them: Figure 4 draws those of AMA's first seed, and groups of
images are compared with them by typicality.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Annotated
from zipfile import ZIP_LZMA, ZipFile, ZipInfo

import numpy as np
import typer

from anomirror.benchmark.cells import PACK, PLANES, as_planes, from_planes
from anomirror.storage import replacing

READ = ("ama-seed0", "typicality-seed")
"""Beginnings of the records whose raw scores of training images are read."""


def pack(folder: Path, *, again: bool = False) -> int:
    """Pack the arrays of the records in one folder.

    Returns how many records had arrays of their own.

    Parameters
    ----------
    again : write a pack again where nothing was added to it as well.
    """
    loose = sorted(
        file
        for file in folder.glob("*.npz")
        if file.name != PACK and file.with_suffix(".json").is_file()
    )
    there = (folder / PACK).is_file()
    if not loose and not (again and there):
        return 0
    arrays = _read(folder / PACK) if there else {}
    for file in loose:
        arrays |= {f"{file.stem}/{name}": array for name, array in _read(file).items()}
    arrays = {name: array for name, array in arrays.items() if _is_kept(name)}
    with replacing(folder / PACK) as temporary:
        _write(temporary, arrays)
    for file in loose:
        file.unlink()
    return len(loose)


def _is_kept(name: str) -> bool:
    """Whether a figure or a check reads it.

    >>> _is_kept("pca-seed0/own/train"), _is_kept("pca-seed0/own/normal")
    (False, True)
    """
    record, *_, images = name.split("/")
    return images != "train" or record.startswith(READ)


def _read(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as stored:
        return {
            name.removesuffix(PLANES): from_planes(stored[name])
            if name.endswith(PLANES)
            else stored[name]
            for name in stored
        }


def _write(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """What ``np.load`` reads, a seventh smaller than by ``np.savez_compressed``."""
    with ZipFile(file, "w", ZIP_LZMA) as packed:
        for name, array in arrays.items():
            planes = array.dtype == np.float32 and array.ndim > 0
            content = BytesIO()
            np.lib.format.write_array(
                content, as_planes(array) if planes else array, allow_pickle=False
            )
            # of no time, so that the same arrays are the same file
            member = ZipInfo(f"{name}{PLANES if planes else ''}.npy")
            member.compress_type = ZIP_LZMA
            packed.writestr(member, content.getvalue())


def main(
    root: Annotated[Path, typer.Argument(help="of results")],
    again: Annotated[bool, typer.Option("--again", help="write every pack again")] = False,
) -> None:
    """Pack every folder below one."""
    for folder in sorted({file.parent for file in root.rglob("*.npz")}):
        if packed := pack(folder, again=again):
            print(f"{folder}: {packed} packed")


if __name__ == "__main__":
    typer.run(main)
