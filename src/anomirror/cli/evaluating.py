"""``anomirror evaluate``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from anomirror.cli.common import DataDir, Device, Model, SkipBad, app, each_of, example, resolve, say
from anomirror.errors import ImageError, InputError

if TYPE_CHECKING:
    from anomirror.detectors import Detector
    from anomirror.images import DefectLayout, ImageSet

Sources = Annotated[list[str] | None, typer.Option(metavar="DATA", help="repeatable, or separated by commas")]


@app.command(
    epilog=example("anomirror evaluate model --normal good/ --anomalies defects/ --json", "anomirror evaluate model mvtec/bottle")
)
def evaluate(
    model: Model,
    root: Annotated[
        Path | None, typer.Argument(metavar="[ROOT]", help="a folder with train/good, test/good and test/<kind>, as MVTec AD has")
    ] = None,
    normal: Sources = None,
    anomalies: Sources = None,
    as_json: Annotated[bool, typer.Option("--json", help="only JSON on standard output")] = False,
    skip_bad: SkipBad = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """AUROC, AUPR and FPR@95 with 95 % intervals on labelled images, for each kind of anomaly and for all.

    Also how many of the normal images are flagged at the model's threshold, and how many of the anomalies are found.
    """
    from anomirror.detectors import load

    goods, bads = _sources(root, each_of(normal), each_of(anomalies))
    detector = load(model, device=device)
    good = _scored(detector, "normal", [resolve(source, "test", data_dir) for source in goods], skip_bad=skip_bad)
    kinds = [_scored(detector, name, [resolve(source, "test", data_dir)], skip_bad=skip_bad) for name, source in bads.items()]
    _warn_of_roles(detector, good, kinds)
    total = _Group("all", np.concatenate([kind.raw for kind in kinds]), np.concatenate([kind.hashes for kind in kinds]))
    if as_json:
        print(json.dumps(_as_json(detector, good, kinds, total), indent=2))
    else:
        _print(detector, good, [*kinds, total] if len(kinds) > 1 else kinds)


@dataclass(frozen=True)
class _Group:
    """Images of one role."""

    name: str
    raw: np.ndarray
    hashes: np.ndarray


def _sources(root: Path | None, normal: list[str], anomalies: list[str]) -> tuple[list[str], dict[str, str]]:
    """What is normal, and each kind of anomaly by name; of a folder laid out as MVTec AD's its parts."""
    goods = [str(layout.normal) if (layout := _layout(source)) else source for source in normal]
    bads: dict[str, str] = {}
    for source in anomalies:
        bads |= _kinds(layout, f"{source}/") if (layout := _layout(source)) else {source: source}
    if root is not None:
        layout = _layout(str(root))
        if layout is None or not layout.normal.is_dir() or not layout.kinds:
            raise InputError(f"{root}: has no train/good, test/good and test/<kind>; use --normal DATA and --anomalies DATA")
        goods, bads = [*goods, str(layout.normal)], _kinds(layout) | bads
    if not (goods and bads):
        raise InputError("give a folder as MVTec AD's, or --normal DATA and --anomalies DATA")
    return goods, bads


def _layout(source: str) -> DefectLayout | None:
    from anomirror.images import defect_layout

    return defect_layout(Path(source)) if Path(source).is_dir() else None


def _kinds(layout: DefectLayout, prefix: str = "") -> dict[str, str]:
    """Each kind that has an image."""
    from anomirror.images import find_files

    found = {}
    for kind in layout.kinds:
        try:
            find_files(layout.defects(kind))
        except ImageError as error:
            say(f"note: left out {error}")
            continue
        found[f"{prefix}{kind}"] = str(layout.defects(kind))
    return found


def _scored(detector: Detector, name: str, sources: list[Any], *, skip_bad: bool) -> _Group:
    from anomirror.images import fingerprints

    raw, hashes = [], []
    for source in sources:
        images = _readable(detector.open_to_score(source), skip_bad=skip_bad)
        raw.append(detector.raw_scores(images))
        hashes.append(fingerprints(images)[1])
    return _Group(name, np.concatenate(raw), np.concatenate(hashes))


def _readable(images: ImageSet, *, skip_bad: bool) -> ImageSet:
    from anomirror.images import check_files, unreadable_error

    good, bad = check_files(images)
    if bad and not (skip_bad and len(good)):
        raise unreadable_error(images, bad, "remove them, or pass --skip-bad")
    if bad:
        first, reason = next(iter(bad.items()))
        say(f"{len(bad)} of {len(images)} files cannot be read and are left out: {images.names[first]}: {reason}")
    return good


def _warn_of_roles(detector: Detector, good: _Group, kinds: list[_Group]) -> None:
    """Images that the model was fitted on, and images that are in both roles, make the figures wrong."""
    seen = int(np.isin(good.hashes, detector.training_hashes_).sum())
    if seen:
        say(
            f"warning: {seen} of {len(good.raw)} normal images were given to the fit as well: they look more normal than "
            "new ones do, and these figures are better than what you will get"
        )
    for kind in kinds:
        if both := int(np.isin(kind.hashes, good.hashes).sum()):
            say(f"warning: {both} of {len(kind.raw)} anomalies ({kind.name}) are the very pixels of normal images")
        if learnt := int(np.isin(kind.hashes, detector.training_hashes_).sum()):
            say(f"warning: {learnt} of {len(kind.raw)} anomalies ({kind.name}) were fitted as normal images")


def _by_score(detector: Detector, good: _Group, kind: _Group) -> dict[str, Any]:
    from anomirror import metrics

    return {
        "score": metrics.evaluate(detector.normality(good.raw), detector.normality(kind.raw)),
        "raw_score": metrics.evaluate(-good.raw, -kind.raw),
    }


def _flagged(detector: Detector, group: _Group) -> int:
    return int((~(detector.normality(group.raw) >= detector.offset_)).sum())


def _as_json(detector: Detector, good: _Group, kinds: list[_Group], total: _Group) -> dict[str, Any]:
    def described(kind: _Group) -> dict[str, Any]:
        found = {name: metrics.as_dict() for name, metrics in _by_score(detector, good, kind).items()}
        return {"anomalies": len(kind.raw), "found": _flagged(detector, kind), **found}

    said = {"method": detector.method, "normal": len(good.raw), "false_alarms": _flagged(detector, good), **described(total)}
    return said | ({"kinds": {kind.name: described(kind) for kind in kinds}} if len(kinds) > 1 else {})


def _print(detector: Detector, good: _Group, kinds: list[_Group]) -> None:
    from anomirror.report.console import metrics_table

    rows = {}
    for kind in kinds:
        for by, found in _by_score(detector, good, kind).items():
            rows[by if len(kinds) == 1 else f"{kind.name}, {by}"] = found
    count = len(kinds[-1].raw)
    title = f"{detector.method}: {len(good.raw)} normal, {count} anomalous images (95 % intervals)"
    Console().print(metrics_table(title, "by", rows))
    alarms = _flagged(detector, good)
    print(f"flagged at the threshold: {alarms} of {len(good.raw)} normal images ({100 * alarms / len(good.raw):.1f} %)", end="")
    for kind in kinds:
        found_count = _flagged(detector, kind)
        name = "anomalies" if len(kinds) == 1 else kind.name
        print(f"; {found_count} of {len(kind.raw)} {name} ({100 * found_count / len(kind.raw):.1f} %)", end="")
    print()
