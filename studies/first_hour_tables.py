"""Tables of the first hour, from what ``studies/first_hour.py`` measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from anomirror.benchmark.render import markdown
from anomirror.detectors import detector_class
from studies.first_hour import QUICK

Row = dict[str, Any]


def _rows(folder: Path, name: str) -> list[Row]:
    """Rows of the file of this name, and of those whose name goes on after a hyphen.

    Processes side by side write one each.
    """
    files = sorted([*folder.glob(f"{name}.json"), *folder.glob(f"{name}-*.json")])
    return [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]


def _values(rows: list[Row], name: str, **key: Any) -> list[float]:
    return [row[name] for row in rows if key.items() <= row.items()]


def _spread(values: list[float]) -> str:
    """Mean, and the lowest and highest; of one value itself."""
    if not values:
        return "-"
    low, high = min(values), max(values)
    return (
        f"{np.mean(values):.2f}"
        if len(values) == 1
        else f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"
    )


def alarms_table(folder: Path) -> str:
    """Share of unseen good images that are flagged, and of anomalies that are found, before and
    after.
    """
    before, after = (_rows(folder, f"false-alarms-{label}") for label in ("before", "after"))
    keys = dict.fromkeys((row["set"], row["method"], row["count"]) for row in before)
    rows = []
    for dataset, method, count in keys:
        key = {"set": dataset, "method": method, "count": count}
        counts = [len(_values(of, "false_alarms", **key)) for of in (before, after)]
        draws = ", ".join(map(str, dict.fromkeys(counts)))
        cells = [
            _spread(_values(of, name, **key))
            for name in ("false_alarms", "found")
            for of in (before, after)
        ]
        rows.append([dataset, method, f"{count:,}", *cells, draws])
    heading = [
        "images",
        "method",
        "fitted on",
        "false alarms before",
        "after",
        "anomalies found before",
        "after",
        "draws",
    ]
    return markdown(heading, rows)


def sizes_table(folder: Path) -> str:
    """AUROC by size: real defects of solar cells, and planted ones."""
    found = sorted(_rows(folder, "sizes"), key=lambda row: row["method"] not in QUICK)
    sizes = sorted({row["size"] for row in found})
    rows = [
        [
            name,
            method,
            *(
                _spread(_values(found, "auroc", set=name, method=method, size=size))
                for size in sizes
            ),
        ]
        for name, method in dict.fromkeys((row["set"], row["method"]) for row in found)
    ]
    means = []
    for method in dict.fromkeys(row["method"] for row in found):
        proxies = [row for row in found if row["set"].startswith("planted")]
        averages = [_values(proxies, "auroc", method=method, size=size) for size in sizes]
        means.append(
            ["mean of the planted", method, *(f"{np.mean(v):.3f}" if v else "-" for v in averages)]
        )
    return markdown(["images", "method", *(f"{size} pixels" for size in sizes)], [*rows, *means])


def cells_table(folder: Path) -> str:
    """AUROC of real defects of solar cells at the default size.

    One fit of each method, five trainings of AMA.
    """
    names = ("cells-mono", "cells-poly")
    fits = [row for row in _of_default_size(folder) if row["method"] != "ama"]
    by_method = {
        row["method"]: [_values(fits, "auroc", set=name, method=row["method"]) for name in names]
        for row in fits
    }
    by_method["ama"] = [
        _values(_rows(folder, "scorers"), "negate", set=name, anomalies="real") for name in names
    ]
    order = sorted(
        by_method,
        key=lambda method: -float(np.mean([np.mean(values or 0) for values in by_method[method]])),
    )
    rows = [
        [method, *map(_spread, by_method[method]), str(len(by_method[method][0]))]
        for method in order
    ]
    return markdown(["method", "monocrystalline", "polycrystalline", "fits"], rows)


def cells_of(folder: Path, method: str, scorer: str) -> list[list[float]]:
    """AUROC of one method on both kinds of solar cells at the default size, of every fit."""
    names = ("cells-mono", "cells-poly")
    if method == "ama":
        rows = _rows(folder, "scorers")
        return [_values(rows, scorer, set=name, anomalies="real") for name in names]
    rows = _of_default_size(folder)
    return [_values(rows, "auroc", set=name, method=method) for name in names]


def _of_default_size(folder: Path) -> list[Row]:
    rows = _rows(folder, "sizes")
    return [row for row in rows if row["size"] == detector_class(row["method"]).auto_size]


def scorers_table(folder: Path) -> str:
    """AUROC of AMA under each scorer: proxies decide, real defects stand next to them."""
    found = _rows(folder, "scorers")
    names = ("negate", "log-gaussian", "gaussian")
    rows = []
    for dataset, kind in dict.fromkeys((row["set"], row["anomalies"]) for row in found):
        values = [_values(found, name, set=dataset, anomalies=kind) for name in names]
        rows.append([dataset, kind, *map(_spread, values), str(len(values[0]))])
    proxies = [row for row in found if row["anomalies"] != "real"]
    each = dict.fromkeys((row["set"], row["anomalies"]) for row in proxies)
    means = [
        np.mean([np.mean(_values(proxies, name, set=s, anomalies=kind)) for s, kind in each])
        for name in names
    ]
    rows.append(["mean of the proxies", "", *(f"{mean:.3f}" for mean in means), ""])
    return markdown(["normal images", "anomalies", *names, "seeds"], rows)


def cost_table(folder: Path) -> str:
    """Seconds and memory of a fit with defaults, and what was announced before it."""
    rows = [
        [
            row["method"],
            f"{row['width']}x{row['height']}",
            f"{row['seconds']:.0f} s",
            f"{row['gigabytes']:.1f} GB",
            row["said"],
        ]
        for row in _rows(folder, "cost")
    ]
    return markdown(["method", "1,000 photos of", "took", "memory", "announced"], rows)
