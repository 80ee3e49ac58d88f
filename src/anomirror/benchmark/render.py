"""Tables as Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np


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
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in table.notes)
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f"<table>\n{caption}\n<tr>{heading}</tr>\n{rows}\n</table>{notes}\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
}
"""Name to how a table is written."""


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean, and the standard deviation if there is more than one value."""
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"
