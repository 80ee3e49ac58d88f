"""``anomirror drift``, ``recalibrate``, ``suspects``: a model over time, and what it is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomirror.cli.common import (
    DATA_HELP,
    By,
    DataDir,
    Device,
    GroupBy,
    Inputs,
    Json,
    Loudness,
    Model,
    SkipBad,
    assigned,
    categorised,
    grouped,
    opened_to_score,
    refuse_files_of_others,
    resolve,
    say,
    side,
    write_table,
)
from anomirror.errors import InputError, SettingError

if TYPE_CHECKING:
    from anomirror.images import ImageSet
    from anomirror.workflows.drift import Drift
    from anomirror.workflows.suspects import Suspect

Good = Annotated[
    list[str],
    typer.Argument(
        metavar="GOOD...", help=f"normal images: {DATA_HELP}; or - for paths on standard input"
    ),
]
NewModel = Annotated[Path, typer.Option(help="the model folder to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace a model at --out")]
OverwriteFiles = Annotated[
    bool, typer.Option("--overwrite", help="replace files that are not ours")
]
DRIFT_COLUMNS = ("path", "p_value", "e_value")
SUSPECT_COLUMNS = ("rank", "path", "p_value", "raw_score")
Csv = Annotated[Path | None, typer.Option(help="CSV file: one row for each image")]
Sheet = Annotated[Path | None, typer.Option(help="PNG file: the oddest images on one sheet")]


def drift(
    model: Model,
    data: Inputs,
    out: Csv = None,
    as_json: Json = False,
    overwrite: OverwriteFiles = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Whether images still are as those that calibrate the model; which number moved, since when.

    Images count in the order of their names, img_2 before img_10: give them names by time. An
    e-value of 20 is reached with a probability of at most 5 % while nothing has changed, however
    often one looks. The exit code is 0 either way; scripts read --json.
    """
    from anomirror.detectors import load
    from anomirror.workflows.drift import drift_of

    if out is not None and not overwrite:
        refuse_files_of_others(out, DRIFT_COLUMNS)
    detector = load(model, device=device)
    if detector.calibrated_by_ == "folds":
        say(
            "note: cross-fitted images calibrate this, and new ones look a little more normal: "
            "only a drift to odder images is seen; recalibrate on new good images to see both"
        )
    found = drift_of(detector, opened_to_score(detector, data, data_dir))
    if out is not None:
        rows = zip(found.paths, found.p_values, found.e_values, strict=True)
        write_table(out, DRIFT_COLUMNS, ((path, f"{p:.6g}", f"{e:.6g}") for path, p, e in rows))
    _warn_of(found)
    if as_json:
        numbers = [
            {**asdict(each), "since": None if each.since is None else found.paths[each.since]}
            for each in (found.score, *found.statistics)
        ]
        verdict = {
            "drift": found.alarm,
            "uneven": found.uneven,
            "flagged": found.flagged,
            "flagged_at_most": found.highest_rate,
        }
        print(json.dumps({**verdict, "images": len(found.paths), "moved": numbers}))
    else:
        _print_drift(found)


def _print_drift(found: Drift) -> None:
    table = Table(title=f"{len(found.paths):,} images against those that calibrate the model")
    for heading in ("number", "before", "now", "since image", "e-value", "p-value"):
        table.add_column(heading, justify="left" if heading == "number" else "right")
    for each in (found.score, *found.statistics):
        table.add_row(
            escape(each.name),
            f"{each.before:.4g}",
            f"{each.now:.4g}",
            "-" if each.since is None else str(each.since + 1),
            f"{each.e_value:.3g}",
            f"{each.p_value:.2g}",
        )
    Console().print(table)
    share = 100 * found.flagged / len(found.paths)
    print(
        f"flagged: {found.flagged} of {len(found.paths)} images ({share:.1f} %); promised, with "
        f"95 % confidence: at most {100 * found.highest_rate:.1f} %"
    )
    first = found.paths[found.score.since or 0]
    if found.alarm:
        print(
            f"drift: scores moved from {first} on; threshold and p-values do not hold there; "
            "`anomirror recalibrate` with new normal images mends them"
        )
    elif found.too_many:
        print("more are flagged than promised: anomalies are among them, or normal images changed")
    elif found.uneven:
        print(
            f"no drift on the whole, but scores come in runs (from {first} on), such as parts of "
            "one batch: false alarms come in runs as well"
        )
    else:
        print(f"no drift: the highest e-value is {found.score.e_value:.3g}, and 20 is an alarm")


def _warn_of(found: Drift) -> None:
    if found.unreadable:
        path, why = found.unreadable[0]
        say(f"{len(found.unreadable)} files cannot be read, for example {path}: {why}")
    if found.known:
        say(
            f"warning: {found.known} of {len(found.paths)} images were given to the fit or "
            "calibrate the model: whether new ones have drifted these cannot tell"
        )


def recalibrate(
    model: Model,
    good: Good,
    out: NewModel,
    add: Annotated[
        bool, typer.Option("--add", help="to what calibrated before, not in its place")
    ] = False,
    by: By = None,
    skip_bad: SkipBad = False,
    overwrite: Overwrite = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Threshold and p-values anew from new normal images; what was learnt stays as it is.

    Categories are found as at the fit, if --by gives no other pattern. The new model says which
    images it was fitted on and which ones calibrate it.
    """
    from anomirror.detectors import load
    from anomirror.images import Joined
    from anomirror.storage import model_target, refuse_overlap
    from anomirror.workflows.reading import readable

    for source in good:
        refuse_overlap(out, source, "--out")
    if out.resolve() == model.resolve() and not overwrite:
        raise InputError(f"--out {out}: is the model itself; choose another, or pass --overwrite")
    place = model_target(out, overwrite=overwrite, ways_out="pass --overwrite")
    detector = load(model, device=device)
    images, _ = readable(
        reduce(Joined, opened_to_score(detector, good, data_dir)), skip_bad=skip_bad
    )
    known = detector.category_pattern_ or None
    if add and by is not None and by != known:
        raise SettingError(
            f"--by {by}: this model has its categories by {known or 'no pattern'}, and with --add "
            "they must be the same; leave out --by, or --add"
        )
    pattern = by if by is not None else known
    detector.recalibrate(images, add=add, by=categorised(images.names, pattern))
    detector.category_pattern_ = pattern or ""
    folder = detector.save(place)
    if detector.promise() is None:  # what cannot be promised was said
        say(detector.guarantee_sentence())
    say(f"written to {folder}")


def suspects(
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"normal images: {DATA_HELP}")],
    out: Csv = None,
    sheet: Sheet = None,
    most: Annotated[int, typer.Option(min=1, help="images on the sheet and in the list")] = 40,
    method: Annotated[str, typer.Option(help="pca and knn take seconds")] = "pca",
    size: Annotated[str | None, typer.Option(help="as of fit")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one parameter")
    ] = None,
    group_by: GroupBy = None,
    overwrite: OverwriteFiles = False,
    skip_bad: SkipBad = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """The oddest images of a training set, each judged by a fit without it.

    Look at them before a fit: a defect among the good images teaches that it is normal, and
    `anomirror fit --drop-suspects N` leaves the oddest ones out.
    """
    from anomirror.detectors import make_detector
    from anomirror.storage import refuse_overlap
    from anomirror.workflows.suspects import suspects_of

    parameters = assigned(set_) | ({} if size is None else {"image_size": side(size)})
    detector = make_detector(
        method,
        **{"device": device, "skip_bad": skip_bad, "verbose": Loudness.level >= 0, **parameters},
    )
    if out is not None and not overwrite:
        refuse_files_of_others(out, SUSPECT_COLUMNS)
    for file in filter(None, (out, sheet)):
        refuse_overlap(file, data, "--out" if file == out else "--sheet", above=False)
    images = detector.open(resolve(data, "train", data_dir))
    groups = grouped(images.names, data, group_by)
    ranked = suspects_of(detector, images, groups)
    if out is not None:
        rows = (
            (n, x.path, f"{x.p_value:.6g}", f"{x.raw_score:.9g}") for n, x in enumerate(ranked, 1)
        )
        write_table(out, SUSPECT_COLUMNS, rows)
    if sheet is not None:
        _draw(sheet, images, ranked[:most], overwrite)
    table = Table("rank", "path", "p-value", title=f"oddest of {len(ranked):,} images")
    for rank, each in enumerate(ranked[:most], 1):
        table.add_row(str(rank), escape(each.path), f"{each.p_value:.3g}")
    Console().print(table)
    for file in filter(None, (out, sheet)):
        say(f"written to {file}")


def _draw(file: Path, images: ImageSet, ranked: Sequence[Suspect], overwrite: bool) -> None:
    """The contact sheet, written complete or not at all."""
    from anomirror.report.overlays import as_ours, is_ours
    from anomirror.report.sheets import SIDE, contact_sheet
    from anomirror.storage import replacing
    from anomirror.workflows.scoring import eight_bits

    if file.exists() and not overwrite and not is_ours(str(file)):
        raise InputError(f"--sheet {file}: is there, and is no sheet of ours; choose another name")
    pictures = [eight_bits(images.picture(each.index, SIDE).numpy()) for each in ranked]
    captions = [
        f"{rank}: p {each.p_value:.2g} {Path(each.path).name}"[:26]
        for rank, each in enumerate(ranked, 1)
    ]
    with replacing(file) as temporary:
        contact_sheet(pictures, captions).save(temporary, "PNG", pnginfo=as_ours())
