"""The paper's figures from measured trainings (needs the extra ``report``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anomirror.benchmark.protocols import plain_name
from anomirror.benchmark.runner import Training, read_cell, shown
from anomirror.report.plots import image_rows, score_densities
from anomirror.scorers import SIDES
from anomirror.storage import replacing


def figure2(trainings: Sequence[Training], folder: Path, data_dir: Path | None) -> list[Path]:
    """Images, their reconstructions with the ordinary loss and with the mirrored one: normal ones, then some of each column."""
    files = []
    first = [training for training in trainings if training.seed == 0]
    for mirrored in first:
        ordinary = next(
            (t for t in first if (t.method, t.normal, t.variant) == (mirrored.method, mirrored.normal, _ORDINARY)), None
        )
        if mirrored.variant or ordinary is None:
            continue
        images = shown(mirrored.comparison(data_dir))
        rows = {"images": np.concatenate(list(images.values()))}
        rows |= {label: _reconstructed(training, folder) for label, training in (("ordinary", ordinary), ("mirrored", mirrored))}
        files.append(_drawn(f"figure2-{mirrored.method}", mirrored, folder, partial(image_rows, rows)))
    return files


def figure4(trainings: Sequence[Training], folder: Path, data_dir: Path | None) -> list[Path]:
    """Densities of the raw score of training images, normal test images and every anomaly set, with mean and deviation."""
    files = []
    for training in trainings:
        if training.seed or training.variant:
            continue
        for scoring in ("", *training.scorings):
            groups: dict[str, np.ndarray] = {}
            for column, cell, stored in _columns(training, folder, scoring):
                scores = {kind: stored[name] for kind, name in cell["scores"].items()}
                groups = {"train": scores["train"], "normal test": scores["normal"], **groups}
                groups[plain_name(column)] = scores["anomalies"][stored[f"sampled_{plain_name(column)}"]]
            named = {f"{name}: mean {np.mean(values):.3g}, sd {np.std(values):.3g}": values for name, values in groups.items()}
            label = f"raw score of {training.method}{f' ({scoring})' if scoring else ''}, {training.normal} is normal"
            files.append(
                _drawn(
                    "-".join(("figure4", training.method, *((scoring,) if scoring else ()))),
                    training,
                    folder,
                    partial(score_densities, named, label=label),
                )
            )
    return files


_ORDINARY = "no-mirrored"


def _reconstructed(training: Training, folder: Path) -> np.ndarray:
    """What the runner kept of the normal images, and of each column."""
    parts: dict[str, np.ndarray] = {}
    for column, _, stored in _columns(training, folder, ""):
        parts.setdefault("normal", stored["reconstructed_normal"])
        parts[column] = stored[f"reconstructed_{plain_name(column)}"]
    return np.concatenate(list(parts.values()))


def _columns(training: Training, folder: Path, scoring: str) -> Iterator[tuple[str, dict[str, Any], Mapping[str, np.ndarray]]]:
    """Each column with a cell of it and what is stored beside: the same for both sides."""
    for (of, column, side), file in training.cells(folder).items():
        if of == scoring and side == SIDES[0]:
            cell = read_cell(file)
            with np.load(file.parent / cell["scores_file"]) as stored:
                yield column, cell, stored


def _drawn(name: str, training: Training, folder: Path, draw: Callable[[Path], None]) -> Path:
    protocol = "" if training.protocol == "blind" else f"-protocol-{training.protocol}"
    target = folder / f"{name}-{plain_name(training.normal).replace(':', '-')}{protocol}.png"
    with replacing(target) as temporary:
        draw(temporary)
    return target


FIGURES: dict[str, Callable[[Sequence[Training], Path, Path | None], list[Path]]] = {"figure2": figure2, "figure4": figure4}
"""Every figure by name."""
