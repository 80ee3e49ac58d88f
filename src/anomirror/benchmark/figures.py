"""The paper's figures from measured trials (needs the extra ``report``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from anomirror.benchmark.cells import Entry, entries_of, read_arrays, read_record
from anomirror.benchmark.measure import shown
from anomirror.benchmark.trial import Trial, folder_name, joined
from anomirror.errors import InputError
from anomirror.report.plots import image_rows, score_densities
from anomirror.scorers import SIDES
from anomirror.storage import replacing


def figure2(trials: Sequence[Trial], folder: Path, data_dir: Path | None) -> list[Path]:
    """Images, their reconstructions with the ordinary loss and with the mirrored one.

    Normal images first, then some of each column.
    """
    files = []
    first = {
        (trial.method, trial.normal, trial.variant): trial for trial in trials if not trial.seed
    }
    for (method, normal, variant), mirrored in first.items():
        ordinary = first.get((method, normal, "no-mirrored"))
        if variant or ordinary is None:
            continue
        images = shown(mirrored.comparison(data_dir))
        names = [f"reconstructed/{name}" for name in images]
        rows = {"images": np.concatenate(list(images.values()))}
        for label, trial in (("ordinary", ordinary), ("mirrored", mirrored)):
            rows[label] = np.concatenate(read_arrays(trial.file(folder), *names))
        files.append(_drawn(f"figure2-{method}", mirrored, folder, partial(image_rows, rows)))
    return files


def figure4(trials: Sequence[Trial], folder: Path, data_dir: Path | None) -> list[Path]:
    """Densities of the raw score: training images, normal test images, every anomaly set."""
    files = []
    for trial in trials:
        if trial.seed or trial.variant:
            continue
        for scoring in trial.all_scorings():
            named = {
                f"{name}: mean {np.mean(values):.3g}, sd {np.std(values):.3g}": values
                for name, values in _raw_scores(trial, folder, scoring).items()
            }
            scored_by = f" ({scoring})" if scoring else ""
            label = f"raw score of {trial.method}{scored_by}, {trial.normal} is normal"
            draw = partial(score_densities, named, label=label)
            files.append(_drawn(joined("figure4", trial.method, scoring), trial, folder, draw))
    return files


def _raw_scores(trial: Trial, folder: Path, scoring: str) -> dict[str, np.ndarray]:
    """By images; both sides have the same. Published results are without most training images."""
    file = trial.file(folder)
    groups: dict[str, np.ndarray] = {}
    for entry in _columns(entries_of(file, read_record(file)), trial, scoring):
        if not groups:
            with suppress(InputError):
                groups["train"] = entry.raw_scores("train")
            groups["normal test"] = entry.raw_scores("normal")
        groups[entry.column.name] = entry.raw_scores("anomalies")
    return groups


def _columns(entries: Sequence[Entry], trial: Trial, scoring: str) -> list[Entry]:
    """One cell of each of the trial's columns, in their order."""
    panels = {
        e.cell.anomalies: e for e in entries if (e.cell.scoring, e.cell.side) == (scoring, SIDES[0])
    }
    return [panels[column] for column in trial.anomalies if column in panels]


def _drawn(name: str, trial: Trial, folder: Path, draw: Callable[[Path], None]) -> Path:
    protocol = "" if trial.protocol == "blind" else f"protocol-{trial.protocol}"
    target = folder / f"{joined(name, folder_name(trial.normal), protocol)}.png"
    with replacing(target) as temporary:
        draw(temporary)
    return target


FIGURES: dict[str, Callable[[Sequence[Trial], Path, Path | None], list[Path]]] = {
    "figure2": figure2,
    "figure4": figure4,
}
"""Every figure by name."""
