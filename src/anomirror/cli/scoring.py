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
    Alpha,
    DataDir,
    Device,
    Inputs,
    Loudness,
    Model,
    deciding,
    folders_of,
    opened_to_score,
    refuse_files_of_others,
    say,
    written,
)
from anomirror.errors import SettingError
from anomirror.progress import Progress

if TYPE_CHECKING:
    from anomirror.detectors import Detector
    from anomirror.images import ImageSet


Out = Annotated[Path | None, typer.Option(help="CSV file; standard output if not given")]
Maps = Annotated[
    Path | None,
    typer.Option(
        help="folder for a PNG per row: where the image is unusual (ama, scattering, pca, knn)"
    ),
]
Fdr = Annotated[
    float | None,
    typer.Option(help="choose anomalies among all images, of which this share is normal at most"),
]
Statistics = Annotated[
    bool, typer.Option("--statistics", help="a column for everything the method measures")
]
Why = Annotated[
    bool,
    typer.Option("--why", help="a column: what of the image is oddest, and by how much"),
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
    alpha: Alpha = None,
    fdr: Fdr = None,
    statistics: Statistics = False,
    why: Why = False,
    overwrite: Overwrite = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Score images: one CSV row each, in order.

    `score` is high for normal images, `raw_score` for anomalies; `p_value` is the share of normal
    images that are at least as odd.

    `is_anomaly` is 1 where the p-value is at most the model's false-alarm rate, or --alpha; with
    --fdr anomalies are chosen among all images at once. An image that cannot be read is a row with
    its error; if none can, the exit code is 1.
    """
    from anomirror.workflows.naming import categories_for
    from anomirror.workflows.scoring import COLUMNS

    detector = _detector(model, device, alpha, fdr)
    if out is not None and not overwrite:
        refuse_files_of_others(out, COLUMNS)
    if maps is not None:
        detector.refuse_without_maps()
    sets = opened_to_score(detector, data, data_dir)
    for images in sets:
        categories_for(detector, images.names)  # what has none is known before anything is written
    if maps is not None:
        _refuse_among_the_images(maps, data, sets)
        # what cannot be written is known before anything is scored
        maps.mkdir(parents=True, exist_ok=True)
    total = sum(map(len, sets))
    names = detector.available_statistics() if statistics else ()
    unreadable = _write_rows(detector, sets, out, names, fdr, why=why)
    if maps is not None:
        _write_maps(detector, sets, maps, overwrite=overwrite)
    if unreadable:
        say(f"{unreadable} of {total} images could not be read; see the column error")
    if unreadable == total:
        sys.exit(1)


def _detector(model: Path, device: str | None, alpha: float | None, fdr: float | None) -> Detector:
    """The model, deciding as asked."""
    from anomirror.decisions import check_fdr

    if alpha is not None and fdr is not None:
        raise SettingError("--alpha and --fdr: choose one of the two")
    detector = deciding(model, device, alpha)
    if fdr is not None:
        detector.refuse_without_p_values()
        check_fdr(fdr)
    if not detector.has_p_values:
        say("note: the column p_value is empty: images that were fitted calibrate this model")
    return detector


def _write_rows(
    detector: Detector,
    sets: Sequence[ImageSet],
    out: Path | None,
    statistics: Sequence[str],
    fdr: float | None,
    *,
    why: bool,
) -> int:
    """Score all images and write a row of each; returns how many cannot be read."""
    from anomirror.workflows.reasons import Reasons
    from anomirror.workflows.scoring import COLUMNS, score_rows, selected_rows

    unreadable, total = 0, sum(map(len, sets))
    shown = Loudness.level >= 0 and out is not None
    with written(out) as stream, Progress("scoring", total, "images", shown=shown) as progress:
        writer = csv.writer(stream, lineterminator="\n")
        columns = [*COLUMNS, *statistics, *["why"] * why, "error"]
        writer.writerow(columns)
        reasons = Reasons(detector) if why else None
        scored = (score_rows(detector, images, statistics, reasons) for images in sets)
        rows = chain.from_iterable(scored)
        for row in rows if fdr is None else selected_rows(detector, rows, fdr):
            writer.writerow(row.unread(len(columns)) if row.error else row.cells())
            unreadable += bool(row.error)
            progress.advance(1)
    return unreadable


def _write_maps(
    detector: Detector, sets: Sequence[ImageSet], folder: Path, *, overwrite: bool
) -> None:
    """A map of each image; those of earlier runs in the same folder are counted."""
    from anomirror.workflows.scoring import maps_in, write_maps

    earlier, first, total = maps_in(folder), 0, sum(map(len, sets))
    for images in sets:
        drawn = write_maps(detector, images, folder, first=first, total=total, overwrite=overwrite)
        earlier.difference_update(drawn)
        first += len(images)
    if earlier:
        say(
            f"note: {len(earlier)} maps of earlier runs are in {folder} too, such as "
            f"{min(earlier)}; they are left there"
        )


def _refuse_among_the_images(maps: Path, data: Sequence[str], sets: Sequence[ImageSet]) -> None:
    """Maps in a folder of images would be read as images next time."""
    from anomirror.storage import refuse_overlap

    for source, images in zip(data, sets, strict=True):
        if source != "-":
            refuse_overlap(maps, source, "--maps", above=False)
        for folder in folders_of(images):
            if Path(source).is_dir() or (maps.exists() and maps.samefile(folder)):
                refuse_overlap(maps, folder, "--maps", above=False)
