"""What is decided about an image: p-value, anomaly or not, and what that promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from anomirror import decisions
from anomirror.decisions import Guarantee, Selection
from anomirror.detector import calibration
from anomirror.detector.calibrated import Calibrating
from anomirror.detector.calibration import CalibratedBy
from anomirror.detector.parameters import first_difference, parameters_of
from anomirror.detector.training_set import categories_of_each
from anomirror.errors import SettingError, warn
from anomirror.images import ImageInput, ImageSet
from anomirror.scorers import Scorer, Scores, make_scorer


class Deciding(ABC):
    """The part of every detector that decides, from its scores of normal images."""

    method: ClassVar[str]
    false_alarm_rate: float
    guarantee: Guarantee
    scorer: str | Scorer
    scorer_: Scorer
    calibrating_: Calibrating
    calibrated_on_: int
    calibration_hashes_: np.ndarray
    calibrated_images_: int
    calibrated_with_: dict[str, object]
    calibrated_by_: CalibratedBy

    @property
    @abstractmethod
    def scoring_statistics(self) -> frozenset[str]: ...

    @abstractmethod
    def _raw(self, statistics: Mapping[str, Scores]) -> Scores: ...

    @abstractmethod
    def validate(self) -> None: ...

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
    def calibration_categories_(self) -> np.ndarray | None:
        """Categories of the images that calibrate, ``(n,)`` text; None without."""
        return self._oddest().categories

    @property
    def calibration_(self) -> Scores:
        """Normalities of the images that calibrate, ``(n,)``, under the present formula."""
        return self.scorer_.normality(self.calibration_raw_)

    def _raw_of_calibrating(self, statistics: Mapping[str, Scores]) -> Scores:
        """Raw scores of the images that calibrate, as those of new images."""
        return np.asarray(self._raw(statistics), np.float64)

    def _follow_formula(self) -> None:
        """The scorer again, under a formula that has changed after the fit.

        Raises
        ------
        SettingError : there is no scoring with these parameters.
        """
        self.validate()
        if self.scoring_statistics <= self.calibrating_.statistics.keys():
            raw = self._raw_of_calibrating(self.calibrating_.statistics)
            self.scorer_ = make_scorer(self.scorer).fit(raw)
        elif self.scorer_.sided == "two":
            warn(
                "this model keeps no statistics of the images that calibrate it, so its scorer is "
                "still the one of the formula before: recalibrate it, or fit again"
            )

    def _oddest(self) -> Calibrating:
        """Of each group of the images that calibrate the oddest, under the present formula.

        Images of one group say little more than one, and a new image of a new group is at least as
        normal as the oddest of its group.
        """
        self._check_fitted()
        measured = self.calibrating_
        if self.scoring_statistics <= measured.statistics.keys():
            measured = replace(measured, raw=self._raw_of_calibrating(measured.statistics))
        units = measured.units
        if len(np.unique(units)) == len(units):
            return measured
        order = np.argsort(self.scorer_.normality(measured.raw), kind="stable")
        _, first = np.unique(units[order], return_index=True)
        return measured[np.sort(order[first])]

    @property
    def categories_(self) -> dict[str, int]:
        """Of each category that was given as ``by``: images that calibrate it, or groups of them;
        empty without.
        """
        return _counted(self.calibration_categories_)

    def _calibrating(self, by: object, count: int) -> list[tuple[np.ndarray, Scores]]:
        """Of new images those that are decided together, ``(count,)`` bool, and the normalities
        that calibrate them: of all, or of each category.

        Raises
        ------
        SettingError : categories are missing, of none was fitted, or nothing calibrates one.
        """
        calibrating, categories = self._oddest(), categories_of_each(by, count)
        normality = self.scorer_.normality(calibrating.raw)
        if calibrating.categories is None:
            if categories is not None:
                raise SettingError(
                    f"by: this {self.method} was calibrated without categories; fit or recalibrate "
                    "it with by="
                )
            return [(np.ones(count, bool), normality)]
        known = _counted(calibrating.categories)
        if categories is None:
            raise SettingError(
                f"this {self.method} decides within categories ({_listed(known)}): give by=, a "
                "category for each image"
            )
        _refuse_unknown(categories, known)
        within = decisions.within_groups(calibrating.categories, categories)
        return [(new, normality[members]) for members, new in within]

    def check_categories(self, categories: np.ndarray) -> None:
        """Refuse categories that no normal image calibrates.

        Raises
        ------
        SettingError : names the first of them.
        """
        _refuse_unknown(categories, self.categories_)

    @property
    def offset_(self) -> float:
        """Threshold on ``score_samples``, for ``false_alarm_rate`` and ``guarantee``; of all images
        that calibrate, whatever their categories.

        Raises
        ------
        SettingError : one of them was set to what it cannot be.
        """
        return self._threshold(self.calibration_)

    def _threshold(self, normality: Scores) -> float:
        """From normalities of images that calibrate."""
        declared = parameters_of(type(self))
        for name in ("false_alarm_rate", "guarantee"):
            declared[name].check(getattr(self, name))
        return decisions.threshold(
            normality,
            self.false_alarm_rate,
            self.guarantee,
            unseen=self.calibrated_by_ != "train",
            noise=self._noise(),
        )

    def thresholds(self, by: object, count: int) -> Scores:
        """Threshold on ``score_samples`` for each of ``count`` images, ``(count,)``.

        Parameters
        ----------
        by : their categories, where the fit had some; None otherwise.
        """
        values = np.empty(count)
        for new, normality in self._calibrating(by, count):
            values[new] = self._threshold(normality)
        return values

    def p_values(self, X: ImageInput, by: object = None) -> Scores:
        """Conformal p-value of each image, ``(n,)`` in (0, 1]; low is anomalous.

        Of normal images at most a share alpha has a p-value of at most alpha, for every alpha (of
        cross-fitted detectors nearly: docs/guarantees.md), and within each category.

        Parameters
        ----------
        by : a category for each image, where the fit had some; None otherwise.

        Raises
        ------
        SettingError : ``calibration="train"``: p-values would promise what they do not keep;
            categories are missing, or nothing calibrates one.
        """
        self.refuse_without_p_values()
        return self.p_values_from(self.score_samples(X), by)

    def p_values_from(self, normality: Scores, by: object = None) -> Scores:
        """:meth:`p_values` from normalities that are there already."""
        self.refuse_without_p_values()
        values = np.empty(len(normality))
        for new, unseen in self._calibrating(by, len(normality)):
            values[new] = decisions.p_values(unseen, normality[new], noise=self._noise())
        return values

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

    def decision_function(self, X: ImageInput, by: object = None) -> Scores:
        """``score_samples`` less the threshold (:meth:`thresholds`): negative for what
        :meth:`predict` calls an anomaly.
        """
        scores = self.score_samples(X)
        return scores - self.thresholds(by, len(scores))

    def predict(self, X: ImageInput, by: object = None) -> np.ndarray:
        """+1 for normal images, -1 for anomalies, ``(n,)`` int.

        Anomalies are the images whose p-value is at most ``false_alarm_rate`` or, with
        ``guarantee="confident"``, so low that this rate is kept with 95 % confidence.

        Parameters
        ----------
        by : as of :meth:`p_values`.
        """
        return np.where(self.flagged(self.score_samples(X), by), -1, 1)

    def flagged(self, normality: Scores, by: object = None) -> np.ndarray:
        """Whether images are called anomalies, ``(n,)`` bool, from their normalities.

        NaN counts as an anomaly.
        """
        return ~(normality >= self.thresholds(by, len(normality)))

    def select(
        self, X: ImageInput, fdr: float = 0.1, method: Selection = "bh", by: object = None
    ) -> np.ndarray:
        """Anomalies among many images, ``(n,)`` bool: at most ``fdr`` of those that are selected
        are normal, on average.

        Parameters
        ----------
        fdr : false discovery rate, in (0, 1).
        method : "bh", "storey" or "by": see :func:`anomirror.decisions.select`.
        by : as of :meth:`p_values`.

        Warns
        -----
        AnomirrorWarning : too few images calibrate for a single anomaly to be selected.
        """
        return self.select_from(self.p_values(X, by), fdr, method)

    def select_from(self, values: Scores, fdr: float, method: Selection = "bh") -> np.ndarray:
        """:meth:`select` from p-values that are there already."""
        selected = decisions.select(values, fdr, method)
        count = min(self.categories_.values(), default=self.calibrated_on_)
        needed = decisions.enough_to_select(count, len(values), fdr)
        if needed is not None and not selected.any():
            what = "this" if not self.categories_ else "the smallest category"
            warn(
                f"{count} images calibrate {what}: no single anomaly among {len(values)} images "
                f"can be selected at fdr={fdr:g} (that needs {needed:,}; several can be, if they "
                "are odder than all of these)"
            )
        return selected

    def promise(self) -> str | None:
        """What this fitted detector cannot promise of its false alarms, in a sentence.

        None if it keeps ``false_alarm_rate``.
        """
        self._check_fitted()
        return self._measured_otherwise() or calibration.promise(
            self.calibrated_by_,
            min(self.categories_.values(), default=self.calibrated_on_),
            self.false_alarm_rate,
            self.guarantee,
            self.categories_,
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
            self.categories_,
        )


def _counted(categories: np.ndarray | None) -> dict[str, int]:
    """How many images are of each; empty without categories."""
    if categories is None:
        return {}
    names, counts = np.unique(categories, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _listed(known: Iterable[str]) -> str:
    names = list(known)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _refuse_unknown(categories: np.ndarray, known: Mapping[str, int]) -> None:
    if unknown := sorted(set(categories.tolist()) - known.keys()):
        raise SettingError(
            f"category {unknown[0]}: no normal image of it calibrates this model (it has "
            f"{_listed(known)}); recalibrate it with images of each category"
        )
