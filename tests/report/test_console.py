"""Tables are whole in a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from anomirror.metrics import Metrics
from anomirror.report.console import metrics_table


def test_eighty_columns_hold_every_name_and_interval() -> None:
    metrics = Metrics(0.9, (0.8, 0.95), 0.7, (0.6, 0.75), 0.1, (0.05, 0.2))
    stream = io.StringIO()
    Console(file=stream, width=80).print(
        metrics_table("a title", "detector", {"ama one-sided": metrics, "knn": metrics})
    )
    shown = stream.getvalue()
    for text in (
        "ama",
        "one-sided",
        "knn",
        "0.900 [0.800, 0.950]",
        "0.700 [0.600, 0.750]",
        "0.100 [0.050, 0.200]",
    ):
        assert text in shown
    assert "…" not in shown
