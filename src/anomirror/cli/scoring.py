"""``anomirror score``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from anomirror.cli.common import (
    DATA_HELP,
    ODD_NAMES,
    DataDir,
    Device,
    Loudness,
    Model,
    app,
    example,
    folders_of,
    resolve,
    say,
    written,
)
from anomirror.errors import InputError

if TYPE_CHECKING:
    from _csv import Writer

    from anomirror.detectors import Detector
    from anomirror.images import ImageSet
    from anomirror.progress import Progress

COLUMNS = ["path", "raw_score", "score", "decision", "is_anomaly", "error"]


@app.command(
    epilog=example(
        "anomirror score model new-images/ --out scores.csv --maps maps/",
        "find new-images -name '*.png' | anomirror score model -",
    )
)
def score(
    model: Model,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help=f"{DATA_HELP}; or - for paths on standard input")],
    out: Annotated[Path | None, typer.Option(help="CSV file; standard output if not given")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="folder for a PNG per row: where the image departs from normal (ama, pca, knn)")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace files of --out and --maps that are not ours")] = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Score images: one CSV row each, in order; `score` is high for normal images, `raw_score` for anomalies.

    `is_anomaly` is 1 where `decision` (score less threshold) is below 0. An image that cannot be read is a row with its
    error; if none can, the exit code is 1.
    """
    from anomirror.detectors import load
    from anomirror.progress import Progress
    from anomirror.storage import refuse_overlap

    detector = load(model, device=device)
    if out is not None and not overwrite:
        _refuse_files_of_others(out)
    if maps is not None:
        detector.refuse_without_maps()
        for read in data:
            if read != "-":
                refuse_overlap(maps, read, "--maps", above=False)
    sets = _opened(detector, data, data_dir)
    if maps is not None:
        _refuse_among_the_images(maps, data, sets)
        maps.mkdir(parents=True, exist_ok=True)  # what cannot be written is known before anything is scored
    total = sum(map(len, sets))
    unreadable = row = 0
    with (
        written(out) as stream,
        Progress("scoring", total, "images", shown=Loudness.level >= 0 and out is not None) as progress,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for images in sets:
            unreadable += _write_rows(writer, detector, images, progress)
    if maps is not None:
        for images in sets:
            _write_maps(detector, images, maps, row, total, overwrite=overwrite)
            row += len(images)
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
    if begins and not begins.startswith(",".join(COLUMNS[:3]).encode()):
        raise InputError(f"--out {out}: exists, and is no table of scores; choose another name, or pass --overwrite")


def _pieces(images: ImageSet, count: int) -> Iterator[tuple[range, ImageSet, Mapping[int, str]]]:
    """The images, ``count`` at a time: their indices, the readable ones as a set, and why others (counted within) are not.

    Each file is decoded once, and what is decoded is let go with its piece.
    """
    from anomirror.images import FileImages, Subset, check_files, in_batches

    for indices in in_batches(len(images), count):
        piece = images.part(indices) if isinstance(images, FileImages) else Subset(images, indices)
        yield indices, *check_files(piece)


def _write_rows(writer: Writer, detector: Detector, images: ImageSet, progress: Progress) -> int:
    """Rows of the CSV; returns how many images cannot be read."""
    unreadable = 0
    sizes = np.zeros((len(images), 2), np.int32)
    for indices, readable, bad in _pieces(images, 256):
        sizes[[index for within, index in enumerate(indices) if within not in bad]] = readable.native_sizes()
        scores = iter(_scores(detector, readable))
        for within, index in enumerate(indices):
            if within in bad:
                writer.writerow([images.names[index], "", "", "", "", bad[within]])
                continue
            raw, normality, decision = next(scores)
            writer.writerow(
                [images.names[index], f"{raw:.9g}", f"{normality:.9g}", f"{decision:.9g}", int(not decision >= 0), ""]
            )
        unreadable += len(bad)
        progress.advance(len(indices))
    detector.warn_of_sizes(sizes, images.names)
    return unreadable


def _scores(detector: Detector, images: ImageSet) -> list[tuple[float, float, float]]:
    """Raw score, normality and decision of each image."""
    if not len(images):
        return []
    raw = detector._stream(images)  # sizes are told of once, at the end
    normality = detector.normality(raw)
    return list(zip(raw.tolist(), normality.tolist(), (normality - detector.offset_).tolist(), strict=True))


def _write_maps(detector: Detector, images: ImageSet, folder: Path, first: int, total: int, *, overwrite: bool) -> None:
    """One PNG for each readable image, named by its row in the CSV (from 1) and its file."""
    from anomirror.report.overlays import SIDES, as_ours, is_ours, overlay
    from anomirror.storage import replacing

    digits = len(str(total))
    for indices, readable, bad in _pieces(images, 64):
        if not len(readable):
            continue
        maps = detector.framed_maps(readable)
        rows = [index for within, index in enumerate(indices) if within not in bad]
        for within, (index, framed) in enumerate(zip(rows, maps, strict=True)):
            picture = readable.picture(within, SIDES[1])
            own = detector.frame_.take_out(framed, *picture.shape[-2:])
            stem = Path(images.names[index]).stem.encode("utf-8", ODD_NAMES)[:100].decode("utf-8", "ignore").replace(" ", "-")
            file = folder / f"{first + index + 1:0{digits}d}-{stem}.png"
            if file.exists() and not overwrite and not is_ours(str(file)):
                raise InputError(
                    f"--maps {folder}: {file.name} is there, and is no map; choose another folder, or pass --overwrite"
                )
            drawn = overlay(_eight_bits(picture.numpy()), own.numpy())
            with replacing(file) as temporary:
                drawn.save(temporary, pnginfo=as_ours())


def _eight_bits(picture: np.ndarray) -> np.ndarray:
    """``(c, h, w)`` uint8, or float in [0, 1] stretched over its range, to ``(h, w)`` or ``(h, w, 3)`` uint8."""
    if picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        picture = ((picture - low) / max(high - low, 1e-9) * 255).round().astype(np.uint8)
    return picture[0] if len(picture) != 3 else np.ascontiguousarray(picture.transpose(1, 2, 0))
