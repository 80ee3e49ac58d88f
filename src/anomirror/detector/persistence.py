"""A fitted detector as a model folder, and back."""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from anomirror.cards import MemberCard, ModelCard, TriedCard, Value
from anomirror.detector.calibrated import Calibrating
from anomirror.detector.calibration import CalibratedBy
from anomirror.detector.parameters import (
    DECIDING,
    MEASURING,
    SCORING,
    UNSTORED,
    Arguments,
    marked,
)
from anomirror.errors import ModelFileError, NotFittedError, SettingError
from anomirror.images import ImageShape, ImageSize, SizeRange
from anomirror.scorers import Scorer, Scores, make_scorer, scorer_name
from anomirror.storage import ModelTarget, save_model
from anomirror.training import History

HASHES = "training.hashes"
"""Name of these among the tensors of a model."""
LABELLED = "anomalies.hashes"
"""The same of those of the labelled anomalies."""
LATER = "recalibration.hashes"
"""The same of those of the images that it was recalibrated on."""
GROUPS = "calibration_groups"
"""The same of numbers of the images that calibrate: those of one number are one group."""
CATEGORIES = "calibration_categories"
"""The same of numbers of their categories, whose names the card holds."""
CALIBRATION = "calibration"
"""The same of what was measured of them: raw scores and statistics."""
RAW = "raw_scores"


class Persistent(ABC):
    """The part of every detector that a model folder holds.

    Fitted state, and the parameters that decide results.
    """

    method: ClassVar[str]
    """Name in the registry, on the command line and in model files."""

    image_size: ImageSize
    fitted_with_: dict[str, Value]
    every_statistic: Callable[[], tuple[str, ...]]
    image_shape_: ImageShape
    scorer_: Scorer
    calibrating_: Calibrating
    calibrated_on_: int
    calibrated_by_: CalibratedBy
    sizes_: SizeRange | None
    white_: int
    training_hashes_: np.ndarray
    anomaly_hashes_: np.ndarray
    copies_: int
    skipped_: int
    suspects_dropped_: int
    tried_: Sequence[TriedCard]
    n_train_: int
    data_fingerprint_: str
    calibration_fingerprint_: str
    calibration_hashes_: np.ndarray
    calibrated_images_: int
    calibrated_with_: dict[str, object]
    category_pattern_: str
    history_: History

    @abstractmethod
    def validate(self) -> None: ...

    @abstractmethod
    def get_params(self, deep: bool = True) -> Arguments: ...

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """Everything fitted that is a tensor."""

    @abstractmethod
    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        """The inverse of :meth:`_tensors` and :meth:`fitted_numbers`; ``image_shape_`` is set."""

    def fitted_numbers(self) -> dict[str, float]:
        """Everything else fitted, as numbers."""
        return {}

    def _member_cards(self) -> list[MemberCard]:
        """Of the detectors that this one consists of."""
        return []

    def _check_fitted(self) -> None:
        if not hasattr(self, "calibrating_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet: call fit(images) first"
            )

    def save(self, path: str | os.PathLike[str] | ModelTarget, *, overwrite: bool = False) -> Path:
        """Write the fitted detector as a model folder (see :mod:`anomirror.storage`).

        Returns where it is.

        Raises
        ------
        InputError : something else than a model is there, or a model without ``overwrite``.
        """
        self._check_fitted()
        self.validate()  # set_params may have changed how it scores
        names, codes = np.unique(self._categories(), return_inverse=True)
        card = ModelCard(
            library=version("anomirror"),
            method=self.method,
            parameters=self.stored_parameters() | self.fitted_with_,
            scorer=scorer_name(self.scorer_),
            scorer_state=self.scorer_.state(),
            calibrated_on=self.calibrated_on_,
            calibrated_images=self.calibrated_images_,
            calibrated_with={name: _plain(value) for name, value in self.calibrated_with_.items()},
            calibrated_by=self.calibrated_by_,
            sizes=None if self.sizes_ is None else dataclasses.astuple(self.sizes_),
            white=self.white_,
            image_shape=list(self.image_shape_),
            trained_on=self.n_train_,
            copies=self.copies_,
            skipped=self.skipped_,
            suspects_dropped=self.suspects_dropped_,
            data_fingerprint=self.data_fingerprint_,
            calibration_fingerprint=self.calibration_fingerprint_,
            fitted=self.fitted_numbers(),
            members=self._member_cards(),
            tried=list(self.tried_),
            category_pattern=self.category_pattern_,
            categories=names.tolist(),
        )
        tensors = self._tensors() | {
            HASHES: torch.from_numpy(self.training_hashes_),
            LABELLED: torch.from_numpy(self.anomaly_hashes_),
            LATER: torch.from_numpy(self.calibration_hashes_),
            GROUPS: torch.from_numpy(self.calibrating_.together),
            **({CATEGORIES: torch.from_numpy(codes)} if len(names) else {}),
            f"{CALIBRATION}.{RAW}": torch.from_numpy(self.calibrating_.raw),
            **{
                f"{CALIBRATION}.{name}": torch.tensor(values)  # a copy: one may be the raw score
                for name, values in self.calibrating_.statistics.items()
            },
        }
        return save_model(path, card, tensors, self.history_, overwrite=overwrite)

    def _categories(self) -> np.ndarray:
        """Of the images that calibrate; none where they have none."""
        categories = self.calibrating_.categories
        return np.empty(0, str) if categories is None else categories

    def _remember(self, card: ModelCard) -> None:
        """What is kept of a card next to tensors and numbers."""
        self.n_train_, self.copies_, self.skipped_ = card.trained_on, card.copies, card.skipped
        self.suspects_dropped_, self.tried_ = card.suspects_dropped, card.tried
        self.data_fingerprint_ = card.data_fingerprint
        self.calibration_fingerprint_ = card.calibration_fingerprint
        self.category_pattern_, self.white_ = card.category_pattern, card.white

    def measured_with(self) -> dict[str, object]:
        """Parameters that decide what is measured of an image, and may change after a fit."""
        names = sorted(marked(type(self), MEASURING))
        return {name: getattr(self, name) for name in names}

    def stored_parameters(self) -> dict[str, Value]:
        """The constructor's arguments that decide the result, as they stand in ``model.json``."""
        unstored = marked(type(self), UNSTORED)
        return {
            name: _plain(value)
            for name, value in self.get_params(deep=False).items()
            if name not in unstored
        }

    def fitting_parameters(self) -> dict[str, Value]:
        """Those of :meth:`stored_parameters` that decide what a fit learns."""
        later = marked(type(self), SCORING, MEASURING, DECIDING)
        return {
            name: value for name, value in self.stored_parameters().items() if name not in later
        }

    def restore(self, card: ModelCard, tensors: Mapping[str, Tensor], history: History) -> Self:
        """The inverse of :meth:`save`, from contents of a model folder.

        Raises
        ------
        ModelFileError : they do not fit together.
        """
        try:
            self.validate()
            self.fitted_with_ = self.fitting_parameters()
            channels, height, width = card.image_shape
            self.image_shape_ = channels, height, width
            self.scorer_ = make_scorer(card.scorer).restore(card.scorer_state)
            self.calibrated_on_, self.calibrated_by_ = card.calibrated_on, card.calibrated_by
            self.calibrated_images_ = card.calibrated_images or card.calibrated_on
            self.calibrated_with_ = self.measured_with() | card.calibrated_with
            self.sizes_ = None if card.sizes is None else SizeRange(*card.sizes)
            tensors = dict(tensors)
            self.training_hashes_ = tensors.pop(HASHES).numpy()
            none = torch.empty(0, dtype=torch.int64)
            self.anomaly_hashes_ = tensors.pop(LABELLED, none).numpy()
            self.calibration_hashes_ = tensors.pop(LATER, none).numpy()
            self.calibrating_ = _calibrating(tensors, card)
            self.history_ = history
            if self.image_size not in (None, "auto", self.image_shape_[1]):
                raise ValueError(
                    f"image_size is {self.image_size}, image_shape {list(self.image_shape_)}"
                )
            self._remember(card)
            self._restore(tensors, card.fitted)
            for what, found, expected in (
                ("tensors", tensors.keys(), self._tensors().keys()),
                ("fitted", card.fitted.keys(), self.fitted_numbers().keys()),
                (
                    CALIBRATION,
                    self.calibrating_.statistics.keys() - set(self.every_statistic()),
                    set(),
                ),
            ):
                if odd := sorted(found ^ expected):
                    raise ValueError(f"{what}: {odd[0]} is missing or does not belong there")
        except (SettingError, LookupError, RuntimeError, ValueError, TypeError) as error:
            missing = " is missing" if isinstance(error, KeyError) else ""
            raise ModelFileError(
                f"model.json and weights.safetensors do not fit together: {error}{missing}"
            ) from error
        return self


def _calibrating(tensors: dict[str, Tensor], card: ModelCard) -> Calibrating:
    """What was measured of the images that calibrate, taken out of the tensors of a model."""
    groups = tensors.pop(GROUPS, torch.arange(card.calibrated_on))
    if groups.ndim != 1 or groups.dtype != torch.int64:
        raise ValueError(f"{GROUPS}: {tuple(groups.shape)} {groups.dtype}, no row of torch.int64")
    names = [name for name in tensors if name.startswith(f"{CALIBRATION}.")]
    measured = {
        name.removeprefix(f"{CALIBRATION}."): _numbers(name, tensors.pop(name), len(groups))
        for name in names
    }
    categories = _categories(tensors, card, len(groups))
    calibrating = Calibrating(measured.pop(RAW), measured, groups.numpy(), categories)
    if calibrating.groups != card.calibrated_on:
        raise ValueError(f"{GROUPS}: {calibrating.groups} groups, not {card.calibrated_on}")
    if not np.isfinite(calibrating.raw).all():
        raise ValueError(f"{CALIBRATION}.{RAW} is not finite")
    return calibrating


def _categories(tensors: dict[str, Tensor], card: ModelCard, count: int) -> np.ndarray | None:
    """Of the images that calibrate, taken out of the tensors of a model."""
    codes = tensors.pop(CATEGORIES, None)
    if codes is None and not card.categories:
        return None
    if codes is None or codes.shape != (count,) or codes.dtype != torch.int64:
        raise ValueError(f"{CATEGORIES}: is no row of {count} torch.int64")
    sorted_once = sorted(set(card.categories)) == card.categories
    if not sorted_once or set(codes.tolist()) != set(range(len(card.categories))):
        raise ValueError(f"{CATEGORIES}: {len(card.categories)} names do not belong to these")
    names = np.asarray(card.categories)
    return np.asarray(names[codes.numpy()])


def _numbers(name: str, stored: Tensor, count: int) -> Scores:
    """Of the images that calibrate, as they were stored."""
    if stored.shape != (count,) or stored.dtype != torch.float64 or count < 1:
        raise ValueError(f"{name}: {tuple(stored.shape)} {stored.dtype}, not {count} torch.float64")
    return stored.numpy()


def _plain(value: object) -> Value:
    """A parameter as JSON knows it: tuples as lists, numpy's numbers as Python's."""
    if isinstance(value, (list, tuple)):
        return cast(Value, [_plain(item) for item in value])
    return cast(Value, value.item() if isinstance(value, np.generic) else value)
