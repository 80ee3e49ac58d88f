"""``anomirror score``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomirror.cli.common import (
    DATA_HELP,
    DataDir,
    Device,
    Loudness,
    Model,
    folders_of,
    resolve,
    say,
    written,
)
from anomirror.errors import InputError
from anomirror.progress import Progress

if TYPE_CHECKING:
    from anomirror.detectors import Detector
    from anomirror.images import ImageSet


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help=f"{DATA_HELP}; or - for paths on standard input"),
]
Out = Annotated[Path | None, typer.Option(help="CSV file; standard output if not given")]
Maps = Annotated[
    Path | None,
    typer.Option(help="folder for a PNG per row: where the image is unusual (ama, pca, knn)"),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="replace files of --out and --maps that are not ours"),
]


def score(
    model: Model,
    data: Inputs,
    out: Out = None,
    maps: Maps = None,
    overwrite: Overwrite = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Score images: one CSV row each, in order.

    `score` is high for normal images, `raw_score` for anomalies.

    `is_anomaly` is 1 where `decision` (score less threshold) is below 0. An image that cannot be
    read is a row with its error; if none can, the exit code is 1.
    """
    from anomirror.detectors import load
    from anomirror.workflows.scoring import COLUMNS, score_rows, write_maps

    detector = load(model, device=device)
    if out is not None and not overwrite:
        _refuse_files_of_others(out)
    if maps is not None:
        detector.refuse_without_maps()
    sets = _opened(detector, data, data_dir)
    if maps is not None:
        _refuse_among_the_images(maps, data, sets)
        # what cannot be written is known before anything is scored
        maps.mkdir(parents=True, exist_ok=True)
    total = sum(map(len, sets))
    unreadable = 0
    shown = Loudness.level >= 0 and out is not None
    with written(out) as stream, Progress("scoring", total, "images", shown=shown) as progress:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in chain.from_iterable(score_rows(detector, images) for images in sets):
            writer.writerow(row.cells())
            unreadable += bool(row.error)
            progress.advance(1)
    if maps is not None:
        first = 0
        for images in sets:
            write_maps(detector, images, maps, first=first, total=total, overwrite=overwrite)
            first += len(images)
    if unreadable:
        say(f"{unreadable} of {total} images could not be read; see the column error")
    if unreadable == total:
        sys.exit(1)


def _opened(detector: Detector, data: Sequence[str], data_dir: Path | None) -> list[ImageSet]:
    sets: list[ImageSet] = []
    for source in data:
        if source == "-":
            paths = [line for raw in sys.stdin if (line := raw.rstrip("\r\n"))]
            if not paths:
                raise InputError("-: no path came on standard input")
            sets.append(detector.open_to_score(paths))
        else:
            sets.append(detector.open_to_score(resolve(source, "test", data_dir)))
    return sets


def _refuse_among_the_images(maps: Path, data: Sequence[str], sets: Sequence[ImageSet]) -> None:
    """Maps in a folder of images would be read as images next time."""
    from anomirror.storage import refuse_overlap

    for source, images in zip(data, sets, strict=True):
        if source != "-":
            refuse_overlap(maps, source, "--maps", above=False)
        for folder in folders_of(images):
            if Path(source).is_dir() or (maps.exists() and maps.samefile(folder)):
                refuse_overlap(maps, folder, "--maps", above=False)


def _refuse_files_of_others(out: Path) -> None:
    """A file that is there is replaced if it is a table of scores, and nothing else."""
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the name of a CSV file")
    if not out.is_file():
        return
    with out.open("rb") as stream:
        begins = stream.read(64)
    if begins and not begins.startswith(b"path,raw_score,score"):
        raise InputError(
            f"--out {out}: exists, and is no table of scores; choose another name, or pass "
            "--overwrite"
        )
