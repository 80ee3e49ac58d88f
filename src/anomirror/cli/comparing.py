"""``anomirror compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomirror.cli.common import (
    Data,
    DataDir,
    Device,
    GroupBy,
    Json,
    Loudness,
    SkipBad,
    With,
    each_of,
    grouped,
    resolve,
    say,
    side,
    with_further,
)

if TYPE_CHECKING:
    from anomirror.workflows.comparing import Comparison, Found

Real = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DATA", help="real anomalies, to be shown beside; repeatable, or with commas"
    ),
]
Size = Annotated[str, typer.Option(help="32, 64, 128, 256 or auto")]
Seed = Annotated[int, typer.Option(help="seed of everything random")]


def compare(
    data: Data,
    with_: With = None,
    anomalies: Real = None,
    size: Size = "auto",
    seed: Seed = 0,
    group_by: GroupBy = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Which method suits these normal images: each is tried on anomalies that are made up of them.

    A fifth of the images, at most 200, is not fitted, and defects, noise and the like are drawn
    into copies of them. What finds these finds real anomalies only roughly as well; where you have
    some, show them with --anomalies. Nothing is written.
    """
    from anomirror.detectors import Auto
    from anomirror.workflows.comparing import compare_on

    auto = Auto(
        image_size=side(size),
        random_state=seed,
        device=device,
        skip_bad=skip_bad,
        verbose=Loudness.level >= 0,
    )
    auto = with_further(auto, with_)
    images = auto.open(resolve(data, "train", data_dir))
    groups = grouped(images.names, data, group_by)
    real = [resolve(each, "test", data_dir) for each in each_of(anomalies)]
    found = compare_on(auto, images, groups, real)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    _print(found)
    chosen = " and ".join(each.name for each in found.candidates if each.chosen)
    say(
        f"auto, the default of `anomirror fit`, takes {chosen}: within {auto.margin:g} of the best "
        "mean. The anomalies are made up, and say only roughly what finds real ones"
    )


def _print(found: Comparison) -> None:
    """A column for each candidate, a row for each kind of anomalies."""
    table = Table(
        title=f"AUROC (95 % interval): {found.unseen} unseen normal images against {found.made} "
        "made-up anomalies of each kind"
    )
    table.add_column("anomalies")
    for each in found.candidates:
        table.add_column(escape(each.name), justify="right")
    for kind in found.candidates[0].kinds:
        cells = [_cell(each.kinds[kind]) for each in found.candidates]
        table.add_row(kind.replace("_", " "), *cells)
    table.add_section()
    table.add_row("mean", *(f"{each.mean:.3f}" for each in found.candidates))
    if found.real:
        cells = [_cell(each.real) for each in found.candidates if each.real is not None]
        table.add_row(f"{found.real} real ones", *cells)
    table.add_section()
    for heading, of in (
        ("seconds to fit", [f"{each.fit_seconds:.1f}" for each in found.candidates]),
        ("images/s scored", [f"{each.images_per_second:,.0f}" for each in found.candidates]),
        ("MB fitted", [f"{each.megabytes:.1f}" for each in found.candidates]),
    ):
        table.add_row(heading, *of)
    Console().print(table)


def _cell(found: Found) -> str:
    return f"{found.auroc:.3f} ({found.low:.2f}-{found.high:.2f})"
