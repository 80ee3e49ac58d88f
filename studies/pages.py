"""The tables of the documentation, made again from the measured cells.

A page holds ``<!-- table NAME ARGUMENTS -->`` before each of its tables; this replaces the lines
after it that are a table, with its title and the quoted notes below it.

    python -m studies.pages README.md docs/*.md docs/reproduction/*.md

The figures of the stability page and of the guarantees are drawn again as well.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anomirror.benchmark.cells import Entry, read_arrays, read_entries, read_json
from anomirror.benchmark.experiments import classes_of
from anomirror.benchmark.protocols import REST
from anomirror.benchmark.render import as_markdown, markdown, mean_and_spread
from anomirror.benchmark.rows import Row
from anomirror.benchmark.tables import comparison, negatives, one_class
from anomirror.benchmark.trial import folder_name
from anomirror.errors import InputError
from anomirror.metrics import auroc
from anomirror.storage import replacing
from studies import (
    backgrounds,
    choosing,
    controls,
    density,
    first_hour_tables,
    fork,
    guarantees,
    likelihoods,
    masks,
    peers,
    references,
    scattering,
    stability,
)
from studies.overview import overview_table
from studies.speed import tables as speed


def table1(folder: Path, normal: str, methods: str = "") -> str:
    """One normal set of Table 1 with its open columns, of all methods or some (``"ama,pca"``)."""
    return as_markdown(comparison(_some(_of_methods(folder, methods), folder), normal)).rstrip()


def table2(folder: Path, dataset: str, methods: str = "", readings: str = "") -> str:
    """The classes of a set, of all methods or of some.

    With ``readings="own"`` on their own sides and scorings alone.
    """
    entries = _of_methods(folder, methods)
    if readings == "own":
        entries = [e for e in entries if Row.of(e).is_own_side and not e.cell.scoring]
    return as_markdown(one_class(_some(entries, folder), dataset)).rstrip()


def sampled_table(folder: Path, dataset: str, sampled: str, others: str) -> str:
    """A method that was tested on a sample next to others on the same images, by raw scores of seed
    0.
    """
    names = [sampled, *others.split(",")]
    values: dict[str, list[float]] = {}
    for normal in classes_of(dataset):
        places = [folder / folder_name(normal) / f"{name}-seed0.json" for name in names]
        sample = _tested(places[0])
        values[normal] = []
        for file in places:
            raw = dict(zip(sample, read_arrays(file, "own/normal", f"own/{REST}"), strict=True))
            among = {part: np.isin(at, sample[part]) for part, at in _tested(file).items()}
            values[normal].append(auroc(*(-raw[part][among[part]] for part in sample)))
    rows = [[normal, *(f"{value:.3f}" for value in row)] for normal, row in values.items()]
    average = [f"{value:.3f}" for value in np.mean(list(values.values()), 0)]
    return markdown(
        [f"AUROC on the sample of {sampled}, seed 0", *names], [*rows, ["average", *average]]
    )


def _tested(file: Path) -> dict[str, np.ndarray]:
    """Indices of the tested images of a one-class record, by part."""
    parts = ("normal", REST)
    flags = read_arrays(file, *(f"tested/{part}" for part in parts))
    return dict(zip(parts, map(np.flatnonzero, flags), strict=True))


def labelled_table(normal: str, method: str, folders: list[Path]) -> str:
    """A method with and without labelled anomalies, on the columns that were measured with them."""
    wanted = (normal, method, "", "")
    entries = [
        e
        for e in read_entries(*folders)
        if (e.record.normal, e.record.method, e.record.variant, e.cell.scoring) == wanted
    ]
    labelled = _some([entry for entry in entries if entry.record.labelled_anomalies], *folders)
    columns = {entry.cell.anomalies for entry in labelled}
    chosen = [entry for entry in entries if entry.cell.anomalies in columns]
    return as_markdown(comparison(chosen, normal)).rstrip()


def _of_methods(folder: Path, methods: str) -> list[Entry]:
    """Of the methods that are named, separated by commas; of all if none is."""
    entries = read_entries(folder)
    return [e for e in entries if not methods or e.record.method in methods.split(",")]


def _some(entries: list[Entry], *folders: Path) -> list[Entry]:
    """A mistaken path leaves no empty table."""
    if not entries:
        raise InputError(f"{', '.join(map(str, folders))}: no such cell")
    return entries


def changes_table(dataset: str, method: str, folder: Path, changed: Path) -> str:
    """A method and what one change at a time makes of it, on the classes on which changes were
    measured.
    """
    changes = _some(read_entries(changed), changed)
    classes = {entry.record.normal for entry in changes}
    entries = [
        e
        for e in (*read_entries(folder), *changes)
        if e.record.normal in classes and e.record.method == method
    ]
    return as_markdown(one_class(entries, dataset).turned()).rstrip()


def demo_table(folder: Path) -> str:
    """AUROC of each detector of the demo by seed.

    Files ``seedN.json`` are the demo's own ``results.json``.
    """
    runs = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("seed*.json"))
    }
    rows = []
    for detector in next(iter(runs.values())):
        values = [run[detector]["auroc"] for run in runs.values()]
        summary = (float(np.mean(values)), float(np.std(values, ddof=1)))
        rows.append([detector, *(f"{value:.3f}" for value in (*values, *summary))])
    return markdown(
        ["detector", *(name.replace("seed", "seed ") for name in runs), "mean", "sd"], rows
    )


def solar_table(folder: Path) -> str:
    """What ``examples/solar_cells.py`` wrote: each detector and reading on each kind of cell."""
    runs = [read_json(file) for file in sorted(folder.glob("*.json"))]
    kinds, metrics = sorted({run["kind"] for run in runs}), ("auroc", "fpr95")
    rows = []
    for size, method, side in sorted(
        {(run["size"], run["method"], side) for run in runs for side in run["metrics"]}
    ):
        row, counts = [f"{method}, {side}", str(size)], set[int]()
        for kind in kinds:
            found = [
                run["metrics"][side]
                for run in runs
                if (run["size"], run["method"], run["kind"]) == (size, method, kind)
            ]
            row += [mean_and_spread([one[metric] for one in found]) for metric in metrics]
            counts.add(len(found))
        rows.append([*row, " or ".join(map(str, sorted(counts)))])
    heading = [f"{kind}, {name}" for kind in kinds for name in ("AUROC", "FPR@95")]
    return markdown(["solar cells", "pixels", *heading, "seeds"], rows)


TABLES: dict[str, Callable[..., str]] = {
    "table1": lambda root, folder, normal, methods="": table1(root / folder, normal, methods),
    "table2": lambda root, folder, *words: table2(root / folder, *words),
    "sampled": lambda root, folder, *words: sampled_table(root / folder, *words),
    "table3": lambda root, folder: as_markdown(negatives(read_entries(root / folder))).rstrip(),
    "labelled": lambda root, normal, method, *folders: labelled_table(
        normal, method, [root / folder for folder in folders]
    ),
    "changes": lambda root, dataset, method, folder, changed: changes_table(
        dataset, method, root / folder, root / changed
    ),
    "demo": lambda root, folder: demo_table(root / folder),
    "guarantees": lambda root, folder: guarantees.guarantees_table(root / folder),
    "uniform": lambda root, folder: guarantees.uniform_table(root / folder),
    "choosing-proxies": lambda root, folder: choosing.proxies_table(root / folder),
    "choosing-kinds": lambda root, folder: choosing.kinds_table(root / folder),
    "best-peers": lambda root, folder: peers.best_table(root / folder),
    "peers": lambda root, folder: peers.peers_table(root / folder),
    "masks": lambda root, file: masks.masks_table(root / file),
    "density": lambda root, file: density.density_table(root / file),
    "density-kinds": lambda root, file: density.kinds_table(root / file),
    "scattering-proxies": lambda root, folder: scattering.proxies_table(root / folder),
    "solar": lambda root, folder: solar_table(root / folder),
    "first-hour-alarms": lambda root, folder: first_hour_tables.alarms_table(root / folder),
    "overview": lambda root, folder: overview_table(root / folder),
    "first-hour-cells": lambda root, folder: first_hour_tables.cells_table(root / folder),
    "first-hour-sizes": lambda root, folder: first_hour_tables.sizes_table(root / folder),
    "first-hour-scorers": lambda root, folder: first_hour_tables.scorers_table(root / folder),
    "first-hour-cost": lambda root, folder: first_hour_tables.cost_table(root / folder),
    "backgrounds": lambda root, folder, normal: backgrounds.backgrounds_table(
        root / folder, normal
    ),
    "groups": lambda root, folder, normal: likelihoods.groups_table(root / folder, normal),
    "bits": lambda root, folder: likelihoods.bits_table(root / folder),
    "lengths": lambda root, normal, *folders: likelihoods.lengths_table(
        normal, *(root / folder for folder in folders)
    ),
    "public": lambda root, folder: speed.public_table(root / folder),
    "trainings": lambda root, folder, normal: speed.trainings_table(root / folder, normal),
    "controls": lambda root, folder, normal: controls.controls_table(root / folder, normal),
    "references": lambda root, folder, normal: references.proxies_table(root / folder, normal),
    "reference-means": lambda root, folder: references.means_table(root / folder),
    "slopes": lambda root, folder: references.slopes_table(root / folder),
    "correlations": lambda root, folder: controls.correlations_table(root / folder),
    "by-epoch": lambda root, folder: stability.epochs_table(root / folder),
    "departures": lambda root, folder, normal: stability.departures_table(root / folder, normal),
    "negatives": lambda root, folder: stability.negatives_table(root / folder),
    "calibration": lambda root, folder: stability.calibration_table(root / folder),
    "crossed": lambda root, folder: stability.crossed_table(root / folder),
    "fork": lambda root, file: fork.fork_table(root / file),
    "seeds": lambda root, *folders: fork.seeds_table(*(root / folder for folder in folders)),
    "speed": lambda root, folder: speed.speed_table(root / folder),
    "counted": lambda root, folder: speed.counted_table(root / folder),
    "quality": lambda root, folder: speed.quality_table(root / folder),
    "memory": lambda root, folder: speed.memory_table(root / folder),
    "scaling": lambda root, folder: speed.scaling_table(root / folder),
}
"""Name in a page to the function that makes the table from the repository's root and the marker's
words.
"""

_MARKED = re.compile(
    r"(<!-- table ([^>]+?) -->)[ \t]*(?:\n|\Z)(?:\*\*.*\*\*\n\n)?(?:[|>].*(?:\n|\Z))*"
)


def refreshed(text: str, root: Path) -> str:
    """A page with every marked table made again."""

    def made(match: re.Match[str]) -> str:
        name, *words = match[2].split()
        if name not in TABLES:
            raise InputError(f"no table named {name!r}: choose one of {', '.join(TABLES)}")
        return f"{match[1]}\n{TABLES[name](root, *words)}\n"

    return _MARKED.sub(made, text)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        fresh = refreshed(page.read_text(encoding="utf-8"), Path())
        with replacing(page) as temporary:
            temporary.write_text(fresh, encoding="utf-8")
    stability.figure(Path("results/stability"), Path("docs/images/stability.png"))
    guarantees.draw(Path("results/decisions"), Path("docs/images/guarantees.png"))
