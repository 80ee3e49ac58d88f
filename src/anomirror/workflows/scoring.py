"""Scores of images as rows, and maps as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np

from anomirror.detectors import Detector
from anomirror.errors import InputError
from anomirror.images import FileImages, ImageSet, Subset, check_files, in_batches
from anomirror.report.overlays import SIDES, as_ours, is_ours, overlay
from anomirror.storage import replacing
from anomirror.workflows.naming import categories_for
from anomirror.workflows.reasons import Reasons

PIECE, MAPPED_PIECE = 256, 64
"""Images that are decoded and scored at once, and mapped at once."""

COLUMNS = ("path", "p_value", "is_anomaly", "score", "raw_score")
"""Then one for each statistic that was asked for, ``why`` if it was, and ``error``."""


@dataclass(frozen=True)
class Row:
    """What is said of one image: its scores, or why it cannot be read."""

    path: str
    raw_score: float = np.nan
    score: float = np.nan
    p_value: float | None = None
    """None of a detector that has none."""
    is_anomaly: bool = True
    statistics: tuple[float, ...] = ()
    why: str | None = None
    """The oddest statistic, in words; None where it was not asked for."""
    error: str = ""

    def cells(self) -> list[str | int]:
        """Under :data:`COLUMNS`, the statistics and ``why``."""
        p_value = "" if self.p_value is None else f"{self.p_value:.6g}"
        numbers = (f"{x:.9g}" for x in (self.score, self.raw_score, *self.statistics))
        why = () if self.why is None else (self.why,)
        return [self.path, p_value, int(self.is_anomaly), *numbers, *why, ""]

    def unread(self, columns: int) -> list[str | int]:
        """Of an image that cannot be read: its path and its error in a row of so many columns."""
        return [self.path, *[""] * (columns - 2), self.error]


def selected_rows(detector: Detector, rows: Iterable[Row], fdr: float) -> list[Row]:
    """The same rows, anomalies chosen among all of them: ``fdr`` of these are normal at most.

    Raises
    ------
    SettingError : the detector has no p-values.
    """
    detector.refuse_without_p_values()
    rows = list(rows)
    scored = [row for row in rows if not row.error]
    values = np.array([row.p_value for row in scored], dtype=float)
    chosen = iter(detector.select_from(values, fdr).tolist())
    return [row if row.error else replace(row, is_anomaly=next(chosen)) for row in rows]


def score_rows(
    detector: Detector,
    images: ImageSet,
    statistics: Sequence[str] = (),
    reasons: Reasons | None = None,
) -> Iterator[Row]:
    """One row for each image, in order; each file is decoded once, and then let go.

    At the end a warning names images far from the sizes of the training images.

    Parameters
    ----------
    statistics : names of those that a row holds.
    reasons : what finds out why an image is odd; None leaves that out.
    """
    sizes = np.zeros((len(images), 2), np.int32)
    categories = categories_for(detector, images.names)
    for indices, readable, bad in _pieces(images, PIECE):
        good = [index for within, index in enumerate(indices) if within not in bad]
        sizes[good] = readable.native_sizes()
        names = (images.names[index] for index in good)
        by = None if categories is None else categories[good]
        scored = _scored(detector, readable, names, statistics, by, reasons)
        for within, index in enumerate(indices):
            yield Row(images.names[index], error=bad[within]) if within in bad else next(scored)
    detector.warn_of_sizes(sizes, images.names)


def _scored(
    detector: Detector,
    images: ImageSet,
    names: Iterable[str],
    statistics: Sequence[str],
    by: np.ndarray | None,
    reasons: Reasons | None,
) -> Iterator[Row]:
    """A row of each image."""
    if not len(images):
        return
    compared = () if reasons is None else reasons.names
    measured = detector.measure(images, {*detector.scoring_statistics, *statistics, *compared})
    raw = detector.raw_scores_from(measured)
    normality = detector.normality(raw)
    flagged, values = detector.flagged(normality, by), repeat(None)
    if detector.has_p_values:
        values = detector.p_values_from(normality, by).tolist()
    of_each = zip(*(measured[name].tolist() for name in statistics), strict=True)
    yield from map(
        Row,
        names,
        raw.tolist(),
        normality.tolist(),
        values,
        flagged.tolist(),
        of_each if statistics else repeat(()),
        repeat(None) if reasons is None else reasons.of(measured, len(images), by),
    )


def _pieces(images: ImageSet, count: int) -> Iterator[tuple[range, ImageSet, Mapping[int, str]]]:
    """The images, ``count`` at a time.

    Indices, the readable ones as a set, and why others are not.
    """
    for indices in in_batches(len(images), count):
        piece: ImageSet
        piece = images.part(indices) if isinstance(images, FileImages) else Subset(images, indices)
        yield indices, *check_files(piece)


def write_maps(
    detector: Detector,
    images: ImageSet,
    folder: Path,
    *,
    first: int = 0,
    total: int | None = None,
    overwrite: bool = False,
) -> list[str]:
    """One PNG for each readable image: where it departs from normal, named by its row and its file.

    Returns their names.

    Parameters
    ----------
    first, total : rows before these images, and of all; rows count from 1.

    Raises
    ------
    InputError : a file of that name is there and is not a map of ours, without ``overwrite``.
    """
    digits, drawn_files = len(str(len(images) if total is None else total)), []
    for indices, readable, bad in _pieces(images, MAPPED_PIECE):
        if not len(readable):
            continue
        maps = detector.framed_maps(readable)
        rows = [index for within, index in enumerate(indices) if within not in bad]
        for within, (index, framed) in enumerate(zip(rows, maps, strict=True)):
            image = readable.picture(within, SIDES[1])
            own = detector.frame_.take_out(framed, *image.shape[-2:])
            number = f"{first + index + 1:0{digits}d}"
            file = folder / f"{number}-{_stem(images.names[index])}.png"
            if file.exists() and not overwrite and not is_ours(str(file)):
                raise InputError(
                    f"--maps {folder}: {file.name} is there, and is no map; choose another folder, "
                    "or pass --overwrite"
                )
            drawn = overlay(eight_bits(image.numpy()), own.numpy())
            with replacing(file) as temporary:
                drawn.save(temporary, pnginfo=as_ours())
            drawn_files.append(file.name)
    return drawn_files


def maps_in(folder: Path) -> set[str]:
    """Names of the maps of ours in a folder."""
    return {file.name for file in folder.glob("[0-9]*-*.png") if is_ours(str(file))}


def _stem(name: str) -> str:
    """Of a file's name what any file system takes."""
    encoded = Path(name).stem.encode("utf-8", "backslashreplace")[:100]
    return encoded.decode("utf-8", "ignore").replace(" ", "-")


def eight_bits(image: np.ndarray) -> np.ndarray:
    """``(c, h, w)`` uint8, or float stretched over its range, to ``(h, w)`` or ``(h, w, 3)``
    uint8.
    """
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) / max(high - low, 1e-9) * 255).round().astype(np.uint8)
    return image[0] if len(image) != 3 else np.ascontiguousarray(image.transpose(1, 2, 0))
