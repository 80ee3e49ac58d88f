"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from anomirror.metrics import Metrics


def metrics_table(title: str, heading: str, rows: Mapping[str, Metrics]) -> Table:
    """AUROC, AUPR and FPR@95 with their 95 % intervals, one row for each entry."""
    table = Table(title=title, padding=(0, 0, 0, 1))  # so that 80 columns hold it
    table.add_column(heading, min_width=9)
    for name in ("AUROC", "AUPR", "FPR@95"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, m in rows.items():
        pairs = ((m.auroc, m.auroc_ci), (m.aupr, m.aupr_ci), (m.fpr95, m.fpr95_ci))
        table.add_row(
            name, *(f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, (low, high) in pairs)
        )
    return table
