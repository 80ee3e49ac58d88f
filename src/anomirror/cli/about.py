"""``anomirror demo``, ``info`` and ``methods``."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomirror.cli.common import Model
from anomirror.detector.parameters import parameters_of, words
from anomirror.errors import SettingError
from anomirror.presets import presets_of

if TYPE_CHECKING:
    from anomirror.cards import MemberCard


def demo(
    out: Annotated[Path, typer.Option(help="folder for the results")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="seed of the training")] = 0,
) -> None:
    """Train AMA on a bundled sample of real images and show how well it finds anomalies."""
    from anomirror.demo import run_demo  # needs the extra `report`

    run_demo(out, Console(), seed=seed)


def info(
    model: Model, as_json: Annotated[bool, typer.Option("--json", help="only JSON")] = False
) -> None:
    """What a model folder holds.

    Method, parameters, threshold, what it was trained on, what it promises.
    """
    from anomirror.detectors import load
    from anomirror.storage import read_card

    card, detector = read_card(model), load(model, device="cpu")
    counts = detector.categories_
    values = detector.thresholds(list(counts), len(counts)).tolist() if counts else []
    thresholds = dict(zip(counts, values, strict=True))
    said: dict[str, object] = (
        {"thresholds": thresholds} if counts else {"threshold": detector.offset_}
    )
    said["guarantee"] = detector.guarantee_sentence()
    if as_json:
        print(json.dumps(json.loads(card.model_dump_json()) | said, indent=2))
        return
    table = Table(title=escape(str(model)), show_header=False)
    apart = {"parameters", "members", "tried"} | ({"fitted"} if card.members else set())
    for name, value in card.model_dump(exclude=apart).items():
        table.add_row(name, escape(str(value)))
    for member in card.members:
        settings = _settings(member) or "defaults"
        what = f"{member.method} at {member.size}x{member.size}, {settings}"
        table.add_row(escape(f"member.{member.name}"), escape(what))
    for each in card.tried:
        kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in each.auroc.items())
        taken = "taken" if each.chosen else "left out"
        what = f"{taken}: AUROC {each.mean:.3f} on made-up anomalies ({kinds})"
        table.add_row(escape(f"tried.{each.name}"), escape(what))
    for name, value in card.parameters.items():
        table.add_row(escape(f"parameters.{name}"), escape(str(value)))
    for name, value in thresholds.items():
        what = f"{value:.6g} (from {counts[name]:,} images)"
        table.add_row(escape(f"threshold of {name}"), escape(what))
    if not counts:
        table.add_row("threshold (of score)", f"{detector.offset_:.6g}")
    Console().print(table)
    print(f"guarantee: {said['guarantee']}")


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="one of them, with its parameters")
    ] = None,
) -> None:
    """Every method, with its presets; or one, with its parameters, their defaults and ranges."""
    from anomirror.detectors import detector_class, known_methods

    if name is not None:
        _one(name)
        return
    table = Table("method", "presets", "what it is")
    for each in known_methods():
        try:
            summary = _summary(detector_class(each))
        except SettingError as error:  # of another package, which must not hide the others
            summary = str(error)
        table.add_row(each, ", ".join(presets_of(each)), escape(summary))
    Console().print(table)


def _one(name: str) -> None:
    from anomirror.detectors import detector_class

    detector = detector_class(name)
    table = Table(
        "parameter", "default", "what it is", title=escape(f"{name}: {_summary(detector)}")
    )
    for parameter in parameters_of(detector).values():
        if parameter.name in ("callback", "checkpoint_dir"):  # not for the command line
            continue
        text = f"{' '.join(parameter.doc.split())} ({words(parameter.hint)})"
        table.add_row(parameter.name, escape(repr(parameter.default)), escape(text))
    Console().print(table)
    for preset_name, settings in presets_of(name).items():
        set_here = (
            ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "the defaults above"
        )
        Console().print(escape(f"--preset {preset_name}: {set_here}"))


def _settings(member: MemberCard) -> str:
    """Of a member what differs from its defaults."""
    from anomirror.detectors import detector_class

    declared = parameters_of(detector_class(member.method))
    return ", ".join(
        f"{name}={value!r}"
        for name, value in member.parameters.items()
        if name in declared and value != declared[name].default
    )


def _summary(detector: type) -> str:
    return (inspect.getdoc(detector) or "").split("\n\n")[0].replace("\n", " ")
