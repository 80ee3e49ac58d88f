"""``anomirror fit``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from anomirror.cli.common import (
    Data,
    DataDir,
    Device,
    Loudness,
    SkipBad,
    app,
    assigned,
    each_of,
    example,
    folders_of,
    none_from_word,
    refuse_owned,
    resolve,
    say,
    side,
)
from anomirror.cli.stopping import Stopped
from anomirror.errors import DivergenceError, InputError, SettingError
from anomirror.presets import PRESETS, preset

if TYPE_CHECKING:
    from anomirror.detectors import Detector
    from anomirror.images import ImageSet
    from anomirror.storage import ModelTarget


@app.command(
    epilog=example(
        "anomirror fit good-images/ --out model",
        "anomirror fit good-images/ --anomalies defects/ --out model --set epochs=30 --size 64",
    )
)
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="the model folder to write, outside DATA")],
    anomalies: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="labelled anomalies to learn from (ama); repeatable, or separated by commas"),
    ] = None,
    method: Annotated[str, typer.Option(help=", ".join(PRESETS))] = "ama",
    preset_name: Annotated[str, typer.Option("--preset", help="named settings; `anomirror methods` lists them")] = "cpu",
    size: Annotated[
        str | None, typer.Option(help="32, 64, 128 or 256 pixels that the longest side is scaled to; auto, the default, chooses")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one parameter; repeatable")] = None,
    config: Annotated[Path | None, typer.Option(help="a TOML file of parameters")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of everything random (0 if not given)")] = None,
    device: Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue from the checkpoint in MODEL.partial")] = False,
    skip_bad: SkipBad = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing model")] = False,
    data_dir: DataDir = None,
) -> None:
    """Fit a detector on normal images and write it as a model folder.

    Some images are kept out of the fit, and say where the threshold lies. Of a folder with train/good and test/, train/good
    is read.
    """
    from anomirror.checkpoints import remove_checkpoint
    from anomirror.detectors import make_detector
    from anomirror.processes import rank
    from anomirror.storage import CARD, CHECKPOINT, refuse_overlap

    parameters = preset(method, preset_name) | _config_file(config) | assigned(set_)
    refuse_owned(parameters, "checkpoint_dir", "verbose", "callback")
    parameters |= {"random_state": seed} if seed is not None else {}
    parameters |= {"device": device} if device is not None else {}
    parameters |= {"skip_bad": True} if skip_bad else {}
    if size is not None:
        refuse_owned(parameters, "image_size")
        parameters["image_size"] = side(size)
    detector = make_detector(method, **parameters)
    known = each_of(anomalies)
    if known and not detector.learns_from_anomalies:
        raise SettingError(
            f"--anomalies: {method} cannot learn from anomalies (ama can); leave them out, and give them to `anomirror evaluate`"
        )
    for read in (data, *known):
        refuse_overlap(out, read, "--out")
    target = _target(out, detector, overwrite=overwrite, resume=resume)
    if target is None:
        say(f"{out} is complete already, with these settings (whether the images are the same was not looked at); nothing to do")
        return
    partial = target.path.with_name(target.path.name + ".partial")
    if (partial / CHECKPOINT).exists() and not resume:
        raise InputError(f"{partial}: holds the checkpoint of an unfinished run; pass --resume, or remove the folder")
    detector.set_params(verbose=Loudness.level >= 0 and rank() == 0)
    if "checkpoint_dir" in detector.get_params():
        if detector.random_state is None:
            raise SettingError(
                "random_state=none: the command line can resume its runs, which needs a seed; choose one with --seed"
            )
        if partial.is_symlink() or (partial / CARD).exists():
            raise InputError(f"{partial}: checkpoints would be written there, and something else is; choose another --out")
        detector.set_params(checkpoint_dir=str(partial))
    elif rank() > 0:  # nothing to share
        return
    images, labels = _opened(detector, data, known, data_dir)
    for folder in folders_of(images) if Path(data).is_dir() else ():  # where links lead to
        refuse_overlap(out, folder, "--out")
    if rank() == 0:
        _announce(detector, images)
    try:
        detector.fit(images, labels)
    except DivergenceError as error:
        kept = f"; the last good checkpoint is in {partial}" if partial.exists() else ""
        raise DivergenceError(f"{error}{kept}", error.epoch) from error
    except Stopped as stopped:
        if (partial / CHECKPOINT).exists():
            stopped.hint = f"the checkpoint is in {partial}; the same command with --resume goes on from it"
        raise
    if rank() > 0:
        return
    place = detector.save(target)
    if "checkpoint_dir" in detector.get_params():
        remove_checkpoint(partial)
    if detector.calibrated_by_ == "train":
        say(f"note: {detector.promise()}")
    say(_told(detector, images, str(out) if place == out.resolve() else str(place)))


def _opened(detector: Detector, data: str, known: list[str], data_dir: Path | None) -> tuple[ImageSet, np.ndarray]:
    """Normal images and labelled anomalies in one set, and +1 and -1 for them."""
    from anomirror.images import Joined, frame_of, open_images

    images = detector.open(resolve(data, "train", data_dir))
    labels, frame = np.ones(len(images), dtype=int), frame_of(images)
    for source in known:
        more = open_images(resolve(source, "train", data_dir), shape=images.shape, frame=frame)
        labels = np.concatenate([labels, -np.ones(len(more), dtype=int)])
        images = Joined(images, more)
    return images, labels


def _announce(detector: Detector, images: ImageSet) -> None:
    """What it will take, before anything starts."""
    from anomirror.detector.costs import sentence

    detector._validate()
    say(sentence(detector, images))


def _told(detector: Detector, images: ImageSet, place: str) -> str:
    skipped = f", {detector.skipped_} unreadable ones left out" if detector.skipped_ else ""
    copies = f", {detector.copies_} exact copies among them" if detector.copies_ else ""
    how = {"heldout": "held-out", "folds": "cross-fitted", "train": "fitted"}[detector.calibrated_by_]
    return (
        f"{detector.method} fitted on {detector.n_train_} of {len(images)} images{skipped}{copies}; "
        f"threshold from {detector.calibrated_on_} {how} ones; written to {place}"
    )


def _target(out: Path, detector: Detector, *, overwrite: bool, resume: bool) -> ModelTarget | None:
    """The place of the model, which can be written; None where the model that is asked for is complete already."""
    from anomirror.storage import CARD, CHECKPOINT, model_target, read_card

    resolved = out.resolve()
    unfinished = (resolved.with_name(resolved.name + ".partial") / CHECKPOINT).exists() if resolved.name else False
    if resume and (resolved / CARD).is_file() and not (overwrite and unfinished):
        card = read_card(resolved)
        from anomirror.scorers import make_scorer, scorer_name

        scorer = scorer_name(make_scorer(detector.scorer))
        wanted = {"method": detector.method, "scorer": scorer, **detector.stored_parameters()}
        found = {"method": card.method, "scorer": card.scorer, **card.parameters}
        if odd := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            name = odd[0]
            raise InputError(
                f"{out}: is complete, but was fitted with {name}={found.get(name)!r}, not {wanted.get(name)!r}; "
                "choose another --out, or pass --overwrite without --resume"
            )
        return None
    return model_target(out, overwrite=overwrite, ways_out="pass --overwrite")


def _config_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        loaded = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}") from error
    return {name: none_from_word(value) for name, value in loaded.items()}
