"""``anomirror fit``."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomirror.cli.common import (
    METHODS,
    By,
    Data,
    DataDir,
    Device,
    GroupBy,
    Loudness,
    SkipBad,
    With,
    assigned,
    categorised,
    each_of,
    folders_of,
    grouped,
    none_from_word,
    refuse_owned,
    resolve,
    say,
    side,
    with_further,
)
from anomirror.cli.stopping import Stopped
from anomirror.errors import InputError, SettingError
from anomirror.presets import preset

if TYPE_CHECKING:
    import numpy as np

    from anomirror.detector.parameters import Arguments
    from anomirror.detectors import Detector
    from anomirror.images import ImageSet
    from anomirror.workflows.fitting import Destination


Out = Annotated[Path, typer.Option(help="the model folder to write, outside DATA")]
Labelled = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DATA",
        help="labelled anomalies to learn from (ama); repeatable, or separated by commas",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        help=f"auto, which tries cheap ones on made-up anomalies; or {', '.join(METHODS)}"
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(help="of auto: about how long it may take; candidates beyond are left out"),
]
Preset = Annotated[
    str, typer.Option("--preset", help="named settings; `anomirror methods` lists them")
]
Size = Annotated[
    str | None,
    typer.Option(
        help=(
            "32, 64, 128 or 256 pixels that the longest side is scaled to; auto, the default, "
            "chooses"
        )
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="one parameter; repeatable"),
]
Config = Annotated[Path | None, typer.Option(help="a TOML file of parameters")]
Seed = Annotated[int | None, typer.Option(help="seed of everything random (0 if not given)")]
Resume = Annotated[
    bool, typer.Option("--resume", help="continue from the checkpoint in MODEL.partial")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing model")]


Split = Annotated[
    str | None,
    typer.Option(help="random, or last: calibrate on the last images, where a camera ages"),
]
Drop = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="leave out the N oddest images (see suspects)"),
]
_COMPLETE = (
    "is complete already, with these settings (whether images, groups, categories and suspects are "
    "the same was not looked at); nothing to do"
)


def fit(
    data: Data,
    out: Out,
    anomalies: Labelled = None,
    method: Method = "auto",
    preset_name: Preset = "cpu",
    size: Size = None,
    set_: Set = None,
    config: Config = None,
    minutes: Minutes = None,
    with_: With = None,
    seed: Seed = None,
    device: Device = None,
    resume: Resume = False,
    group_by: GroupBy = None,
    by: By = None,
    split: Split = None,
    drop_suspects: Drop = 0,
    skip_bad: SkipBad = False,
    overwrite: Overwrite = False,
    data_dir: DataDir = None,
) -> None:
    """Fit a detector on normal images and write it as a model folder.

    Without --method the one is chosen that finds anomalies best that are made up of your images.
    Some images are kept out of it, for the threshold. Of train/good and test/ the first is read.
    """
    from anomirror.detectors import make_detector

    parameters = _parameters(method, preset_name, config, set_, size)
    parameters |= _given(random_state=seed, device=device, calibration_split=split)
    detector = make_detector(method, **parameters | _given(skip_bad=skip_bad or None))
    detector = _with_candidates(detector, minutes, with_)
    labelled = _labelled_sources(detector, anomalies)
    _refuse_inside(out, data, *labelled)
    if (place := _place(detector, out, overwrite=overwrite, resume=resume)) is None:
        return
    images, labels = _opened(detector, data, labelled, out, data_dir)
    if minutes is not None:
        detector = _within_minutes(detector, images, minutes)
    groups = grouped(images.names, data, group_by)
    categories = categorised(images.names, by, labels)
    if drop_suspects:
        cleared = _cleared(detector, images, labels, groups, categories, drop_suspects)
        images, labels, groups, categories = cleared
    _announce(detector, images)
    of_each = groups, categories
    written = _fitted_to_folder(detector, images, labels, of_each, by, place, drop_suspects)
    if written is not None:
        _report(detector, images, str(out) if written == out.resolve() else str(written))


def _refuse_inside(out: Path, *sources: str) -> None:
    """A model among images would be read as images, and the other way round."""
    from anomirror.storage import refuse_overlap

    for source in sources:
        refuse_overlap(out, source, "--out")


def _place(detector: Detector, out: Path, *, overwrite: bool, resume: bool) -> Destination | None:
    """Where the model will be, with checkpoints next to it; None where nothing is to be done."""
    from anomirror.processes import rank
    from anomirror.workflows.fitting import destination, keep_checkpoints

    place = destination(out, detector, overwrite=overwrite, resume=resume)
    if place is None:
        say(f"{out} {_COMPLETE}")
        return None
    detector.set_params(verbose=Loudness.level >= 0 and rank() == 0)
    if not keep_checkpoints(detector, place) and rank() > 0:  # nothing to share
        return None
    return place


def _given(**parameters: object) -> Arguments:
    """Those that an option gives."""
    return {name: value for name, value in parameters.items() if value is not None}


def _opened(
    detector: Detector, data: str, labelled: Sequence[str], out: Path, data_dir: Path | None
) -> tuple[ImageSet, np.ndarray]:
    """Normal images and labelled anomalies, none of them where the model is to be written."""
    from anomirror.storage import refuse_overlap
    from anomirror.workflows.fitting import labelled_images

    sources = [resolve(source, "train", data_dir) for source in (data, *labelled)]
    images, labels = labelled_images(detector, sources[0], sources[1:])
    for folder in folders_of(images) if Path(data).is_dir() else ():  # where links lead to
        refuse_overlap(out, folder, "--out")
    return images, labels


def _cleared(
    detector: Detector,
    images: ImageSet,
    labels: np.ndarray,
    groups: np.ndarray | None,
    categories: np.ndarray | None,
    count: int,
) -> tuple[ImageSet, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The images without the oddest ones among the normal; these are named."""
    from anomirror.detectors import make_detector
    from anomirror.workflows.suspects import without_suspects

    judge = make_detector("pca", image_size=detector.image_size, skip_bad=detector.skip_bad)
    cleared = without_suspects(judge, images, labels, count, groups, categories)
    say(
        f"{count} suspects of {len(images)} images are left out, judged by pca fits without them "
        "(the promise then holds for images like those that are left): "
        f"{', '.join(f'{each.path} (p {each.p_value:.2g})' for each in cleared.dropped)}"
    )
    groups, categories = (
        None if each is None else each[cleared.places] for each in (groups, categories)
    )
    return cleared.images, cleared.labels, groups, categories


def _fitted_to_folder(
    detector: Detector,
    images: ImageSet,
    labels: np.ndarray,
    of_each: tuple[np.ndarray | None, np.ndarray | None],
    by: str | None,
    place: Destination,
    suspects_dropped: int,
) -> Path | None:
    """Where the model was written; a run that is stopped says how to go on.

    ``of_each`` are groups and categories, ``by`` the pattern of the latter.
    """
    from anomirror.workflows.fitting import fit_to_folder

    try:
        return fit_to_folder(
            detector,
            images,
            labels,
            place,
            *of_each,
            category_pattern=by or "",
            suspects_dropped=suspects_dropped,
        )
    except Stopped as stopped:
        if place.has_checkpoint:
            stopped.hint = (
                f"the checkpoint is in {place.partial}; the same command with --resume goes on "
                "from it"
            )
        raise


def _parameters(
    method: str, preset_name: str, config: Path | None, set_: Sequence[str] | None, size: str | None
) -> Arguments:
    """Of the preset, then the configuration, then the command line."""
    parameters = preset(method, preset_name) | _config_file(config) | assigned(set_)
    refuse_owned(parameters, "checkpoint_dir", "verbose", "callback")
    if size is not None:
        refuse_owned(parameters, "image_size")
        parameters["image_size"] = side(size)
    return parameters


def _labelled_sources(detector: Detector, anomalies: Sequence[str] | None) -> list[str]:
    """What ``--anomalies`` names, if the method can learn from it."""
    sources = each_of(anomalies)
    if sources and not detector.learns_from_anomalies:
        raise SettingError(
            f"--anomalies: {detector.method} cannot learn from anomalies (ama can); pass --method "
            "ama, or leave them out, and give them to `anomirror evaluate`"
        )
    return sources


def _with_candidates(
    detector: Detector, minutes: float | None, further: Sequence[str] | None
) -> Detector:
    """``auto`` with the candidates that are asked for."""
    for option, value in (("--minutes", minutes), ("--with", further)):
        if value is not None and not detector.chooses:
            raise SettingError(f"{option}: {detector.method} has no candidates (auto has)")
    return with_further(detector, further) if further else detector


def _within_minutes(detector: Detector, images: ImageSet, minutes: float) -> Detector:
    """Of ``auto`` the candidates that there is time for, by a timing on this machine."""
    from anomirror.progress import duration
    from anomirror.workflows.comparing import affordable

    within = affordable(detector, images, minutes)
    for name, seconds in within.left_out.items():
        say(
            f"{name} is not tried: with it this would take about {duration(seconds)} "
            f"(--minutes {math.ceil(seconds / 60)} tries it)"
        )
    return within.detector


def _announce(detector: Detector, images: ImageSet) -> None:
    """What it will take, before anything starts."""
    from anomirror.detector.costs import sentence
    from anomirror.processes import rank

    if rank() == 0:
        say(sentence(detector, images))


def _report(detector: Detector, images: ImageSet, place: str) -> None:
    """What was fitted on how many images, and what it does not promise."""
    if detector.calibrated_by_ == "train":
        say(f"note: {detector.promise()}")
    skipped = f", {detector.skipped_} unreadable ones left out" if detector.skipped_ else ""
    copies = f", {detector.copies_} exact copies among them" if detector.copies_ else ""
    _report_choice(detector)
    if any("attempt" in row for row in detector.history_):
        say("the training began badly and was begun again (docs/stability.md); that took longer")
    how = {"heldout": "held-out", "folds": "cross-fitted", "train": "fitted"}[
        detector.calibrated_by_
    ]
    say(
        f"{detector.method} fitted on {detector.n_train_} of {len(images)} "
        f"images{skipped}{copies}; "
        f"threshold from {detector.calibrated_on_} {how} ones; written to {place}"
    )


def _report_choice(detector: Detector) -> None:
    """What was chosen of what, and why."""
    if not detector.chooses:
        return
    if not detector.tried_:
        if len(candidates := detector.candidates()) > 1:
            first = candidates[0].method
            say(f"too few images to try methods: {first} is taken, the first candidate")
        return
    kept = [f"{each.name} ({each.mean:.2f})" for each in detector.tried_ if each.chosen]
    others = [f"{each.name} ({each.mean:.2f})" for each in detector.tried_ if not each.chosen]
    left = f"; left out: {', '.join(others)}" if others else ""
    say(
        f"{' and '.join(kept)} taken, by mean AUROC on anomalies that are made up of these images"
        f"{left}"
    )


def _config_file(file: Path | None) -> Arguments:
    if file is None:
        return {}
    try:
        loaded = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}") from error
    return {name: none_from_word(value) for name, value in loaded.items()}
