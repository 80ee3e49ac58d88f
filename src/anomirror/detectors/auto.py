"""The ensemble that suits the images, chosen on anomalies that are made up of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from anomirror.cards import TriedCard
from anomirror.detector import calibration
from anomirror.detector.calibrated import Calibrating
from anomirror.detector.contract import Detector
from anomirror.detector.parameters import UNSTORED, Fraction, declared
from anomirror.detector.streaming import evenly_spaced, spaced
from anomirror.detector.training_set import TrainingSet
from anomirror.detectors.ensemble import Ensemble
from anomirror.detectors.knn import KNN
from anomirror.detectors.pca import PCA
from anomirror.detectors.scattering import Scattering
from anomirror.errors import DivergenceError, ImageError, warn
from anomirror.images import ImageInput, ImageSet, Subset, framed
from anomirror.scorers import Scores
from anomirror.synthetic import KINDS, made_up

FITTED, UNSEEN, MADE = 2000, 200, 100
"""Candidates are tried by a fit on so many images at most, on so many others, and on so many
made-up anomalies of each kind."""
FEWEST = 50
"""Images below which nothing is tried: a fifth of them would be unseen."""


@dataclass(frozen=True)
class Trial:
    """One candidate on images that its fit has not seen, and on made-up anomalies."""

    name: str
    detector: Detector
    """Fitted, but calibrated by nothing."""
    normal: Scores
    """Raw scores of normal images."""
    made: Mapping[str, Scores]
    """Raw scores of made-up anomalies, by kind."""
    fit_seconds: float
    images_per_second: float

    @property
    def auroc(self) -> dict[str, float]:
        """Of each kind of made-up anomalies."""
        return {kind: _auroc(self.normal, made) for kind, made in self.made.items()}

    @property
    def mean(self) -> float:
        """Over all kinds."""
        return float(np.mean(list(self.auroc.values())))

    def raw_scores(self, images: ImageSet) -> Scores:
        """Of images in the frame of the trial."""
        return _raw_scores(self.detector, images)


@declared
class Auto(Ensemble):
    """The ensemble of those candidates that find made-up anomalies of your images best.

    A fifth of the normal images, at most 200, is not fitted at first, and anomalies of nine kinds
    are made of them. Of the candidates those are kept that find these nearly as well as the best
    one. They are then fitted on all images as an :class:`Ensemble` is. Of fewer than 50 images
    nothing can be tried, and the first candidate is taken. A loaded model knows the members that
    were kept, and no longer the other candidates.

    Notes
    -----
    What finds made-up anomalies best finds real ones best only roughly: docs/choosing.md says how
    roughly, and what always taking the first candidate gives.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> fitted = Auto().fit(load_sample().train[:100])
    >>> "scattering" in fitted.members_
    True
    """

    method = "auto"
    chooses = True

    detectors: Annotated[Sequence[Detector], UNSTORED] = ()
    """Candidates that are not fitted, or on the command line their names; () are ``scattering``,
    ``pca`` and ``knn``."""

    margin: Fraction = 0.1
    """How far the mean AUROC on made-up anomalies of a candidate that is kept may lie below that of
    the best one."""

    def candidates(self) -> Sequence[Detector]:
        """Those that are tried."""
        return self.detectors or (Scattering(), PCA(), KNN())

    def with_candidates(self, detectors: Sequence[Detector]) -> Self:
        """The same choice among other candidates, not fitted."""
        fresh: Self = clone(self)
        fresh.detectors = list(detectors)
        return fresh

    def chosen(self, means: Mapping[str, float]) -> list[str]:
        """Names of those that are kept, from mean AUROC on made-up anomalies by name."""
        least = max(means.values()) - self.margin
        return [name for name, mean in means.items() if mean >= least]

    def fit_seconds(self, images: ImageSet) -> float:
        """About as long as the candidates twice: tried on some of the images, fitted on all."""
        tried = evenly_spaced(images, FITTED + UNSEEN + len(KINDS) * MADE)
        return super().fit_seconds(images) + super().fit_seconds(tried)

    def fit_bytes(self, images: ImageSet) -> int:
        """As of an ensemble, and made-up anomalies."""
        made = (len(KINDS) + 2) * MADE * int(np.prod(images.shape)) * 4
        return super().fit_bytes(images) + made

    def compare(self, X: ImageInput, groups: object = None) -> list[Trial]:
        """Try the candidates, and leave this detector as it is.

        Parameters
        ----------
        X, groups : as in :meth:`fit`.

        Raises
        ------
        ImageError : fewer than 50 normal images.
        """
        fresh = copy.copy(self)
        given = fresh._begin(X, None, groups)
        if (different := len(np.unique(given.together))) < FEWEST:
            raise ImageError(
                f"{different} different normal images or groups: at least {FEWEST} are needed to "
                "compare methods"
            )
        with fresh._fitting(given):
            return fresh._trials(given)

    def _fitted_and_measured(self, given: TrainingSet) -> Calibrating:
        self.tried_ = []
        prototypes = self._prototypes or {}
        chosen = list(prototypes)[:1]
        if len(np.unique(given.together)) >= FEWEST and len(prototypes) > 1:
            trials = self._trials(given)
            chosen = self.chosen({trial.name: trial.mean for trial in trials})
            self.tried_ = [
                TriedCard(name=trial.name, chosen=trial.name in chosen, auroc=trial.auroc)
                for trial in trials
            ]
        self._prototypes = {name: prototypes[name] for name in chosen}
        return super()._fitted_and_measured(given)

    def _trials(self, given: TrainingSet) -> list[Trial]:
        """Of all candidates on the same images."""
        count = len(given.normal)
        order = self._shuffled(count).tolist()
        unseen = calibration.held_out(order, given.together, min(UNSEEN, count // 5))
        others = np.setdiff1d(np.arange(count), unseen)
        fitting = evenly_spaced(Subset(given.normal, others.tolist()), FITTED)
        normal = framed(given.normal.take(unseen.tolist()).numpy())
        made = self._made_of(Subset(given.normal, unseen[spaced(len(unseen), MADE)].tolist()))
        trials = []
        for name, member in (self._prototypes or {}).items():
            try:
                trials.append(self._trial(name, member, fitting, normal, made))
            except DivergenceError as error:
                warn(f"{name} is left out: {error}")
        if not trials:
            raise DivergenceError("no candidate could be fitted", 0)
        return trials

    def _trial(
        self,
        name: str,
        prototype: Detector,
        fitting: ImageSet,
        normal: ImageSet,
        made: Mapping[str, ImageSet],
    ) -> Trial:
        member, started = copy.copy(prototype), time.perf_counter()
        member.learn_as_member(fitting, None, None)
        fitted_in, started = time.perf_counter() - started, time.perf_counter()
        raw = _raw_scores(member, normal)
        per_second = len(normal) / max(time.perf_counter() - started, 1e-9)
        by_kind = {kind: _raw_scores(member, images) for kind, images in made.items()}
        if not all(np.isfinite(each).all() for each in (raw, *by_kind.values())):
            raise DivergenceError("its scores are not finite", len(member.history_))
        member.forget_images()
        return Trial(name, member, raw, by_kind, fitted_in, per_second)

    def _made_of(self, images: ImageSet) -> dict[str, ImageSet]:
        """Anomalies of every kind from normal images."""
        frame, every, seed = self._frame(), range(len(images)), self._seed()
        boxes = [frame.inner(*images.native_size(index)) for index in every]
        normal = images.take(every).numpy()
        return {kind: framed(made_up(normal, kind, seed=seed, boxes=boxes)) for kind in KINDS}


def _raw_scores(member: Detector, images: ImageSet) -> Scores:
    """Of a member whose fit has just ended."""
    measured = member.measure_as_member(images, member.scoring_statistics)
    return member.raw_as_member(measured)


def _auroc(normal: Scores, anomalies: Scores) -> float:
    truth = np.r_[np.zeros(len(normal)), np.ones(len(anomalies))]
    return float(roc_auc_score(truth, np.concatenate([normal, anomalies])))
