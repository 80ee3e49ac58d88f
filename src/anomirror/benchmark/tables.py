"""Measured cells as tables: ours, the paper's figure and the difference, in Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomirror.benchmark.experiments import BASELINES, BOX_COLUMNS, ONE_CLASS, OUT_OF_DISTRIBUTION
from anomirror.benchmark.protocols import PROTOCOLS, REST
from anomirror.benchmark.published import CIFAR10_CLASSES, PUBLISHED
from anomirror.errors import InputError, SettingError
from anomirror.scoring import SIDES

Cell = dict[str, Any]

METRICS = ("auroc", "aupr", "aupr_normal", "fpr95", "auroc_whole_set")
"""What a table can show."""


@dataclass(frozen=True)
class Table:
    """A title, a heading, rows of as many cells, and what is to be said below."""

    title: str
    heading: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------- cells


def read_cells(*folders: Path) -> list[Cell]:
    """Every cell below some folders, in order of known anomalies, file name and seed."""
    files = [file for folder in folders for file in sorted(folder.rglob("*.json"))]
    cells = [cell for file in files if "scores_file" in (cell := json.loads(file.read_text(encoding="utf-8")))]
    return sorted(cells, key=lambda cell: (cell["known_anomalies"] or {"count": 0})["count"])


@dataclass(frozen=True)
class Row:
    """Which cells stand in a row."""

    method: str
    variant: str
    side: str
    known: str = ""

    @classmethod
    def of(cls, cell: Cell) -> Row:
        known = cell["known_anomalies"]
        told = f"{known['count']} known from {known['set']}" if known else ""
        return cls(cell["method"], cell["variant"], cell["side"], told)

    @property
    def label(self) -> str:
        """For the first column."""
        name = _LABELS.get((self.method, self.variant), f"{self.method}, {self.variant}" if self.variant else self.method)
        return ", ".join(part for part in (name, self.known, self.side) if part)

    def published(self, own: str) -> str:
        """The row of the paper that it is compared with; a reading of the score that is not the method's own has one of AMA."""
        name = "/".join(part for part in (self.method, self.variant) if part)
        return name if self.side == own else f"{name}/{self.side}"


_LABELS = {
    ("ama", "no-mirrored"): "ama without mirrored loss",
    ("ama", "no-interpolation"): "ama without interpolation",
    ("ama", "no-negatives"): "ama without atypical selection",
    ("ama", "plain-r"): "ama scored by the paper's R",
    ("ama", "box"): "ama with box negatives",
    ("ama", "box-no-interpolation"): "ama with box negatives, without interpolation",
}


def own_side(method: str) -> str:
    """How a method reads its raw score by default."""
    from anomirror.detectors import DETECTORS

    return "one-sided" if method in DETECTORS and DETECTORS[method]().scorer == "negate" else "two-sided"


class _Found:
    """Cells by row and column, of one metric."""

    def __init__(self, cells: Iterable[Cell], metric: str) -> None:
        self.metric = metric
        self.by_place: dict[tuple[Row, str, str], list[Cell]] = {}
        for cell in cells:
            self.by_place.setdefault((Row.of(cell), cell["normal"], cell["anomalies"]), []).append(cell)
        for (row, normal, anomalies), found in self.by_place.items():
            if len({cell["seed"] for cell in found}) < len(found):
                raise InputError(f"{row.label} on {normal} -> {anomalies}: several cells of one seed; give one folder of results")
            scorers = sorted({cell["scorer"] for cell in found})
            if len(scorers) > 1:
                raise InputError(f"{row.label}: cells of scorers {' and '.join(scorers)}; measure the older ones again")

    def values(self, row: Row, normal: str, anomalies: str) -> list[float]:
        return [cell["metrics"][self.metric] for cell in self.by_place.get((row, normal, anomalies), [])]

    def interval(self, row: Row, normal: str, anomalies: str) -> list[float] | None:
        found = self.by_place.get((row, normal, anomalies), [])
        interval: list[float] | None = found[0]["metrics"].get(f"{self.metric}_ci") if len(found) == 1 else None
        return interval

    def rows(self) -> list[Row]:
        """Trained methods first, their own reading before the other; then what a user would pick instead."""
        rows = dict.fromkeys(row for row, _, _ in self.by_place)
        variants = {variant: place for place, (_, variant) in enumerate(_LABELS)}

        def order(row: Row) -> tuple[Any, ...]:
            other_side = row.side != own_side(row.method)
            known = int(row.known.split()[0]) if row.known else 0
            return row.method in BASELINES, row.method, known, bool(row.variant), variants.get(row.variant, 99), other_side

        return sorted(rows, key=order)


# ---------------------------------------------------------------------- tables


def comparison(cells: Sequence[Cell], normal: str, metric: str = "auroc") -> Table:
    """Every row against every anomaly set of one normal set; columns of the paper that are not measured stay open."""
    of_normal = [cell for cell in cells if cell["normal"] == normal]
    found = _Found(of_normal, metric)
    there = dict.fromkeys(cell["anomalies"] for cell in of_normal)
    order = OUT_OF_DISTRIBUTION.get(normal, ())
    shown = [column for column in order if column in there or _in_paper(normal, column)]
    shown += [column for column in there if column not in shown]
    rows = []
    for row in found.rows():
        if row.variant and row.side != own_side(row.method) and row.variant != "plain-r":
            continue  # of an ablation the paper, too, has its own score alone
        against = [_against_paper(found, row, normal, column) for column in shown]
        rows.append([row.label, *against, str(max(len(found.values(row, normal, column)) for column in shown))])
    title = f"{normal} is normal: {_title(of_normal, metric)}"
    heading = [_metric_name(metric), *(f"→ {column}" for column in shown), "seeds"]
    return Table(title, heading, rows, _beaten(found, normal, shown))


def one_class(cells: Sequence[Cell], dataset: str, metric: str = "auroc") -> Table:
    """Classes of one set as columns, and their average."""
    normals = [normal for normal in ONE_CLASS if normal.startswith(f"{dataset}:")]
    chosen = [cell for cell in cells if cell["normal"] in normals]
    found = _Found(chosen, metric)
    labels = CIFAR10_CLASSES if dataset == "cifar10" else tuple(map(str, range(10)))
    rows = []
    for row in found.rows():
        means = [float(np.mean(values)) if (values := found.values(row, normal, REST)) else None for normal in normals]
        papers = [_paper(row, normal, REST) for normal in normals]
        line = [_told(None if mean is None else f"{mean:.3f}", mean, paper) for mean, paper in zip(means, papers, strict=True)]
        average, published = _mean(means), _mean(papers)
        rows.append([row.label, *line, _told(None if average is None else f"{average:.3f}", average, published)])
    title = f"one class of {dataset} is normal: {_title(chosen, metric)}"
    return Table(title, [_metric_name(metric), *labels, "average"], rows, _beaten_on_average(found, normals))


def negatives(cells: Sequence[Cell], metric: str = "auroc") -> Table:
    """Box negatives against atypical selection, with and without interpolation."""
    found = _Found([cell for cell in cells if cell["normal"] in BOX_COLUMNS], metric)
    variants = ("box-no-interpolation", "no-interpolation", "box", "")
    side = own_side("ama")
    rows = []
    for normal, columns in BOX_COLUMNS.items():
        for column in columns:
            lines = [_against_paper(found, Row("ama", variant, side), normal, column) for variant in variants]
            baselines = [
                f"{np.mean(values):.3f}" if (values := found.values(Row(method, "", side), normal, column)) else "-"
                for method in BASELINES
                for side in SIDES
            ]
            if any(not line.startswith("-") for line in lines) or any("paper" in line for line in lines):
                rows.append([f"{normal} → {column}", *lines, *baselines])
    heading = [
        _metric_name(metric),
        "box",
        "atypical",
        "box, interpolation",
        "atypical, interpolation",
        *(f"{method} {side}" for method in BASELINES for side in SIDES),
    ]
    return Table(f"synthetic negatives of AMA: {_title(list(_cells_of(found)), metric)}", heading, rows)


def all_tables(cells: Sequence[Cell], metric: str = "auroc") -> list[Table]:
    """Everything that some cells can fill, one protocol at a time."""
    if metric not in METRICS:
        raise SettingError(f"no metric named {metric!r}: choose one of {', '.join(METRICS)}")
    tables = []
    for protocol in PROTOCOLS:
        chosen = [cell for cell in cells if cell["protocol"] == protocol]
        normals = dict.fromkeys(cell["normal"] for cell in chosen)
        ordered = [*(name for name in OUT_OF_DISTRIBUTION if name in normals), *normals]
        for normal in dict.fromkeys(ordered):
            if normal not in ONE_CLASS or sum(name.startswith(normal.split(":")[0] + ":") for name in normals) == 1:
                of_table1 = [cell for cell in chosen if "box" not in cell["variant"]]
                tables.append(comparison(of_table1, normal, metric))
        tables += [
            one_class(chosen, name, metric)
            for name in ("mnist", "cifar10")
            if sum(normal in ONE_CLASS and normal.startswith(f"{name}:") for normal in normals) > 1
        ]
        if any("box" in cell["variant"] for cell in chosen):
            tables.append(negatives(chosen, metric))
    if not tables:
        raise InputError("no measured cell here: give a folder that `anomirror reproduce` or `anomirror benchmark` wrote")
    return tables


def _cells_of(found: _Found) -> Iterable[Cell]:
    for cells in found.by_place.values():
        yield from cells


def _title(cells: Sequence[Cell], metric: str) -> str:
    protocols = " and ".join(sorted({cell["protocol"] for cell in cells}))
    if " " in protocols:
        raise InputError("cells of protocols blind and paper never stand in one table")
    presets = ", ".join(sorted({cell["preset"] for cell in cells if cell["method"] not in BASELINES})) or "cpu"
    seeds = max((cell["seed"] for cell in cells), default=0) + 1
    spread = "mean ± standard deviation over seeds" if seeds > 1 else "one seed, 95 % interval"
    return f"{_metric_name(metric)}, protocol {protocols}, preset {presets}; {spread}"


def _metric_name(metric: str) -> str:
    names = {"aupr_normal": "AUPR, normal positive", "fpr95": "FPR@95", "auroc_whole_set": "AUROC, whole sets"}
    return names.get(metric, metric.upper())


def _in_paper(normal: str, column: str) -> bool:
    return any((normal, column) in row for row in PUBLISHED["table1"].values())


def _paper(row: Row, normal: str, column: str) -> float | None:
    """The paper's figure; what stands in two of its tables is the same in both."""
    name = row.published(own_side(row.method))
    told = [figures[name][normal, column] for figures in PUBLISHED.values() if (normal, column) in figures.get(name, {})]
    return told[0] if told and not row.known else None


def _against_paper(found: _Found, row: Row, normal: str, column: str) -> str:
    """Ours, then the paper's and the difference."""
    values = found.values(row, normal, column)
    paper = _paper(row, normal, column) if found.metric == "auroc" else None
    interval = found.interval(row, normal, column)
    ours = mean_and_spread(values) if values else None
    if ours is not None and interval is not None:
        ours += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return _told(ours, float(np.mean(values)) if values else None, paper)


def _told(ours: str | None, value: float | None, paper: float | None) -> str:
    if paper is None:
        return ours or "-"
    difference = "" if value is None else f", {value - paper:+.3f}"
    return f"{ours or '-'} (paper {paper:.3f}{difference})"


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if len(there) == len(values) else None


def _beaten(found: _Found, normal: str, columns: Sequence[str]) -> list[str]:
    """Where a trained method, as it comes, is not ahead of what a user would pick instead."""
    notes = []
    better = min if found.metric == "fpr95" else max
    for row in found.rows():
        if row.method in BASELINES or row.variant or row.side != own_side(row.method):
            continue
        behind = []
        for column in columns:
            ours = found.values(row, normal, column)
            others = [
                (float(np.mean(values)), other)
                for other in found.rows()
                if other.method in BASELINES and (values := found.values(other, normal, column))
            ]
            if ours and others:
                best, other = better(others, key=lambda pair: pair[0])
                if better(float(np.mean(ours)), best) == best:
                    behind.append(f"→ {column} ({other.label} {best:.3f}, {np.mean(ours):.3f})")
        if behind:
            notes.append(f"{row.label} does not beat pca and knn on {', '.join(behind)}.")
    return notes


def _beaten_on_average(found: _Found, normals: Sequence[str]) -> list[str]:
    averages = {
        row: average
        for row in found.rows()
        if (average := _mean([float(np.mean(v)) if (v := found.values(row, normal, REST)) else None for normal in normals]))
        is not None
    }
    others = {row: value for row, value in averages.items() if row.method in BASELINES}
    if not others:
        return []
    best = max(others, key=lambda row: others[row])
    return [
        f"{row.label} does not beat {best.label} on average ({value:.3f}, {others[best]:.3f})."
        for row, value in averages.items()
        if row.method not in BASELINES and not row.variant and row.side == own_side(row.method) and value <= others[best]
    ]


# ---------------------------------------------------------------------- rendering


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every row has as many cells as the heading."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_markdown(table: Table) -> str:
    """With its title above and its notes below."""
    notes = "".join(f"\n> {note}" for note in table.notes)
    return f"**{table.title}**\n\n{markdown(table.heading, table.rows)}{notes}\n"


def as_latex(table: Table) -> str:
    """A ``table`` environment; needs the package booktabs."""
    lines = [" & ".join(map(_latex, line)) + r" \\" for line in (table.heading, *table.rows)]
    body = "\n".join([lines[0], r"\midrule", *lines[1:]])
    notes = "".join(f"\n{_latex(note)}\n" for note in table.notes)
    columns = "l" + "r" * (len(table.heading) - 1)
    return (
        f"\\begin{{table}}\n\\caption{{{_latex(table.title)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n"
        f"\\bottomrule\n\\end{{tabular}}{notes}\n\\end{{table}}\n"
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def as_html(table: Table) -> str:
    """A ``table`` element with its caption, and its notes as paragraphs."""
    heading = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.heading)
    rows = "\n".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in table.notes)
    return f"<table>\n<caption>{html.escape(table.title)}</caption>\n<tr>{heading}</tr>\n{rows}\n</table>{notes}\n"


FORMATS: dict[str, Callable[[Table], str]] = {"markdown": as_markdown, "latex": as_latex, "html": as_html}
"""Name to how a table is written."""


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean, and the standard deviation if there is more than one value."""
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"
