"""Fits a detector so that its scorer and threshold come from images that no fit has seen."""

from __future__ import annotations

import copy
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from anomirror.decisions import Guarantee, least_count
from anomirror.detector import calibration
from anomirror.detector.calibration import CalibratedBy, Calibration
from anomirror.detector.streaming import evenly_spaced, spaced
from anomirror.detector.training_set import TrainingSet
from anomirror.errors import ImageError
from anomirror.images import ImageSet, Subset, places_in
from anomirror.scorers import Scorer, Scores, make_scorer

MAPPED = 256
"""Normal images from whose maps the scale of maps is taken, at most."""

CALIBRATION = 10_000
"""Training images whose raw scores fit the scorer and the threshold, at most: scoring more costs as
much as a short training.
"""

WATCHED = 256
"""Held-out images by which an epoch is chosen, at most: these calibrate nothing."""

FEW_FOLDS = 5
"""Of a method that trains networks, where it is fitted in folds at all."""


@dataclass(frozen=True)
class Calibrating:
    """What is measured of the images that calibrate."""

    raw: Scores
    statistics: dict[str, Scores]
    together: np.ndarray
    """Numbers, ``(n,)`` int64: images of one number are one group."""
    categories: np.ndarray | None = None
    """Of each image, ``(n,)`` text: those of one category are decided among themselves."""

    def __getitem__(self, places: np.ndarray) -> Calibrating:
        statistics = {name: values[places] for name, values in self.statistics.items()}
        categories = None if self.categories is None else self.categories[places]
        return Calibrating(self.raw[places], statistics, self.together[places], categories)

    @property
    def units(self) -> np.ndarray:
        """Numbers, ``(n,)``: equal for images that count once, those of a group in one category."""
        return calibration.within_categories(self.together, self.categories)

    @property
    def groups(self) -> int:
        """How many there are; as many as images where each is its own."""
        return len(np.unique(self.units))


class Calibrated(ABC):
    """The part of every detector that splits the normal images, and calibrates on what it held
    out.
    """

    explains: ClassVar[bool]

    random_state: int | None
    scorer: str | Scorer
    calibration: Calibration
    calibration_fraction: float
    scorer_: Scorer
    calibration_split: str
    calibrating_: Calibrating
    map_scale_: float
    calibrated_on_: int
    calibrated_images_: int
    calibrated_with_: dict[str, object]
    false_alarm_rate: float
    guarantee: Guarantee
    calibrated_by_: CalibratedBy
    n_train_: int

    _given: TrainingSet | None = None
    _best_by: ClassVar[str | None] = None
    """Column of the history by whose lowest value the epoch is chosen whose weights are kept; None
    keeps the last. Held-out images that choose do not calibrate.
    """
    _watches_heldout: ClassVar[bool] = False
    """Whether images are held out for its history even where they do not calibrate."""

    @property
    def chooses_epoch(self) -> bool:
        """Whether it keeps the epoch that suits held-out images best; others then calibrate."""
        return self._best_by is not None

    @property
    def can_fold(self) -> bool:
        """Whether it is fast enough to be fitted once for each fold."""
        return True

    @abstractmethod
    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None: ...

    @abstractmethod
    def measure(self, images: ImageSet, names: Collection[str]) -> dict[str, Scores]: ...

    @abstractmethod
    def available_statistics(self) -> tuple[str, ...]: ...

    @abstractmethod
    def _raw(self, statistics: Mapping[str, Scores]) -> Scores: ...

    @abstractmethod
    def _map_scale(self, images: ImageSet) -> float: ...

    @abstractmethod
    def measured_with(self) -> dict[str, object]: ...

    def _calibrated(self) -> int:
        """Images that calibrate the scorer, at most."""
        return CALIBRATION

    def _seed(self) -> int:
        """``random_state``, or a fresh one: never from the caller's generators."""
        return secrets.randbits(32) if self.random_state is None else int(self.random_state)

    def _calibrate(self, calibrating: Calibrating) -> None:
        """The scorer, and what threshold and p-values come from."""
        self.scorer_ = make_scorer(self.scorer).fit(calibrating.raw)
        if self.calibrated_by_ == "train":  # promises nothing, of no group
            calibrating = replace(calibrating, together=np.arange(len(calibrating.raw)))
        self.calibrating_ = calibrating
        self.calibrated_on_, self.calibrated_images_ = calibrating.groups, len(calibrating.raw)
        self.calibrated_with_ = self.measured_with()

    def _measure_to_calibrate(
        self, images: ImageSet, together: np.ndarray | None = None
    ) -> Calibrating:
        """Raw scores and statistics of normal images."""
        statistics = self.measure(images, self.calibrating_statistics())
        raw = np.asarray(self._raw(statistics), np.float64)
        return Calibrating(raw, statistics, np.arange(len(raw)) if together is None else together)

    def calibrating_statistics(self) -> Collection[str]:
        """What is measured of the images that calibrate: all that costs little."""
        return self.available_statistics()

    def _forget_calibration(self) -> None:
        """Back to unfitted: a fit that fails, or a second one, never leaves an old threshold with
        new weights.
        """
        for name in ("scorer_", "calibrating_"):
            self.__dict__.pop(name, None)

    def _learn_and_measure(self, given: TrainingSet) -> Calibrating:
        """Fit, and measure the images that calibrate, by a fit without them (unless "train" is
        asked for).
        """
        with self._fitting(given):
            return self._fitted_and_measured(given)

    @contextmanager
    def _fitting(self, given: TrainingSet) -> Iterator[None]:
        """While a fit goes on, it knows which of its images belong together."""
        self._given = given
        try:
            yield
        finally:
            self._given = None

    def _together(self, images: ImageSet) -> np.ndarray:
        """Numbers of images of a fit that goes on, ``(n,)``: equal for copies and within groups."""
        if self._given is not None:
            places = places_in(images, self._given.normal)
            if places is not None:
                return np.asarray(self._given.together[places])
        return np.arange(len(images))

    def _fitted_and_measured(self, given: TrainingSet) -> Calibrating:
        can_fold = self.can_fold and self.calibration_split == "random"
        self.calibrated_by_ = calibration.choose(
            self.calibration, self.calibration_fraction, given.together, can_fold=can_fold
        )
        if self.calibrated_by_ == "folds":
            return self._cross_fitted(given)
        fitting, heldout = self._fitting_and_heldout(given)
        watched = heldout
        if self.calibrated_by_ == "heldout" and heldout is not None and self.chooses_epoch:
            watched, heldout = self._watched_and_calibrating(given, np.asarray(heldout.indices))
        self._learn(fitting, watched, given.anomalies)
        self.n_train_ = len(fitting)
        calibrating, together = fitting, np.arange(len(fitting))
        if self.calibrated_by_ == "heldout" and heldout is not None:
            once = calibration.distinct(given.hashes, np.asarray(heldout.indices), given.categories)
            calibrating, together = Subset(given.normal, once), given.together[once]
        if self.explains:
            self.map_scale_ = self._map_scale(evenly_spaced(calibrating, MAPPED))
        at = spaced(len(calibrating), self._calibrated())
        images = Subset(calibrating, at.tolist())
        measured = self._measure_to_calibrate(images, together[at])
        return replace(measured, categories=given.categories_of(images))

    def _fitting_and_heldout(self, given: TrainingSet) -> tuple[ImageSet, Subset | None]:
        """Images to fit on, and those that are held out, each in their order."""
        if self.calibrated_by_ == "train":
            watched = self.calibration_fraction > 0 and self._watches_heldout
            return (
                self.split(given.normal, self.calibration_fraction)
                if watched
                else (given.normal, None)
            )
        order = self._shuffled(len(given.normal))
        least = least_count(self.false_alarm_rate, self.guarantee)
        if self.calibration_split == "last":
            order = np.arange(len(given.normal))[::-1]
        chosen = calibration.held_out_places(
            self.calibration,
            self.calibration_fraction,
            order.tolist(),
            given.together,
            least=2 * least if self.chooses_epoch else least,
            in_order=self.calibration_split == "last",
            categories=given.categories,
        )
        fitting = np.setdiff1d(np.arange(len(given.normal)), chosen)
        return Subset(given.normal, fitting.tolist()), Subset(given.normal, chosen.tolist())

    def _watched_and_calibrating(
        self, given: TrainingSet, heldout: np.ndarray
    ) -> tuple[Subset, Subset]:
        """Held-out images by which an epoch is chosen, and the others, groups on one side."""
        order = self._shuffled(len(heldout)).tolist()
        count = min(WATCHED, len(heldout) // 2)
        categories = None if given.categories is None else given.categories[heldout]
        together = given.together[heldout]
        places = calibration.held_out(order, together, count, categories=categories)
        watched, others = heldout[places], np.delete(heldout, places)
        return Subset(given.normal, watched.tolist()), Subset(given.normal, others.tolist())

    def _cross_fitted(self, given: TrainingSet) -> Calibrating:
        """Fit on all images; each is measured by a fit on the other folds."""
        with self._sharing(given.normal):
            measured, scales = self.folded(given)
            self._learn(given.normal, None, None)
        if self.explains:
            self.map_scale_ = float(np.median(scales))
        self.n_train_ = len(given.normal)
        # fewer than 1,000, or asked for
        every = np.arange(len(given.normal))
        once = calibration.distinct(given.hashes, every, given.categories)
        return measured[np.asarray(once)]

    def raw_by_fold(self, given: TrainingSet) -> Scores:
        """Raw score of each image by a fit on the other folds, ``(n,)``."""
        with self._fitting(given), self._sharing(given.normal):
            return self.folded(given)[0].raw

    @contextmanager
    def _sharing(self, images: ImageSet) -> Iterator[None]:
        """While fits in folds of these images go on: a method may compute once what all need."""
        yield

    def folded(self, given: TrainingSet) -> tuple[Calibrating, list[float]]:
        """Each image as a fit on the other folds measures it; of each fold the scale of maps."""
        normal = given.normal
        if (groups := len(np.unique(given.together))) < calibration.FEWEST_FOLDED:
            raise ImageError(
                f"{groups} different normal images or groups: at least "
                f"{calibration.FEWEST_FOLDED} are needed to judge each by a fit on the others"
            )
        every, raw = np.arange(len(normal)), np.empty(len(normal))
        statistics = {name: np.empty(len(normal)) for name in self.calibrating_statistics()}
        scales = []
        count = FEW_FOLDS
        if self.can_fold:
            count = calibration.fold_count(len(normal), math.prod(normal.shape))
        for fold in calibration.folds(self._shuffled(len(normal)).tolist(), given.together, count):
            others = copy.copy(self)
            others._learn(Subset(normal, np.setdiff1d(every, fold).tolist()), None, None)
            unseen = Subset(normal, fold.tolist())
            measured = others._measure_to_calibrate(unseen)
            raw[fold] = measured.raw
            for name, values in measured.statistics.items():
                statistics[name][fold] = values
            if self.explains:
                scales.append(others._map_scale(evenly_spaced(unseen, MAPPED)))
        return Calibrating(raw, statistics, given.together, given.categories), scales

    def split(self, images: ImageSet, share: float) -> tuple[Subset, Subset]:
        """Most of the images, and a random ``share`` of them (at least one), each in their
        order.
        """
        order = self._shuffled(len(images)).tolist()
        count = max(1, math.floor(len(images) * share))
        return Subset(images, sorted(order[count:])), Subset(images, sorted(order[:count]))

    def _shuffled(self, count: int) -> np.ndarray:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self._seed()))
        return np.asarray(order.numpy())
