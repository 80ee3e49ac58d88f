"""Fits a detector and writes it as a model folder, with a checkpoint meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomirror.checkpoints import remove_checkpoint
from anomirror.detector.parameters import first_difference
from anomirror.detectors import Detector
from anomirror.errors import DivergenceError, InputError, SettingError
from anomirror.images import ImageInput, ImageSet, Joined, frame_of, open_images
from anomirror.processes import rank
from anomirror.scorers import make_scorer, scorer_name
from anomirror.storage import CARD, CHECKPOINT, ModelTarget, model_target, read_card


@dataclass(frozen=True)
class Destination:
    """Where a model is to be written, and where its checkpoint is meanwhile."""

    target: ModelTarget
    partial: Path

    @property
    def has_checkpoint(self) -> bool:
        """Whether a run was begun that is not complete."""
        return (self.partial / CHECKPOINT).exists()


def destination(
    out: Path, detector: Detector, *, overwrite: bool, resume: bool
) -> Destination | None:
    """The place of a model, which can be written; None where the wanted model is complete already.

    Raises
    ------
    InputError : something else is there, or the checkpoint of a run that is not to be resumed.
    """
    resolved = out.resolve()
    partial = resolved.with_name(f"{resolved.name}.partial") if resolved.name else resolved
    unfinished = (partial / CHECKPOINT).exists()
    if resume and (resolved / CARD).is_file() and not (overwrite and unfinished):
        refuse_other_model(out, detector)
        return None
    target = model_target(out, overwrite=overwrite, ways_out="pass --overwrite")
    place = Destination(target, target.path.with_name(f"{target.path.name}.partial"))
    if place.has_checkpoint and not resume:
        raise InputError(
            f"{place.partial}: holds the checkpoint of an unfinished run; pass --resume, or remove "
            "the folder"
        )
    return place


def refuse_other_model(out: Path, detector: Detector) -> None:
    """Refuse a complete model that was fitted with other settings than a detector has.

    Raises
    ------
    InputError : names the first parameter that differs.
    """
    card = read_card(out)
    scorer = scorer_name(make_scorer(detector.scorer))
    wanted: dict[str, object] = {"method": detector.method, "scorer": scorer}
    found: dict[str, object] = {"method": card.method, "scorer": card.scorer}
    if detector.chooses:
        wanted["candidates"] = [each.method for each in detector.candidates()]
        tried = [each.name.rstrip("0123456789") for each in card.tried]  # pca2 is another pca
        found["candidates"] = tried or wanted["candidates"]
    wanted, found = wanted | detector.stored_parameters(), found | card.parameters
    if (name := first_difference(found, wanted)) is not None:
        raise InputError(
            f"{out}: is complete, but was fitted with {name}={found.get(name)!r}, not "
            f"{wanted.get(name)!r}; choose another --out, or pass --overwrite without --resume"
        )


def keep_checkpoints(detector: Detector, place: Destination) -> bool:
    """Let a detector write its checkpoints next to the model; returns whether it has any.

    Raises
    ------
    SettingError : no seed, with which a run could be resumed.
    InputError : something else is where they would be written.
    """
    if "checkpoint_dir" not in detector.get_params():
        if place.has_checkpoint:
            raise InputError(
                f"{place.partial}: holds the checkpoint of a method that trains, and "
                f"{detector.method} has none; pass its --method, or remove the folder"
            )
        return False
    if detector.random_state is None:
        raise SettingError(
            "random_state=none: the command line can resume its runs, which needs a seed; choose "
            "one with --seed"
        )
    if place.partial.is_symlink() or (place.partial / CARD).exists():
        raise InputError(
            f"{place.partial}: checkpoints would be written there, and something else is; choose "
            "another --out"
        )
    detector.set_params(checkpoint_dir=os.fspath(place.partial))
    return True


def labelled_images(
    detector: Detector, data: ImageInput, anomalies: Sequence[ImageInput]
) -> tuple[ImageSet, np.ndarray]:
    """Normal images and labelled anomalies as one set, and +1 and -1 for them."""
    images = detector.open(data)
    labels, frame = np.ones(len(images), dtype=int), frame_of(images)
    for source in anomalies:
        more = open_images(source, shape=images.shape, frame=frame)
        labels = np.concatenate([labels, -np.ones(len(more), dtype=int)])
        images = Joined(images, more)
    return images, labels


def fit_to_folder(
    detector: Detector,
    images: ImageSet,
    labels: np.ndarray,
    place: Destination,
    groups: np.ndarray | None = None,
    by: np.ndarray | None = None,
    *,
    category_pattern: str = "",
    suspects_dropped: int = 0,
) -> Path | None:
    """Fit, save, and remove the checkpoint.

    Parameters
    ----------
    category_pattern : what found the categories ``by`` in names of images.
    suspects_dropped : images that were left out before, for the model to say so.

    Returns the model folder, or None of all processes but the first.
    """
    try:
        detector.fit(images, labels, groups, by)
    except DivergenceError as error:
        way_on = ""
        if place.partial.exists():
            way_on = f"; the last good checkpoint is in {place.partial}"
        raise DivergenceError(f"{error}{way_on}", error.epoch) from error
    if rank() > 0:
        return None
    detector.suspects_dropped_ = suspects_dropped
    detector.category_pattern_ = category_pattern
    folder = detector.save(place.target)
    if "checkpoint_dir" in detector.get_params():
        remove_checkpoint(place.partial)
    return folder
