"""Threshold and p-values of a fitted detector anew, from new normal images."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np

from anomirror.decisions import score_otherwise
from anomirror.detector import calibration
from anomirror.detector.calibrated import Calibrating
from anomirror.detector.deciding import Deciding
from anomirror.detector.training_set import categories_of_each
from anomirror.errors import ImageError, SettingError, warn
from anomirror.images import ImageInput, Subset, fingerprints


class Recalibrating(Deciding):
    """The part of every detector that is calibrated again, and knows images that it was given."""

    category_pattern_: str
    calibration_fingerprint_: str
    training_hashes_: np.ndarray
    anomaly_hashes_: np.ndarray

    def recalibrate(self, X: ImageInput, *, add: bool = False, by: object = None) -> Self:
        """Scorer, threshold and p-values anew, from new normal images; what was learnt stays.

        For a camera that has aged, or a threshold from more images than were there at first.

        Parameters
        ----------
        X : normal images. Those that were given to the fit are left out, with a warning.
        add : calibrate on these and on what calibrated before.
        by : None, or a category for each image, as of ``fit``; a detector that had none has these
            from now on.

        Raises
        ------
        SettingError : ``add`` to images that were fitted, measured otherwise, or have categories
            where the others have none.
        ImageError : no image is new; one was given to the fit as an anomaly.
        """
        if add:
            self._refuse_to_add(by)
        images = self.open_to_score(X)
        categories = categories_of_each(by, len(images))
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
        if seen.all():
            raise ImageError("no image is new to this model; recalibrate on others")
        new = calibration.distinct(hashes, np.flatnonzero(~seen), categories)
        measured, known = self._measure_to_calibrate(Subset(images, new)), hashes[new]
        measured = replace(measured, categories=None if categories is None else categories[new])
        if add:
            measured, known = self._added(measured), np.r_[self.calibration_hashes_, known]
        else:
            self.calibrated_by_ = "heldout"
        self._calibrate(measured)
        self.category_pattern_ = ""
        self.calibration_fingerprint_, self.calibration_hashes_ = fingerprint, known
        if (unkept := self.promise()) is not None:
            warn(unkept)
        return self

    def _refuse_to_add(self, by: object) -> None:
        """Where old and new images would not be of one kind."""
        self.refuse_without_p_values()
        if (unmeasured := self._measured_otherwise()) is not None:
            raise SettingError(f"add=True: {unmeasured}")
        if (by is None) != (self.calibrating_.categories is None):
            raise SettingError(
                "add=True: categories (by) of these images or of those that calibrate are missing; "
                "recalibrate without add, or with by as before"
            )

    def _added(self, new: Calibrating) -> Calibrating:
        """What calibrated before, and new images next to it."""
        before = self.calibrating_
        p_value = score_otherwise(
            self.calibration_raw_, new.raw, self.calibration_categories_, new.categories
        )
        if p_value < 0.01:
            warn(
                "the new images score otherwise than those that calibrated before (Kolmogorov and "
                f"Smirnov: p {p_value:.2g}): together they promise the rate for a mixture of both"
            )
        categories = None
        if before.categories is not None and new.categories is not None:
            categories = np.concatenate([before.categories, new.categories])
        return Calibrating(
            np.concatenate([before.raw, new.raw]),
            {name: np.r_[each, new.statistics[name]] for name, each in before.statistics.items()},
            np.concatenate([before.together, before.together.max() + 1 + new.together]),
            categories,
        )

    def learnt_as_anomalies(self, hashes: np.ndarray) -> np.ndarray:
        """Which images were given to the fit as anomalies, ``(n,)`` bool, by their hashes."""
        return np.isin(hashes, self.anomaly_hashes_)

    def known(self, hashes: np.ndarray) -> np.ndarray:
        """Which images were given to the fit as normal, or calibrate, ``(n,)`` bool."""
        return np.isin(hashes, np.concatenate([self.training_hashes_, self.calibration_hashes_]))
