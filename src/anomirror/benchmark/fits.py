"""The fitted detector that scores each cell of a trial.

One fit, or under protocol ``paper`` its best epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomirror.benchmark.cells import Place
from anomirror.benchmark.protocols import Comparison, plain_name
from anomirror.benchmark.trial import Trial
from anomirror.detector.parameters import DECIDING, MEASURING, SCORING, first_difference, marked
from anomirror.detector.streaming import spaced
from anomirror.detector.variants import raw_scores_under, with_params
from anomirror.detectors import Detector, load
from anomirror.errors import InputError, SettingError
from anomirror.images import fingerprint, open_images
from anomirror.metrics import auroc
from anomirror.scorers import both_sides, make_scorer

CACHE = "compressed"
"""Folder below the results that remembers what takes long and depends on images alone."""


@dataclass(frozen=True)
class Fit:
    """A fitted detector, and after which epoch it was taken."""

    detector: Detector
    epoch: int | None
    kept: bool = False
    """Whether an earlier run trained it."""


def fits_of(
    trial: Trial, comparison: Comparison, scratch: Path, model: Path | None
) -> dict[Place, Fit]:
    """A fitted detector for each cell.

    Parameters
    ----------
    scratch : folder of what a fit that is interrupted goes on from.
    model : folder of a saved model, used if it is there, else written; None: neither.
    """
    detector = trial.detector()
    arguments = detector.get_params()
    if trial.protocol == "paper" or "checkpoint_dir" not in arguments:
        model = None
    cache = {"cache_dir": str(scratch.parent.parent / CACHE)} if "cache_dir" in arguments else {}
    if model is not None and model.exists():
        detector = _kept(trial, comparison, model).set_params(**cache)
        return dict.fromkeys(trial.places(), Fit(detector, len(detector.history_), kept=True))
    detector.set_params(**cache)
    if "checkpoint_dir" in arguments:
        scratch.mkdir(parents=True, exist_ok=True)
        detector.set_params(checkpoint_dir=str(scratch / "run"))
    validation = _Validation(trial, comparison, scratch / "epochs")
    choosing = trial.protocol == "paper" and "callback" in arguments
    if choosing:
        detector.set_params(callback=validation)
    detector.fit(*_training_images(comparison))
    if model is not None:
        detector.save(model)
    if choosing:
        return validation.best(detector, cache)
    return dict.fromkeys(trial.places(), Fit(detector, len(detector.history_) or None))


def _training_images(comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
    """Normal images with the label 1, then labelled anomalies with -1."""
    images, labels = comparison.train, np.ones(len(comparison.train), int)
    if len(comparison.labelled):
        images = np.concatenate([images, comparison.labelled])
        labels = np.r_[labels, -np.ones(len(comparison.labelled), int)]
    return images, labels


def _kept(trial: Trial, comparison: Comparison, file: Path) -> Detector:
    """The model of an earlier run of this trial, with today's parameters of scoring."""
    now = trial.detector()
    detector = load(file, device=now.device)
    names = marked(type(now), SCORING, MEASURING, DECIDING)
    detector.set_params(**{name: getattr(now, name) for name in names})
    wanted, found = now.stored_parameters(), detector.stored_parameters()
    if (name := first_difference(found, wanted)) is not None:
        raise SettingError(
            f"{file}: has {name}={found[name]!r}, and now it would be {wanted[name]!r}; remove it "
            "to train again"
        )
    if detector.data_fingerprint_ != fingerprint(open_images(comparison.train)):
        raise InputError(
            f"{file}: was trained on other images than these; remove it to train again"
        )
    return detector


class _Validation:
    """After each epoch: save the model, and give each cell's AUROC on the validation anomalies."""

    def __init__(self, trial: Trial, comparison: Comparison, folder: Path) -> None:
        self._folder = folder
        self._trial = trial
        self._comparison = comparison

    @staticmethod
    def key(place: Place) -> str:
        """The cell's column of the history."""
        words = ("validation", place.scoring, plain_name(place.column), place.side)
        return " ".join(word for word in words if word)

    def __call__(self, detector: Detector) -> dict[str, float]:
        train_images, normal_images = self._comparison.train, self._comparison.validation_normal
        train_count, normal_count = (
            (500, len(normal_images)) if self._trial.tested is None else (100, 100)
        )
        scorings = self._trial.all_scorings()

        def raw(images: np.ndarray) -> Mapping[str, np.ndarray]:
            return raw_scores_under(detector, images, scorings)

        train = raw(train_images[spaced(len(train_images), train_count)])
        normal = raw(normal_images[spaced(len(normal_images), normal_count)])
        anomalies = {column: raw(images) for column, images in self._comparison.validation.items()}
        found = {}
        for scoring, changes in scorings.items():
            own = make_scorer(with_params(detector, changes).scorer)
            for side, scorer in both_sides(own).items():
                scorer.fit(train[scoring])
                of_normal = scorer.normality(normal[scoring])
                for column, of_column in anomalies.items():
                    normality = scorer.normality(of_column[scoring])
                    found[self.key(Place(scoring, column, side))] = auroc(of_normal, normality)
        return found | {"snapshot": self._save(detector)}

    def _save(self, detector: Detector) -> int:
        """Save under the next free number, and return it.

        A run that was killed between its model and its checkpoint comes here again: the history
        says which one counts.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = (int(file.name) for file in self._folder.iterdir() if file.name.isdigit())
        number = 1 + max(taken, default=0)
        detector.save(self._folder / str(number))
        return number

    def best(self, detector: Detector, cache: Mapping[str, object]) -> dict[Place, Fit]:
        """For each cell the saved model of its best epoch."""
        taken: dict[int, Fit] = {}
        chosen = {}
        for place in self._trial.places():
            best = int(np.argmax([row[self.key(place)] for row in detector.history_]))
            if best not in taken:
                number = f"{detector.history_[best]['snapshot']:.0f}"
                snapshot = load(self._folder / number, device=detector.device).set_params(**cache)
                snapshot.history_ = detector.history_
                taken[best] = Fit(snapshot, best + 1)
            chosen[place] = taken[best]
        return chosen
