"""The tables of the documentation, made anew from the measured cells.

A page holds ``<!-- table NAME ARGUMENTS -->`` before each of its tables; this replaces the lines after it that are a table, with
its title and the quoted notes below it.

    python -m anomirror.benchmark.pages README.md docs/results.md docs/references.md docs/stability.md docs/performance.md

The figure of the stability page is drawn anew as well.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anomirror.benchmark import backgrounds, controls, first_hour, likelihoods, references, stability
from anomirror.benchmark.experiments import classes_of
from anomirror.benchmark.protocols import REST
from anomirror.benchmark.runner import folder_name, read_cell
from anomirror.benchmark.tables import (
    Cell,
    as_markdown,
    comparison,
    markdown,
    mean_and_spread,
    negatives,
    one_class,
    own_side,
    read_cells,
    scoring,
)
from anomirror.errors import InputError
from anomirror.metrics import auroc
from anomirror.storage import replacing


def table1(folder: Path, normal: str, methods: str = "") -> str:
    """One normal set of Table 1, with its open columns; of all methods, or of those that stand between commas."""
    return as_markdown(comparison(_some(_of_methods(folder, methods), folder), normal)).rstrip()


def table2(folder: Path, dataset: str, methods: str = "", readings: str = "") -> str:
    """The classes of a set: of all methods or of some, and with "own" each read and scored in its own way alone."""
    cells = _of_methods(folder, methods)
    if readings == "own":
        cells = [cell for cell in cells if cell["side"] == own_side(cell["method"]) and not scoring(cell["variant"])]
    return as_markdown(one_class(_some(cells, folder), dataset)).rstrip()


def sampled_table(folder: Path, dataset: str, sampled: str, others: str) -> str:
    """A system that was tested on a sample beside others on the same images, by the raw scores of seed 0.

    The names are those of the files: a method and its variant.
    """
    names = [sampled, *others.split(",")]
    values: dict[str, list[float]] = {}
    for normal in classes_of(dataset):
        found = [np.load(folder / folder_name(normal) / f"{name}-seed0.npz") for name in names]
        values[normal] = []
        for scores in found:
            among = {part: np.isin(scores[f"indices_{part}"], found[0][f"indices_{part}"]) for part in ("normal", REST)}
            values[normal].append(auroc(*(-scores[f"raw_{part}"][chosen] for part, chosen in among.items())))
    rows = [[normal, *(f"{value:.3f}" for value in row)] for normal, row in values.items()]
    average = [f"{value:.3f}" for value in np.mean(list(values.values()), 0)]
    return markdown([f"AUROC on the sample of {sampled}, seed 0", *names], [*rows, ["average", *average]])


def known_table(normal: str, method: str, folders: list[Path]) -> str:
    """A method with and without known anomalies, on the columns that were measured with them."""
    cells = [cell for cell in read_cells(*folders) if (cell["normal"], cell["method"], cell["variant"]) == (normal, method, "")]
    columns = {cell["anomalies"] for cell in _some([cell for cell in cells if cell["known_anomalies"]], *folders)}
    cells = [cell for cell in cells if cell["anomalies"] in columns]
    return as_markdown(comparison(cells, normal)).rstrip()


def _of_methods(folder: Path, methods: str) -> list[Cell]:
    """Of the methods that stand between commas; of all if there are none."""
    return [cell for cell in read_cells(folder) if not methods or cell["method"] in methods.split(",")]


def _some(cells: list[Cell], *folders: Path) -> list[Cell]:
    """A path that is mistaken shall not leave an empty table."""
    if not cells:
        raise InputError(f"{', '.join(map(str, folders))}: no such cell")
    return cells


def changes_table(dataset: str, method: str, folder: Path, changed: Path) -> str:
    """A method and what one change at a time makes of it, on the classes of a set on which changes were measured."""
    changes = _some(read_cells(changed), changed)
    classes = {cell["normal"] for cell in changes}
    cells = [cell for cell in (*read_cells(folder), *changes) if cell["normal"] in classes and cell["method"] == method]
    return as_markdown(one_class(cells, dataset).turned()).rstrip()


def demo_table(folder: Path) -> str:
    """AUROC of each detector of the demo by seed: files ``seedN.json`` are the demo's own ``results.json``."""
    runs = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("seed*.json"))}
    rows = []
    for detector in next(iter(runs.values())):
        values = [run[detector]["auroc"] for run in runs.values()]
        summary = (float(np.mean(values)), float(np.std(values, ddof=1)))
        rows.append([detector, *(f"{value:.3f}" for value in (*values, *summary))])
    return markdown(["detector", *(name.replace("seed", "seed ") for name in runs), "mean", "sd"], rows)


_SPEED = {
    "training step, precision auto, against the reference": "train_ratio",
    "training step, float32, against the reference: less work, memory format": "train_share_less_work",
    "training step, bf16 against float32": "train_share_arithmetic",
    "training step, joined convolutions against blocks as the paper writes them": "train_share_fewer_products",
    "scoring R and A, precision auto, against the reference": "score_ratio",
    "scoring R and A, precision auto, against the reference at 128 or 16 at once, the faster": "score_ratio_against_best",
    "scoring R and A, float32, against the reference: less work, memory format": "score_share_less_work",
    "scoring R and A, bf16 against float32": "score_share_arithmetic",
    "scoring R and A, spectral norms once a stream against once a batch": "score_share_folded",
    "scoring the relative R, as the preset has it, precision auto, against the reference's R": "score_ratio_relative",
}


def speed_table(folder: Path) -> str:
    """What ``benchmarks/train_step.py --json`` wrote, one row for each file and quantity."""
    rows = []
    for file in sorted(folder.glob("steps-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        setting = f"{run['preset']} on {run['device']}, {run['threads']} threads, batch {run['batch']}"
        told = {what: run[key] for what, key in _SPEED.items() if run["bf16"] or "bf16" not in what}
        rows += [[setting, what, f"{ratio:.2f}"] for what, ratio in told.items() if ratio is not None]
    return markdown(["preset, device", "what", "ratio"], rows)


def counted_table(folder: Path) -> str:
    """Multiply-adds and bytes of each part of a step and of scoring, and how near its floor it came."""
    rows = []
    for file in sorted(folder.glob("steps-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        step = {
            key: sum(part[key] for part in run["train_parts"].values()) for key in ("multiply_adds", "bytes", "floor_seconds")
        }
        shares = {"whole step": run["train_share_of_floor"], "scoring R": run["score_share_of_floor"]}
        for part, count in (run["train_parts"] | {"whole step": step} | run["score_parts"]).items():
            counts = (count["multiply_adds"] / 1e6, count["bytes"] / 1e6, count["floor_seconds"] * 1e3)
            share = f"{shares[part]:.2f}" if part in shares else ""
            rows.append([run["preset"], part, *(f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in counts), share])
    return markdown(["preset", "part", "million multiply-adds", "MB read and written", "floor, ms", "floor / time"], rows)


def quality_table(folder: Path) -> str:
    """What ``benchmarks/quality.py`` wrote: AUROC of both trainings, scored in both precisions."""
    cells = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    columns = sorted(cells[0]["auroc"]["float32"])
    rows = []
    for way, precision, label in (("reference", "float32", "float32"), ("fast", "float32", "float32"), ("fast", "auto", "bf16")):
        found = [cell["auroc"][precision] for cell in cells if cell["training"] == way]
        rows.append([way, label, *(mean_and_spread([one[column] for one in found]) for column in columns), str(len(found))])
    return markdown(["training", "scoring", *columns, "seeds"], rows)


def memory_table(folder: Path) -> str:
    """What ``benchmarks/memory.py`` wrote."""
    run = json.loads((folder / "memory.json").read_text(encoding="utf-8"))
    kinds = {kind: found for kind, found in run.items() if isinstance(found, dict) and "bytes_per_image" in found}
    rows = []
    for kind, found in kinds.items():
        few, many = (f"{int(count):,} images: {highest / 1e6:.0f} MB" for count, highest in found["highest"].items())
        rows.append([kind, few, many, f"{found['bytes_per_image']:.0f}"])
    return markdown(["input", "highest with", "highest with", "bytes for each further image"], rows)


def scaling_table(folder: Path) -> str:
    """What ``benchmarks/scaling.py`` wrote."""
    run = json.loads((folder / "scaling.json").read_text(encoding="utf-8"))
    ratios = {"one process": 1.0, "two processes": run["scaling"], "one process, two threads": run["scaling_of_threads"]}
    rows = [[way, f"{run['images_per_second'][way]:.0f}", f"{ratio:.2f}"] for way, ratio in ratios.items()]
    return markdown(["training", "images/s", "times one process of one thread"], rows)


def public_table(folder: Path) -> str:
    """What ``benchmarks/public_step.py`` wrote: our training steps beside public implementations of the same size."""
    rows = []
    for file in sorted(folder.glob("public-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        ratios = [f"{run['ratios'][name]:.2f}" for name in ("float32", "auto")]
        rows.append([run["network"], f"{run['public']}, {run['revision'][:7]}", *ratios])
    return markdown(["training step of", "beside", "times as fast, float32", "times as fast, precision auto"], rows)


def trainings_table(folder: Path, normal: str) -> str:
    """What ``benchmarks/trainings.py`` wrote: a whole training of each method, and images a second."""
    run = json.loads((folder / f"trainings-{folder_name(normal)}.json").read_text(encoding="utf-8"))
    rows = []
    for method, found in run["methods"].items():
        trained = "-" if found["trained"] is None else f"{found['trained']:,.0f}"
        rows.append([method, f"{found['fit_seconds']:.0f}", trained, f"{found['scored']:,.0f}"])
    heading = [f"preset cpu, {run['images']:,} images of {normal}, {run['threads']} threads", "fit, seconds"]
    return markdown([*heading, "images/s trained, by the whole fit", "images/s scored"], rows)


def solar_table(folder: Path) -> str:
    """What ``examples/solar_cells.py`` wrote: each detector and reading on each kind of cell."""
    runs = [read_cell(file) for file in sorted(folder.glob("*.json"))]
    kinds, metrics = sorted({run["kind"] for run in runs}), ("auroc", "fpr95")
    rows = []
    for size, method, side in sorted({(run["size"], run["method"], side) for run in runs for side in run["metrics"]}):
        row, counts = [f"{method}, {side}", str(size)], set[int]()
        for kind in kinds:
            found = [run["metrics"][side] for run in runs if (run["size"], run["method"], run["kind"]) == (size, method, kind)]
            row += [mean_and_spread([one[metric] for one in found]) for metric in metrics]
            counts.add(len(found))
        rows.append([*row, " or ".join(map(str, sorted(counts)))])
    heading = [f"{kind}, {name}" for kind in kinds for name in ("AUROC", "FPR@95")]
    return markdown(["solar cells", "pixels", *heading, "seeds"], rows)


TABLES: dict[str, Callable[..., str]] = {
    "table1": lambda root, folder, normal, methods="": table1(root / folder, normal, methods),
    "table2": lambda root, folder, *words: table2(root / folder, *words),
    "sampled": lambda root, folder, *words: sampled_table(root / folder, *words),
    "table3": lambda root, folder: as_markdown(negatives(read_cells(root / folder))).rstrip(),
    "known": lambda root, normal, method, *folders: known_table(normal, method, [root / folder for folder in folders]),
    "changes": lambda root, dataset, method, folder, changed: changes_table(dataset, method, root / folder, root / changed),
    "demo": lambda root, folder: demo_table(root / folder),
    "solar": lambda root, folder: solar_table(root / folder),
    "first-hour-alarms": lambda root, folder: first_hour.alarms_table(root / folder),
    "first-hour-cells": lambda root, folder: first_hour.cells_table(root / folder),
    "first-hour-sizes": lambda root, folder: first_hour.sizes_table(root / folder),
    "first-hour-scorers": lambda root, folder: first_hour.scorers_table(root / folder),
    "first-hour-cost": lambda root, folder: first_hour.cost_table(root / folder),
    "backgrounds": lambda root, folder, normal: backgrounds.backgrounds_table(root / folder, normal),
    "groups": lambda root, folder, normal: likelihoods.groups_table(root / folder, normal),
    "bits": lambda root, folder: likelihoods.bits_table(root / folder),
    "lengths": lambda root, normal, *folders: likelihoods.lengths_table(normal, *(root / folder for folder in folders)),
    "public": lambda root, folder: public_table(root / folder),
    "trainings": lambda root, folder, normal: trainings_table(root / folder, normal),
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
    "speed": lambda root, folder: speed_table(root / folder),
    "counted": lambda root, folder: counted_table(root / folder),
    "quality": lambda root, folder: quality_table(root / folder),
    "memory": lambda root, folder: memory_table(root / folder),
    "scaling": lambda root, folder: scaling_table(root / folder),
}
"""Name in a page to the function that makes the table from the repository's root and the marker's words."""

_MARKED = re.compile(r"(<!-- table ([^>]+?) -->)[ \t]*(?:\n|\Z)(?:\*\*.*\*\*\n\n)?(?:[|>].*(?:\n|\Z))*")


def refreshed(text: str, root: Path) -> str:
    """A page with every marked table made anew."""

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
