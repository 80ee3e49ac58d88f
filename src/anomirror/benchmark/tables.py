"""Measured cells as tables: ours, the paper's figure and the difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from anomirror.benchmark.cells import Entry, Interval
from anomirror.benchmark.experiments import BOX_COLUMNS, ONE_CLASS, OUT_OF_DISTRIBUTION, classes_of
from anomirror.benchmark.protocols import PROTOCOLS, REST
from anomirror.benchmark.published import CIFAR10_CLASSES, PRINTED_AVERAGES, PUBLISHED
from anomirror.benchmark.render import Table, mean_and_spread
from anomirror.benchmark.rows import BASELINES, PLAIN_R, Row, own_side, rows_of
from anomirror.errors import InputError, SettingError
from anomirror.scorers import SIDES

METRICS = ("auroc", "aupr", "aupr_normal", "fpr95", "auroc_whole_set")
"""What a table can show."""


class _Entries:
    """Cells by row and column, of one metric."""

    def __init__(self, entries: Iterable[Entry], metric: str) -> None:
        self.metric = metric
        self.entries = list(entries)
        self.by_place: dict[tuple[Row, str, str], list[Entry]] = {}
        settings: dict[tuple[Row, str], tuple[str, dict[str, object]]] = {}
        for entry in self.entries:
            row, normal = Row.of(entry), entry.record.normal
            self.by_place.setdefault((row, normal, entry.cell.anomalies), []).append(entry)
            parameters = entry.record.parameters_of(entry.cell)
            own = (entry.cell.scorer, {**parameters, "random_state": None})
            if settings.setdefault((row, normal), own) != own:
                raise InputError(
                    f"{row.label} on {normal}: cells of different settings or scorers "
                    f"({settings[row, normal][0]}, {own[0]}); measure the older ones again"
                )
        for (row, normal, anomalies), alike in self.by_place.items():
            if len({entry.record.seed for entry in alike}) < len(alike):
                raise InputError(
                    f"{row.label} on {normal} -> {anomalies}: several cells of one seed; give one "
                    "folder of results"
                )

    def by_seed(self, row: Row, normal: str, anomalies: str) -> dict[int, float]:
        """Values, without cells that have no such metric."""
        values = {
            entry.record.seed: entry.cell.value(self.metric)
            for entry in self.by_place.get((row, normal, anomalies), [])
        }
        return {seed: value for seed, value in values.items() if value is not None}

    def values(self, row: Row, normal: str, anomalies: str) -> list[float]:
        """Values in order of seeds."""
        return [value for _, value in sorted(self.by_seed(row, normal, anomalies).items())]

    def interval(self, row: Row, normal: str, anomalies: str) -> Interval | None:
        """The interval of a single seed; None if there are several."""
        entries = self.by_place.get((row, normal, anomalies), [])
        return entries[0].cell.interval(self.metric) if len(entries) == 1 else None

    def averages(self, row: Row, normals: Sequence[str]) -> list[float]:
        """Over one-class cells, of each seed that every class has."""
        by_class = [self.by_seed(row, normal, REST) for normal in normals]
        common = set.intersection(*map(set, by_class)) if by_class else set()
        return [float(np.mean([values[seed] for values in by_class])) for seed in sorted(common)]

    def seeds(self, row: Row) -> str:
        """How many, over the row's cells."""
        counts = [len(entries) for (of, _, _), entries in self.by_place.items() if of == row]
        fewest, most = min(counts), max(counts)
        return f"{fewest}" if fewest == most else f"{fewest} to {most}"

    def is_behind(self, ours: float, other: float) -> bool:
        """Whether ours does not beat another."""
        return ours >= other if self.metric == "fpr95" else ours <= other

    def best(self, candidates: Sequence[tuple[float, Row]]) -> tuple[float, Row]:
        """The lowest FPR, else the highest value."""
        return (min if self.metric == "fpr95" else max)(candidates, key=lambda pair: pair[0])

    def rows(self) -> list[Row]:
        """Trained methods first, their own side before the other; then the baselines."""
        return sorted(dict.fromkeys(row for row, _, _ in self.by_place), key=Row.order)


# ---------------------------------------------------------------------- tables


def comparison(entries: Sequence[Entry], normal: str, metric: str = "auroc") -> Table:
    """Every row against every anomaly set of one normal set.

    If any of the paper's columns is measured, the others are shown as well. Box negatives have a
    table of their own, :func:`negatives`.
    """
    of_normal = [e for e in entries if e.record.normal == normal and not _has_box(e)]
    grid = _Entries(of_normal, metric)
    measured = dict.fromkeys(entry.cell.anomalies for entry in of_normal)
    shown = _shown_columns(normal, list(measured))
    rows = []
    for row in grid.rows():
        own = rows_of(row.method)
        if (row.variant in own.ablations or row.scoring in own.beside) and not row.is_own_side:
            continue  # of an ablation the paper, too, has its own score alone
        against = [_against_paper(grid, row, normal, column) for column in shown]
        rows.append([row.label, *against, grid.seeds(row)])
    title = f"{shown_name(normal)} is normal: {_title(grid)}"
    heading = [_metric_name(metric), *(f"→ {shown_name(column)}" for column in shown), "seeds"]
    return Table(title, heading, rows, _not_beaten(grid, normal, shown))


def _shown_columns(normal: str, measured: Sequence[str]) -> list[str]:
    """Measured columns and open ones of the paper, in the order of the paper."""
    compared = any(_in_paper(normal, column) for column in measured)
    known = [
        column
        for column in OUT_OF_DISTRIBUTION.get(normal, ())
        if column in measured or (compared and _in_paper(normal, column))
    ]
    return known + [column for column in measured if column not in known]


def one_class(entries: Sequence[Entry], dataset: str, metric: str = "auroc") -> Table:
    """A row for each class that was measured, then their average; a column for each method."""
    every = classes_of(dataset)
    grid = _Entries([entry for entry in entries if entry.record.normal in every], metric)
    measured = {entry.record.normal for entry in grid.entries}
    normals = [normal for normal in every if normal in measured]
    columns = grid.rows()
    rows = [
        [_class_name(normal), *(_against_paper(grid, column, normal, REST) for column in columns)]
        for normal in normals
    ]
    averages = {column: grid.averages(column, normals) for column in columns}
    if normals == every:
        name, printed = "average", PRINTED_AVERAGES if metric == "auroc" else {}
    else:
        name, printed = f"average of {len(normals)}", {}
    of_paper = [printed.get((column.published(), dataset)) for column in columns]
    pairs = zip(columns, of_paper, strict=True)
    rows.append([name, *(_with_paper(averages[column], None, paper) for column, paper in pairs)])
    rows.append(["seeds", *(grid.seeds(column) for column in columns)])
    title = f"one class of {dataset} is normal: {_title(grid)}"
    notes = [*_not_beaten_on_average(grid, averages), *_sampled(grid)]
    return Table(title, [_metric_name(metric), *(column.label for column in columns)], rows, notes)


def _class_name(normal: str) -> str:
    dataset, _, label = normal.rpartition(":")
    return CIFAR10_CLASSES[int(label)] if dataset == "cifar10" else label


def _sampled(grid: _Entries) -> list[str]:
    """Notes on rows that were tested on fewer images than others."""
    tested: dict[Row, int] = {}
    for (row, _, _), entries in grid.by_place.items():
        counts = [entry.column.counts for entry in entries]
        tested[row] = max([tested.get(row, 0), *(each.normal + each.anomalies for each in counts)])
    most = max(tested.values(), default=0)
    return [
        f"{row.label}: a sample of {count:,} test images."
        for row, count in tested.items()
        if count < most
    ]


def negatives(entries: Sequence[Entry], metric: str = "auroc") -> Table:
    """Box negatives against atypical selection, with and without interpolation."""
    methods, beside = ("ama", *BASELINES), rows_of("ama").beside
    chosen = [
        entry
        for entry in entries
        if entry.record.normal in BOX_COLUMNS
        and entry.record.method in methods
        and entry.cell.scoring not in beside  # which is not of the variants that are compared
    ]
    grid = _Entries(chosen, metric)
    baselines = [Row(method, "", "", side) for method in BASELINES for side in SIDES]
    rows, notes = [], []
    for normal, columns in BOX_COLUMNS.items():
        for column in columns:
            for scoring, words in (("", ""), (PLAIN_R, ", by the paper's R")):
                own = [Row("ama", variant, scoring, own_side("ama")) for variant in _BOX_ORDER]
                line = [_against_paper(grid, row, normal, column) for row in [*own, *baselines]]
                measured = any(grid.values(row, normal, column) for row in own)
                if measured or (not scoring and any(text != "-" for text in line)):
                    rows.append([f"{normal} → {column}{words}", *line])
            for note in _not_beaten(grid, normal, [column]):
                notes.append(note.replace("→ ", f"{normal} → "))
    heading = ["box", "atypical", "box, interpolation", "atypical, interpolation"]
    heading = [_metric_name(metric), *heading, *(row.label for row in baselines)]
    return Table(f"synthetic negatives of AMA: {_title(grid)}", heading, rows, notes)


_BOX_ORDER = ("box-no-interpolation", "no-interpolation", "box", "")
"""Variants of AMA in the columns of Table 3."""


def all_tables(entries: Sequence[Entry], metric: str = "auroc") -> list[Table]:
    """Everything that some cells can fill, one protocol at a time."""
    if metric not in METRICS:
        raise SettingError(f"no metric named {metric!r}: choose one of {', '.join(METRICS)}")
    tables = []
    for group, protocol in product(dict.fromkeys(e.record.group for e in entries), PROTOCOLS):
        chosen = [e for e in entries if (e.record.group, e.record.protocol) == (group, protocol)]
        tables += _tables_of_group(chosen, metric)
    if not tables:
        raise InputError(
            "no measured cell here: give a folder that `anomirror reproduce` or `anomirror "
            "benchmark` wrote"
        )
    return tables


def _tables_of_group(entries: Sequence[Entry], metric: str) -> list[Table]:
    normals = dict.fromkeys(entry.record.normal for entry in entries)
    classes = Counter(normal.split(":")[0] for normal in normals if normal in ONE_CLASS)
    ordered = [*(name for name in OUT_OF_DISTRIBUTION if name in normals), *normals]
    tables = [
        comparison(entries, normal, metric)
        for normal in dict.fromkeys(ordered)
        if normal not in ONE_CLASS or classes[normal.split(":")[0]] == 1
    ]
    tables += [one_class(entries, name, metric) for name, count in classes.items() if count > 1]
    if any(map(_has_box, entries)):
        tables.append(negatives(entries, metric))
    return tables


def _has_box(entry: Entry) -> bool:
    return entry.record.variant in ("box", "box-no-interpolation")


def shown_name(name: str) -> str:
    """A folder by its last part."""
    return Path(name).name if "/" in name or "\\" in name else name


def _title(grid: _Entries) -> str:
    protocols = sorted({entry.record.protocol for entry in grid.entries})
    if len(protocols) > 1:
        raise InputError("cells of protocols blind and paper never stand in one table")
    groups = ", ".join(sorted({entry.record.group for entry in grid.entries}))
    spread = "one seed, 95 % interval"
    if any(len(entries) > 1 for entries in grid.by_place.values()):
        spread = "mean ± standard deviation over seeds; of one seed its 95 % interval"
    return f"{_metric_name(grid.metric)}, protocol {''.join(protocols)}, preset {groups}; {spread}"


def _metric_name(metric: str) -> str:
    names = {
        "aupr_normal": "AUPR, normal positive",
        "fpr95": "FPR@95",
        "auroc_whole_set": "AUROC, whole sets",
    }
    return names.get(metric, metric.upper())


# ---------------------------------------------------------------------- next to the paper


def _in_paper(normal: str, column: str) -> bool:
    return any((normal, column) in row for row in PUBLISHED["table1"].values())


def _paper(row: Row, normal: str, column: str) -> float | None:
    """The paper's figure; what stands in two of its tables is the same in both."""
    name = row.published()
    figures = (rows[name] for rows in PUBLISHED.values() if name in rows)
    return next((f[normal, column] for f in figures if (normal, column) in f), None)


def _against_paper(grid: _Entries, row: Row, normal: str, column: str) -> str:
    """Ours, then the paper's and the difference."""
    compared = grid.metric == "auroc" and not row.labelled
    paper = _paper(row, normal, column) if compared else None
    values, interval = grid.values(row, normal, column), grid.interval(row, normal, column)
    text = _with_paper(values, interval, paper)
    in_table = _in_paper(normal, column) and row.published() in PUBLISHED["table1"]
    return f"{text} (paper -)" if compared and paper is None and in_table else text


def _with_paper(values: Sequence[float], interval: Interval | None, paper: float | None) -> str:
    ours = mean_and_spread(values)
    if values and interval is not None:
        ours += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    if paper is None:
        return ours
    difference = f", {np.mean(values) - paper:+.3f}" if values else ""
    return f"{ours} (paper {paper:.3f}{difference})"


# ---------------------------------------------------------------------- next to the baselines


def _is_claim(row: Row) -> bool:
    """Whether a row is a trained method as it is to be used."""
    return not rows_of(row.method).is_baseline and not row.is_ablation and row.is_own_side


def _not_beaten(grid: _Entries, normal: str, columns: Sequence[str]) -> list[str]:
    """Notes on columns on which a trained method is not ahead of the baselines."""
    notes = []
    for row in filter(_is_claim, grid.rows()):
        behind = [_behind(grid, row, normal, column) for column in columns]
        if named := ", ".join(filter(None, behind)):
            notes.append(f"{row.label} does not beat pca and knn on {named}.")
    return notes


def _behind(grid: _Entries, row: Row, normal: str, column: str) -> str:
    """The column with both values, if a baseline is not beaten there; else empty."""
    ours = grid.values(row, normal, column)
    others = [
        (float(np.mean(values)), other)
        for other in grid.rows()
        if rows_of(other.method).is_baseline and (values := grid.values(other, normal, column))
    ]
    if not ours or not others:
        return ""
    best, other = grid.best(others)
    if not grid.is_behind(float(np.mean(ours)), best):
        return ""
    return f"→ {shown_name(column)} ({other.label} {best:.3f}, {np.mean(ours):.3f})"


def _not_beaten_on_average(grid: _Entries, averages: Mapping[Row, Sequence[float]]) -> list[str]:
    means = {row: float(np.mean(values)) for row, values in averages.items() if values}
    others = [(value, row) for row, value in means.items() if rows_of(row.method).is_baseline]
    if not others:
        return []
    best, other = grid.best(others)
    return [
        f"{row.label} does not beat {other.label} on average ({value:.3f}, {best:.3f})."
        for row, value in means.items()
        if _is_claim(row) and grid.is_behind(value, best)
    ]
