"""``anomirror evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from anomirror.cli.common import (
    Alpha,
    DataDir,
    Device,
    Model,
    SkipBad,
    deciding,
    each_of,
    resolve,
    say,
)

if TYPE_CHECKING:
    from anomirror.workflows.evaluating import Evaluation
    from anomirror.workflows.locating import Located

Sources = Annotated[
    list[str] | None, typer.Option(metavar="DATA", help="repeatable, or separated by commas")
]


def evaluate(
    model: Model,
    root: Annotated[
        Path | None,
        typer.Argument(
            metavar="[ROOT]",
            help="a folder with train/good, test/good and test/<kind>, as MVTec AD has",
        ),
    ] = None,
    normal: Sources = None,
    anomalies: Sources = None,
    alpha: Alpha = None,
    as_json: Annotated[bool, typer.Option("--json", help="only JSON on standard output")] = False,
    skip_bad: SkipBad = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """AUROC, AUPR and FPR@95 with 95 % intervals on labelled images, for each kind of anomaly and
    for all.

    Also how many of the normal images are flagged at the model's threshold, and how many of the
    anomalies are found. Where masks lie in ground_truth/<kind>, how well maps find the defects, by
    pixel and region.
    """
    from anomirror.workflows.evaluating import evaluate_model, roles

    goods, bads = roles(root, each_of(normal), each_of(anomalies))
    detector = deciding(model, device, alpha)
    evaluation = evaluate_model(
        detector,
        [resolve(source, "test", data_dir) for source in goods],
        {name: resolve(source, "test", data_dir) for name, source in bads.items()},
        root=root,
        skip_bad=skip_bad,
    )
    for warning in evaluation.warnings():
        say(f"warning: {warning}")
    if as_json:
        print(json.dumps(evaluation.as_dict(), indent=2))
    else:
        _print(evaluation)


def _print(evaluation: Evaluation) -> None:
    from anomirror.report.console import metrics_table

    kinds = (
        [*evaluation.kinds, evaluation.total]
        if len(evaluation.kinds) > 1
        else list(evaluation.kinds)
    )
    rows = {}
    for kind in kinds:
        for by, found in evaluation.by_score(kind).items():
            rows[by if len(kinds) == 1 else f"{kind.name}, {by}"] = found
    normal, method = evaluation.normal, evaluation.detector.method
    title = (
        f"{method}: {len(normal.raw)} normal, {len(kinds[-1].raw)} anomalous images (95 % "
        "intervals)"
    )
    Console().print(metrics_table(title, "by", rows))
    names = {kind.name: "anomalies" if len(kinds) == 1 else kind.name for kind in kinds}
    parts = [(normal, "normal images"), *((kind, names[kind.name]) for kind in kinds)]
    table = Table("at the model's threshold", padding=(0, 0, 0, 1))
    for heading in ("flagged", "not flagged", "share flagged (95 % interval)"):
        table.add_column(heading, justify="right")
    for group, name in parts:
        flagged = evaluation.flagged(group)
        low, high = flagged.interval
        share = f"{100 * flagged.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        table.add_row(name, f"{flagged.count:,}", f"{flagged.of - flagged.count:,}", share)
    Console().print(table)
    if evaluation.pixels is not None:
        _print_pixels(evaluation.pixels)
    detector, decided = evaluation.detector, evaluation.decisions(kinds[-1])
    print(
        f"false alarms asked for: {100 * detector.false_alarm_rate:g} %; "
        + ", ".join(f"{name} {value:.3f}" for name, value in decided.items())
    )


def _print_pixels(pixels: Located) -> None:
    table = Table("pixels of maps", padding=(0, 0, 0, 1))
    for heading in ("AUROC", "AUPRO, to 30 %", "of regions found, at 1 %", "regions"):
        table.add_column(heading, justify="right")
    rows = [*pixels.kinds.items()] if len(pixels.kinds) > 1 else []
    for name, found in (*rows, ("all", pixels.total)):
        values = (f"{value:.3f}" for value in (found.auroc, found.aupro, found.recall))
        table.add_row(name, *values, f"{found.regions:,}")
    Console().print(table)
