"""What is decided about an image: p-value, anomaly or not, and what that promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from scipy.stats import ks_2samp

from anomirror import decisions
from anomirror.decisions import Guarantee, Selection
from anomirror.detector import calibration
from anomirror.detector.calibrated import Calibrating
from anomirror.detector.calibration import CalibratedBy
from anomirror.detector.parameters import first_difference, parameters_of
from anomirror.errors import ImageError, SettingError, warn
from anomirror.images import ImageInput, ImageSet, Subset, fingerprints
from anomirror.scorers import Scorer, Scores


class Deciding(ABC):
    """The part of every detector that decides, from its scores of normal images."""

    method: ClassVar[str]
    false_alarm_rate: float
    guarantee: Guarantee
    scorer_: Scorer
    calibrating_: Calibrating
    calibrated_on_: int
    calibration_fingerprint_: str
    calibration_hashes_: np.ndarray
    calibrated_images_: int
    calibrated_with_: dict[str, object]
    training_hashes_: np.ndarray
    anomaly_hashes_: np.ndarray
    calibrated_by_: CalibratedBy

    @property
    @abstractmethod
    def scoring_statistics(self) -> frozenset[str]: ...

    @abstractmethod
    def _raw(self, statistics: Mapping[str, Scores]) -> Scores: ...

    @abstractmethod
    def measured_with(self) -> dict[str, object]: ...

    @abstractmethod
    def score_samples(self, X: ImageInput) -> Scores: ...

    @abstractmethod
    def open_to_score(self, X: ImageInput) -> ImageSet: ...

    @abstractmethod
    def _measure_to_calibrate(self, images: ImageSet) -> Calibrating: ...

    @abstractmethod
    def _calibrate(self, calibrating: Calibrating) -> None: ...

    @abstractmethod
    def _check_fitted(self) -> None: ...

    def _noise(self) -> float:
        """What rounding alone leaves in a raw score, where that is a difference of much larger
        numbers.
        """
        return 0.0

    @property
    def calibration_raw_(self) -> Scores:
        """Raw scores of the images that calibrate, ``(n,)``, under the present formula."""
        return self._oddest().raw

    @property
    def calibration_statistics_(self) -> dict[str, Scores]:
        """Statistics of the images that calibrate: with them new images are compared (drift)."""
        return self._oddest().statistics

    @property
    def calibration_(self) -> Scores:
        """Normalities of the images that calibrate, ``(n,)``, under the present formula."""
        return self.scorer_.normality(self.calibration_raw_)

    def _raw_of_calibrating(self, statistics: Mapping[str, Scores]) -> Scores:
        """Raw scores of the images that calibrate, as those of new images."""
        return np.asarray(self._raw(statistics), np.float64)

    def _oddest(self) -> Calibrating:
        """Of each group of the images that calibrate the oddest, under the present formula.

        Images of one group say little more than one, and a new image of a new group is at least as
        normal as the oddest of its group.
        """
        self._check_fitted()
        measured = self.calibrating_
        if self.scoring_statistics <= measured.statistics.keys():
            measured = replace(measured, raw=self._raw_of_calibrating(measured.statistics))
        if measured.groups == len(measured.raw):
            return measured
        order = np.argsort(self.scorer_.normality(measured.raw), kind="stable")
        _, first = np.unique(measured.together[order], return_index=True)
        return measured[np.sort(order[first])]

    @property
    def offset_(self) -> float:
        """Threshold on ``score_samples``, for ``false_alarm_rate`` and ``guarantee``.

        Raises
        ------
        SettingError : one of them was set to what it cannot be.
        """
        declared = parameters_of(type(self))
        for name in ("false_alarm_rate", "guarantee"):
            declared[name].check(getattr(self, name))
        return decisions.threshold(
            self.calibration_,
            self.false_alarm_rate,
            self.guarantee,
            unseen=self.calibrated_by_ != "train",
            noise=self._noise(),
        )

    def p_values(self, X: ImageInput) -> Scores:
        """Conformal p-value of each image, ``(n,)`` in (0, 1]; low is anomalous.

        Of normal images at most a share alpha has a p-value of at most alpha, for every alpha (of
        cross-fitted detectors nearly: docs/guarantees.md).

        Raises
        ------
        SettingError : ``calibration="train"``: p-values would promise what they do not keep.
        """
        self.refuse_without_p_values()
        return self.p_values_from(self.score_samples(X))

    def p_values_from(self, normality: Scores) -> Scores:
        """:meth:`p_values` from normalities that are there already."""
        self.refuse_without_p_values()
        return decisions.p_values(self.calibration_, normality, noise=self._noise())

    @property
    def has_p_values(self) -> bool:
        """Whether images that no fit has seen calibrate this detector."""
        self._check_fitted()
        return self.calibrated_by_ != "train"

    def refuse_without_p_values(self) -> None:
        """Raise a :class:`SettingError` where :meth:`p_values` would promise nothing."""
        if not self.has_p_values:
            raise SettingError(
                f"this {self.method} was calibrated on images that were fitted: it has no p-values;"
                " fit it with calibration='auto'"
            )

    def decision_function(self, X: ImageInput) -> Scores:
        """``score_samples - offset_``: negative for what :meth:`predict` calls an anomaly."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ImageInput) -> np.ndarray:
        """+1 for normal images, -1 for anomalies, ``(n,)`` int.

        Anomalies are the images whose p-value is at most ``false_alarm_rate`` or, with
        ``guarantee="confident"``, so low that this rate is kept with 95 % confidence.
        """
        return np.where(self.flagged(self.score_samples(X)), -1, 1)

    def flagged(self, normality: Scores) -> np.ndarray:
        """Whether images are called anomalies, ``(n,)`` bool, from their normalities.

        NaN counts as an anomaly.
        """
        return ~(normality >= self.offset_)

    def select(self, X: ImageInput, fdr: float = 0.1, method: Selection = "bh") -> np.ndarray:
        """Anomalies among many images, ``(n,)`` bool: at most ``fdr`` of those that are selected
        are normal, on average.

        Parameters
        ----------
        fdr : false discovery rate, in (0, 1).
        method : "bh", "storey" or "by": see :func:`anomirror.decisions.select`.

        Warns
        -----
        AnomirrorWarning : too few images calibrate for a single anomaly to be selected.
        """
        return self.select_from(self.p_values(X), fdr, method)

    def select_from(self, values: Scores, fdr: float, method: Selection = "bh") -> np.ndarray:
        """:meth:`select` from p-values that are there already."""
        selected = decisions.select(values, fdr, method)
        count = self.calibrated_on_
        needed = decisions.enough_to_select(count, len(values), fdr)
        if needed is not None and not selected.any():
            warn(
                f"{count} images calibrate this: no single anomaly among {len(values)} images can "
                f"be selected at fdr={fdr:g} (that needs {needed:,}; several can be, if they are "
                "odder than all of these)"
            )
        return selected

    def recalibrate(self, X: ImageInput, *, add: bool = False) -> Self:
        """Scorer, threshold and p-values anew, from new normal images; what was learnt stays.

        For a camera that has aged, or a threshold from more images than were there at first.

        Parameters
        ----------
        X : normal images. Those that were given to the fit are left out, with a warning.
        add : calibrate on these and on what calibrated before.

        Raises
        ------
        SettingError : ``add`` to images that were fitted, or measured otherwise.
        ImageError : no image is new; one was given to the fit as an anomaly.
        """
        if add:
            self.refuse_without_p_values()
            if (unmeasured := self._measured_otherwise()) is not None:
                raise SettingError(f"add=True: {unmeasured}")
        images = self.open_to_score(X)
        fingerprint, hashes = fingerprints(images)
        if len(odd := np.flatnonzero(self.learnt_as_anomalies(hashes))):
            raise ImageError(
                f"{len(odd)} of {len(hashes)} images were given to the fit as anomalies, such as "
                f"{images.names[int(odd[0])]}; leave them out"
            )
        seen = self.known(hashes) if add else np.isin(hashes, self.training_hashes_)
        if seen.any():
            warn(
                f"{seen.sum()} of {len(seen)} images were given to the fit or calibrate already, "
                "and are left out"
            )
        new = calibration.distinct(hashes, np.flatnonzero(~seen)) if not seen.all() else []
        if not new:
            raise ImageError("no image is new to this model; recalibrate on others")
        measured, known = self._measure_to_calibrate(Subset(images, new)), hashes[new]
        if add:
            measured, known = self._added(measured), np.r_[self.calibration_hashes_, known]
        else:
            self.calibrated_by_ = "heldout"
        self._calibrate(measured)
        self.calibration_fingerprint_, self.calibration_hashes_ = fingerprint, known
        if (unkept := self.promise()) is not None:
            warn(unkept)
        return self

    def _added(self, new: Calibrating) -> Calibrating:
        """What calibrated before, and new images next to it."""
        before = self.calibrating_
        raw = self.calibration_raw_
        if (p_value := ks_2samp(raw, new.raw).pvalue) < 0.01:
            warn(
                "the new images score otherwise than those that calibrated before (Kolmogorov and "
                f"Smirnov: p {p_value:.2g}): together they promise the rate for a mixture of both"
            )
        return Calibrating(
            np.concatenate([before.raw, new.raw]),
            {name: np.r_[each, new.statistics[name]] for name, each in before.statistics.items()},
            np.concatenate([before.together, before.together.max() + 1 + new.together]),
        )

    def promise(self) -> str | None:
        """What this fitted detector cannot promise of its false alarms, in a sentence.

        None if it keeps ``false_alarm_rate``.
        """
        self._check_fitted()
        return self._measured_otherwise() or calibration.promise(
            self.calibrated_by_, self.calibrated_on_, self.false_alarm_rate, self.guarantee
        )

    def _measured_otherwise(self) -> str | None:
        """Which parameter would measure the images that calibrate otherwise today, if one would."""
        before, now = self.calibrated_with_, self.measured_with()
        if (name := first_difference(before, now)) is None:
            return None
        return (
            f"{name} was {before[name]!r} when this was calibrated and is {now[name]!r}: "
            "threshold and p-values do not hold; recalibrate, or set it back"
        )

    def guarantee_sentence(self) -> str:
        """What this fitted detector promises of its false alarms, for a person."""
        return self._measured_otherwise() or calibration.guarantee_sentence(
            self.calibrated_by_,
            self.calibrated_on_,
            self.false_alarm_rate,
            self.guarantee,
            self.calibrated_images_,
            len(self.calibration_hashes_),
        )

    def learnt_as_anomalies(self, hashes: np.ndarray) -> np.ndarray:
        """Which images were given to the fit as anomalies, ``(n,)`` bool, by their hashes."""
        return np.isin(hashes, self.anomaly_hashes_)

    def known(self, hashes: np.ndarray) -> np.ndarray:
        """Which images were given to the fit as normal, or calibrate, ``(n,)`` bool."""
        return np.isin(hashes, np.concatenate([self.training_hashes_, self.calibration_hashes_]))
