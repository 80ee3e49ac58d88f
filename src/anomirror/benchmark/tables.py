"""Measured cells as tables: ours, the paper's figure and the difference, in Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from anomirror.benchmark.experiments import (
    BASELINES,
    BOX_COLUMNS,
    LIKELIHOOD,
    ONE_CLASS,
    OUT_OF_DISTRIBUTION,
    PLAIN_R,
    classes_of,
)
from anomirror.benchmark.protocols import PROTOCOLS, REST
from anomirror.benchmark.published import CIFAR10_CLASSES, PRINTED_AVERAGES, PUBLISHED
from anomirror.benchmark.runner import joined, read_cell
from anomirror.codecs import CODECS
from anomirror.detectors import DETECTORS, make_detector
from anomirror.errors import InputError, SettingError
from anomirror.presets import as_published
from anomirror.scorers import SIDES

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

    def turned(self) -> Table:
        """Rows as columns."""
        heading, *rows = map(list, zip(self.heading, *self.rows, strict=True))
        return replace(self, heading=heading, rows=rows)


# ---------------------------------------------------------------------- cells


def read_cells(*folders: Path) -> list[Cell]:
    """Every cell below some folders, in order of known anomalies, file name and seed."""
    files = [file for folder in folders for file in sorted(folder.rglob("*.json"))]
    cells = [cell for file in files if "scores_file" in (cell := read_cell(file))]
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
        trained = networks(self.variant)
        name = _LABELS.get((self.method, trained), ", ".join(part for part in (self.method, trained) if part))
        if scored := scoring(self.variant):
            name += f"{',' if trained else ''} {_SCORED[scored]}"
        return ", ".join(part for part in (name, self.known, self.side) if part)

    @property
    def is_ablation(self) -> bool:
        """Whether it is there to be compared with the method, not to be used: a part left out, or the paper's scoring."""
        return scoring(self.variant) in (PLAIN_R, LIKELIHOOD) or (self.method, self.variant) in _LABELS

    def published(self) -> str:
        """The row of the paper that it is compared with; the reading that is not the method's own is a row of AMA alone."""
        scored = scoring(self.variant)
        name = "/".join(part for part in (self.method, networks(self.variant), "" if scored == PLAIN_R else scored) if part)
        return name if self.side == own_side(self.method) else f"{name}/{self.side}"


_SCORED = {
    PLAIN_R: "scored by the paper's R",
    LIKELIHOOD: "scored by likelihood alone",
    **{codec: f"with {codec}" for codec in CODECS},
}
"""How a row tells what a scoring is."""


def scoring(variant: str) -> str:
    """How a variant is scored; empty if as the method has it.

    >>> scoring("no-mirrored-plain-r"), scoring("flif"), scoring("box")
    ('plain-r', 'flif', '')
    """
    return next((name for name in _SCORED if variant == name or variant.endswith(f"-{name}")), "")


def networks(variant: str) -> str:
    """The variant without how it is scored.

    >>> networks("no-mirrored-plain-r"), networks("plain-r"), networks("box")
    ('no-mirrored', '', 'box')
    """
    return variant.removesuffix(scoring(variant)).removesuffix("-")


_ABLATED = {"no-mirrored": "mirrored loss", "no-interpolation": "interpolation", "no-negatives": "atypical selection"}
_LABELS = {
    **{("ama", variant): f"ama without {part}" for variant, part in _ABLATED.items()},
    ("ama", "box"): "ama with box negatives",
    ("ama", "box-no-interpolation"): "ama with box negatives, without interpolation",
}


def own_side(method: str) -> str:
    """How a method reads its raw score in the tables."""
    return (
        "one-sided" if method in DETECTORS and make_detector(method, **as_published(method)).scorer == "negate" else "two-sided"
    )


class _Found:
    """Cells by row and column, of one metric."""

    def __init__(self, cells: Iterable[Cell], metric: str) -> None:
        self.metric = metric
        self.cells = list(cells)
        self.by_place: dict[tuple[Row, str, str], list[Cell]] = {}
        settings: dict[tuple[Row, str], tuple[str, Any]] = {}
        for cell in self.cells:
            row = Row.of(cell)
            self.by_place.setdefault((row, cell["normal"], cell["anomalies"]), []).append(cell)
            own = (cell["scorer"], {name: value for name, value in cell["parameters"].items() if name != "random_state"})
            if settings.setdefault((row, cell["normal"]), own) != own:
                raise InputError(
                    f"{row.label} on {cell['normal']}: cells of different settings or scorers "
                    f"({settings[row, cell['normal']][0]}, {own[0]}); measure the older ones again"
                )
        for (row, normal, anomalies), found in self.by_place.items():
            if len({cell["seed"] for cell in found}) < len(found):
                raise InputError(f"{row.label} on {normal} -> {anomalies}: several cells of one seed; give one folder of results")

    def by_seed(self, row: Row, normal: str, anomalies: str) -> dict[int, float]:
        """A cell that has no such metric has no value."""
        cells = self.by_place.get((row, normal, anomalies), [])
        return {cell["seed"]: cell["metrics"][self.metric] for cell in cells if self.metric in cell["metrics"]}

    def values(self, row: Row, normal: str, anomalies: str) -> list[float]:
        """In order of seeds."""
        return [value for _, value in sorted(self.by_seed(row, normal, anomalies).items())]

    def interval(self, row: Row, normal: str, anomalies: str) -> list[float] | None:
        found = self.by_place.get((row, normal, anomalies), [])
        interval: list[float] | None = found[0]["metrics"].get(f"{self.metric}_ci") if len(found) == 1 else None
        return interval

    def values_of_all(self, row: Row, normals: Sequence[str]) -> list[float]:
        """The average over one-class cells, of each seed that every class has."""
        by_class = [self.by_seed(row, normal, REST) for normal in normals]
        common = set.intersection(*map(set, by_class)) if by_class else set()
        return [float(np.mean([values[seed] for values in by_class])) for seed in sorted(common)]

    def seeds(self, row: Row) -> str:
        """How many, over the row's cells."""
        counts = [len(cells) for (of, _, _), cells in self.by_place.items() if of == row]
        return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"

    def is_behind(self, ours: float, other: float) -> bool:
        """Whether ours does not beat another."""
        return ours >= other if self.metric == "fpr95" else ours <= other

    def best(self, candidates: Sequence[tuple[float, Row]]) -> tuple[float, Row]:
        return (min if self.metric == "fpr95" else max)(candidates, key=lambda pair: pair[0])

    def rows(self) -> list[Row]:
        """Trained methods first, their own reading before the other; then what a user would pick instead."""
        rows = dict.fromkeys(row for row, _, _ in self.by_place)
        variants = ["", *(variant for _, variant in _LABELS)]

        def order(row: Row) -> tuple[Any, ...]:
            trained = networks(row.variant)
            variant = variants.index(trained) if trained in variants else len(variants), trained
            known = int(row.known.split()[0]) if row.known else 0
            scored = ["", *_SCORED].index(scoring(row.variant)), row.side != own_side(row.method)
            return row.method in BASELINES, row.method, known, scored[0], variant, scored[1]

        return sorted(rows, key=order)


# ---------------------------------------------------------------------- tables


def comparison(cells: Sequence[Cell], normal: str, metric: str = "auroc") -> Table:
    """Every row against every anomaly set of one normal set; of the paper's columns, if any is measured, the others stay open.

    Box negatives have a table of their own, :func:`negatives`.
    """
    of_normal = [cell for cell in cells if cell["normal"] == normal and not _with_box(cell)]
    found = _Found(of_normal, metric)
    there = dict.fromkeys(cell["anomalies"] for cell in of_normal)
    order = OUT_OF_DISTRIBUTION.get(normal, ())
    compared = any(_in_paper(normal, column) for column in there)
    shown = [column for column in order if column in there or (compared and _in_paper(normal, column))]
    shown += [column for column in there if column not in shown]
    rows = []
    for row in found.rows():
        if networks(row.variant) in _ABLATED and row.side != own_side(row.method):
            continue  # of an ablation the paper, too, has its own score alone
        against = [_against_paper(found, row, normal, column) for column in shown]
        rows.append([row.label, *against, found.seeds(row)])
    title = f"{shown_name(normal)} is normal: {_title(found)}"
    heading = [_metric_name(metric), *(f"→ {shown_name(column)}" for column in shown), "seeds"]
    return Table(title, heading, rows, _beaten(found, normal, shown))


def one_class(cells: Sequence[Cell], dataset: str, metric: str = "auroc") -> Table:
    """One row for each class of a set that was measured, and their average; one column for each method and reading."""
    every = classes_of(dataset)
    found = _Found([cell for cell in cells if cell["normal"] in every], metric)
    measured = {cell["normal"] for cell in found.cells}
    normals = [normal for normal in every if normal in measured]
    digits = [normal.rpartition(":")[2] for normal in normals]
    labels = [CIFAR10_CLASSES[int(digit)] for digit in digits] if dataset == "cifar10" else digits
    columns = found.rows()
    rows = [
        [label, *(_against_paper(found, column, normal, REST) for column in columns)]
        for label, normal in zip(labels, normals, strict=True)
    ]
    averages = {column: found.values_of_all(column, normals) for column in columns}
    compared = metric == "auroc" and normals == every
    printed = {column: PRINTED_AVERAGES.get((column.published(), dataset)) if compared else None for column in columns}
    average = "average" if normals == every else f"average of {len(normals)}"
    rows.append([average, *(_told(averages[column], None, printed[column]) for column in columns)])
    rows.append(["seeds", *(found.seeds(column) for column in columns)])
    title = f"one class of {dataset} is normal: {_title(found)}"
    notes = [*_beaten_on_average(found, averages), *_sampled(found)]
    return Table(title, [_metric_name(metric), *(column.label for column in columns)], rows, notes)


def _sampled(found: _Found) -> list[str]:
    """Rows of which not all test images were scored that others were tested on."""
    tested: dict[Row, int] = {}
    for (row, _, _), cells in found.by_place.items():
        counts = [cell["counts"] for cell in cells if "counts" in cell]
        tested[row] = max([tested.get(row, 0), *(count["normal"] + count["anomalies"] for count in counts)])
    most = max(tested.values(), default=0)
    return [f"{row.label}: a sample of {count:,} test images." for row, count in tested.items() if 0 < count < most]


def negatives(cells: Sequence[Cell], metric: str = "auroc") -> Table:
    """Box negatives against atypical selection, with and without interpolation."""
    found = _Found([c for c in cells if c["normal"] in BOX_COLUMNS and c["method"] in ("ama", *BASELINES)], metric)
    variants = ("box-no-interpolation", "no-interpolation", "box", "")
    side = own_side("ama")
    baselines = [Row(method, "", reading) for method in BASELINES for reading in SIDES]
    rows, notes = [], []
    for normal, columns in BOX_COLUMNS.items():
        for column in columns:
            for scored, words in (("", ""), (PLAIN_R, ", by the paper's R")):
                own = [Row("ama", joined(variant, scored), side) for variant in variants]
                line = [_against_paper(found, row, normal, column) for row in [*own, *baselines]]
                if any(found.values(row, normal, column) for row in own) or (not scored and any(cell != "-" for cell in line)):
                    rows.append([f"{normal} → {column}{words}", *line])
            notes += [note.replace("→ ", f"{normal} → ") for note in _beaten(found, normal, [column])]
    heading = ["box", "atypical", "box, interpolation", "atypical, interpolation", *(row.label for row in baselines)]
    return Table(f"synthetic negatives of AMA: {_title(found)}", [_metric_name(metric), *heading], rows, notes)


def all_tables(cells: Sequence[Cell], metric: str = "auroc") -> list[Table]:
    """Everything that some cells can fill, one protocol at a time."""
    if metric not in METRICS:
        raise SettingError(f"no metric named {metric!r}: choose one of {', '.join(METRICS)}")
    tables = []
    groups = dict.fromkeys(group_of(cell) for cell in cells)
    for group, protocol in product(groups, PROTOCOLS):
        chosen = [cell for cell in cells if (group_of(cell), cell["protocol"]) == (group, protocol)]
        normals = dict.fromkeys(cell["normal"] for cell in chosen)
        classes = Counter(normal.split(":")[0] for normal in normals if normal in ONE_CLASS)
        ordered = [*(name for name in OUT_OF_DISTRIBUTION if name in normals), *normals]
        for normal in dict.fromkeys(ordered):
            if normal not in ONE_CLASS or classes[normal.split(":")[0]] == 1:
                tables.append(comparison(chosen, normal, metric))
        tables += [one_class(chosen, name, metric) for name, count in classes.items() if count > 1]
        if any(map(_with_box, chosen)):
            tables.append(negatives(chosen, metric))
    if not tables:
        raise InputError("no measured cell here: give a folder that `anomirror reproduce` or `anomirror benchmark` wrote")
    return tables


def _with_box(cell: Cell) -> bool:
    return networks(cell["variant"]) in ("box", "box-no-interpolation")


def group_of(cell: Cell) -> str:
    """The preset that was asked for, of all methods of one command."""
    group: str = cell.get("group") or cell["preset"]
    return group


def shown_name(name: str) -> str:
    """A folder by its last part."""
    return Path(name).name if "/" in name or "\\" in name else name


def _title(found: _Found) -> str:
    protocols = sorted({cell["protocol"] for cell in found.cells})
    if len(protocols) > 1:
        raise InputError("cells of protocols blind and paper never stand in one table")
    groups = ", ".join(sorted({group_of(cell) for cell in found.cells}))
    spread = "one seed, 95 % interval"
    if any(len(cells) > 1 for cells in found.by_place.values()):
        spread = "mean ± standard deviation over seeds; of one seed its 95 % interval"
    return f"{_metric_name(found.metric)}, protocol {''.join(protocols)}, preset {groups}; {spread}"


def _metric_name(metric: str) -> str:
    names = {"aupr_normal": "AUPR, normal positive", "fpr95": "FPR@95", "auroc_whole_set": "AUROC, whole sets"}
    return names.get(metric, metric.upper())


def _in_paper(normal: str, column: str) -> bool:
    return any((normal, column) in row for row in PUBLISHED["table1"].values())


def _paper(row: Row, normal: str, column: str) -> float | None:
    """The paper's figure; what stands in two of its tables is the same in both."""
    told = [rows[row.published()] for rows in PUBLISHED.values() if row.published() in rows and not row.known]
    return next((figures[normal, column] for figures in told if (normal, column) in figures), None)


def _against_paper(found: _Found, row: Row, normal: str, column: str) -> str:
    """Ours, then the paper's and the difference."""
    told = found.metric == "auroc" and not row.known
    paper = _paper(row, normal, column) if told else None
    open_cell = told and paper is None and _in_paper(normal, column) and row.published() in PUBLISHED["table1"]
    text = _told(found.values(row, normal, column), found.interval(row, normal, column), paper)
    return f"{text} (paper -)" if open_cell else text


def _told(values: Sequence[float], interval: Sequence[float] | None, paper: float | None) -> str:
    ours = mean_and_spread(values)
    if values and interval is not None:
        ours += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    if paper is None:
        return ours
    return f"{ours} (paper {paper:.3f}{f', {np.mean(values) - paper:+.3f}' if values else ''})"


def _beaten(found: _Found, normal: str, columns: Sequence[str]) -> list[str]:
    """Where a trained method, as it comes, is not ahead of what a user would pick instead."""
    notes = []
    for row in found.rows():
        if row.method in BASELINES or row.is_ablation or row.side != own_side(row.method):
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
                best, other = found.best(others)
                if found.is_behind(float(np.mean(ours)), best):
                    behind.append(f"→ {shown_name(column)} ({other.label} {best:.3f}, {np.mean(ours):.3f})")
        if behind:
            notes.append(f"{row.label} does not beat pca and knn on {', '.join(behind)}.")
    return notes


def _beaten_on_average(found: _Found, averages: Mapping[Row, Sequence[float]]) -> list[str]:
    means = {row: float(np.mean(values)) for row, values in averages.items() if values}
    others = [(value, row) for row, value in means.items() if row.method in BASELINES]
    if not others:
        return []
    best, other = found.best(others)
    return [
        f"{row.label} does not beat {other.label} on average ({value:.3f}, {best:.3f})."
        for row, value in means.items()
        if row.method not in BASELINES
        and not row.is_ablation
        and row.side == own_side(row.method)
        and found.is_behind(value, best)
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
