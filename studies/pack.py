"""Packs the arrays of every folder of records into one file, so that ``results/`` has few files.

    python -m studies.pack results

Arrays that a record has of its own replace those of the pack; nothing else is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror.benchmark.cells import PACK
from anomirror.storage import replacing


def pack(folder: Path) -> int:
    """Pack the arrays of the records in one folder.

    Returns how many records had arrays of their own.
    """
    loose = sorted(
        file
        for file in folder.glob("*.npz")
        if file.name != PACK and file.with_suffix(".json").is_file()
    )
    if not loose:
        return 0
    arrays: dict[str, Any] = {}
    if (folder / PACK).is_file():
        with np.load(folder / PACK, allow_pickle=False) as packed:
            arrays = dict(packed)
    for file in loose:
        with np.load(file, allow_pickle=False) as own:
            arrays |= {f"{file.stem}/{name}": own[name] for name in own}
    with replacing(folder / PACK) as temporary:
        np.savez_compressed(temporary, **arrays)
    for file in loose:
        file.unlink()
    return len(loose)


def main(root: Annotated[Path, typer.Argument(help="of results")]) -> None:
    """Pack every folder below one."""
    for folder in sorted({file.parent for file in root.rglob("*.npz")}):
        if packed := pack(folder):
            print(f"{folder}: {packed} packed")


if __name__ == "__main__":
    typer.run(main)
