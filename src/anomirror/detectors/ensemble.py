"""Several detectors as one: an image is as odd as the member says that finds it oddest."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomirror import processes
from anomirror.cards import MemberCard, ModelCard
from anomirror.detector.calibrated import Calibrating
from anomirror.detector.contract import Detector
from anomirror.detector.parameters import SCORING, UNSTORED, declared, fitted
from anomirror.detector.training_set import TrainingSet
from anomirror.errors import DivergenceError, SettingError
from anomirror.images import (
    ImageSet,
    framed,
    in_batches,
    iterate,
    seen_at,
)
from anomirror.reference import Reference
from anomirror.scorers import Domain, Scores

_Value = TypeVar("_Value")

PIECE = 256
"""Images that are decoded at once, for all members."""
ALONE = 300
"""Images that calibrate, up to which each is compared with the others alone."""


@declared
class Ensemble(Detector):
    """Several detectors, and whichever finds an image oddest.

    Every member is fitted on the same images, at its own size, and its raw scores are compared with
    those of normal images that it has not seen. Threshold and p-values then come from the
    combination of these images, whatever the members are.

    Notes
    -----
    docs/choosing.md compares the combinations. What members say of calibration, scorer and
    threshold is not used.

    References
    ----------
    Wilson: The harmonic mean p-value for combining dependent tests, PNAS 2019.

    Examples
    --------
    >>> from anomirror import KNN, PCA
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> fitted = Ensemble(detectors=[PCA(), KNN()]).fit(images)
    >>> sorted(fitted.statistics(images[:2]))
    ['knn.distance', 'pca.residual']
    """

    method = "ensemble"
    explains = True
    auto_size = 128

    detectors: Annotated[Sequence[Detector], UNSTORED] = ()
    """Detectors that are not fitted, or on the command line their names; a member of smaller
    ``image_size`` sees images shrunk. They are left as they are, and what they say of checkpoints,
    callbacks and calibration is not used; a member's own ``random_state`` counts if it is not the
    default."""

    combination: Annotated[Literal["largest", "harmonic"], SCORING] = "largest"
    """"largest": the largest robust deviation from normal images; "harmonic": the harmonic mean of
    the members' p-values."""

    calibration: Literal["auto", "heldout", "folds"] = "auto"
    """Images with which members are compared, and on which scorer and threshold are fitted:
    "folds", each scored by a fit on all others, or "heldout" ones. "auto" is folds below 1,000
    images (never with members that train networks), else held out."""

    batch_size = 64
    """Changes nothing here: members have their own."""

    members_: dict[str, Detector] = fitted()
    """The fitted members by name."""
    references_: dict[str, Reference] = fitted()
    """Of each member what its raw score is compared with."""

    _prototypes: dict[str, Detector] | None = fitted(default=None)
    """Members as they are about to be fitted, while a fit goes on."""

    def validate(self) -> None:
        super().validate()
        if not self.candidates():
            raise SettingError("detectors=(): expected detectors, such as [Scattering(), PCA()]")
        for member in self.candidates():
            if not isinstance(member, Detector):
                raise SettingError(f"detectors holds {member!r}: expected detectors")
            if isinstance(member, Ensemble):
                raise SettingError(f"detectors holds {member.method}: expected single detectors")
            member.validate()

    @property
    def chooses_epoch(self) -> bool:
        """Where a member does."""
        return any(member.chooses_epoch for member in self._to_fit())

    @property
    def can_fold(self) -> bool:
        """Where all members can be."""
        return all(member.can_fold for member in self._to_fit())

    def candidates(self) -> Sequence[Detector]:
        """Detectors of which this one is made."""
        return self.detectors

    def _to_fit(self) -> Collection[Detector]:
        """Those that a fit goes on with, or would begin with."""
        return self.candidates() if self._prototypes is None else self._prototypes.values()

    def _present(self) -> Mapping[str, Detector]:
        """The fitted members; before there are any, those that are being fitted."""
        return self.__dict__.get("members_") or self._prototypes or {}

    # ------------------------------------------------------------------ fitting the members

    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        self.members_ = {}
        self.__dict__.pop("references_", None)
        for name, prototype in (self._prototypes or {}).items():
            member = copy.copy(prototype)
            member.learn_as_member(normal, heldout, anomalies)
            self.members_[name] = member

    @contextmanager
    def _fitting(self, given: TrainingSet) -> Iterator[None]:
        if processes.count() > 1 and not self.can_fold:
            raise SettingError(
                f"{self.method}: members that train networks cannot be trained by several processes"
            )
        with super()._fitting(given):
            self.members_, self._prototypes = {}, {}
            shared = {name: getattr(self, name) for name in ("random_state", "device", "verbose")}
            for detector in self.candidates():
                name = _free_name(detector.method, self._prototypes)
                member = detector.as_member(given, self.image_shape_, **shared)
                self._prototypes[name] = member
            try:
                yield
            finally:
                self._prototypes = None
                for member in self.members_.values():
                    member.forget_images()

    @contextmanager
    def _sharing(self, images: ImageSet) -> Iterator[None]:
        with ExitStack() as stack:
            for member in (self._prototypes or {}).values():
                stack.enter_context(member.sharing_as_member())
            yield

    # ------------------------------------------------------------------ what members measure

    def measured_with(self) -> dict[str, object]:
        """Those of the members, after their names."""
        return super().measured_with() | {
            f"{name}.{parameter}": value
            for name, member in self._present().items()
            for parameter, value in member.measured_with().items()
        }

    def every_statistic(self) -> tuple[str, ...]:
        """Of each member, after its name: ``"pca.residual"``."""
        return self._of_all(lambda member: member.every_statistic())

    def available_statistics(self) -> tuple[str, ...]:
        """Those that can be measured on this machine."""
        return self._of_all(lambda member: member.available_statistics())

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """What the members' raw scores read."""
        return frozenset(self._of_all(lambda member: sorted(member.scoring_statistics)))

    def calibrating_statistics(self) -> Collection[str]:
        """What each member measures of the images that calibrate it."""
        return self._of_all(lambda member: member.calibrating_statistics())

    def _of_all(self, names: Callable[[Detector], Iterable[str]]) -> tuple[str, ...]:
        return tuple(
            f"{name}.{each}" for name, member in self._present().items() for each in names(member)
        )

    def measure(self, images: ImageSet, names: Collection[str]) -> dict[str, Scores]:
        """As of every detector; each image is decoded once for all members."""
        measured: dict[str, list[Scores]] = {name: [] for name in names}
        pieces = [images] if self._given is not None else self._in_memory(images)
        for piece in pieces:
            for name, member in self.members_.items():
                own = _own(name, names)
                if own:
                    found = member.measure_as_member(piece, own)
                    for each, values in found.items():
                        measured[f"{name}.{each}"].append(values)
        return {name: np.concatenate(parts) for name, parts in measured.items()}

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        raise NotImplementedError("members measure images, each in its own way")

    def unscaled_maps(self, images: ImageSet) -> Tensor:
        """Mean over the members that can say where, each in units of its own normal images."""
        size, parts = self.image_shape_[1], []
        explaining = [member for member in self.members_.values() if member.explains]
        pieces = [images] if self._given is not None else self._in_memory(images)
        for piece in pieces:
            maps = torch.zeros(len(piece), size, size)
            for member in explaining:
                own = member.maps_as_member(piece)[:, None]
                maps += F.interpolate(own, (size, size), mode="bilinear")[:, 0]
            parts.append(maps / max(len(explaining), 1))
        return torch.cat(parts)

    def _in_memory(self, images: ImageSet) -> Iterator[ImageSet]:
        """The same images, decoded, some at a time."""
        for batch in iterate(images, in_batches(len(images), PIECE), self.workers):
            yield framed(batch.numpy())

    def refuse_without_maps(self) -> None:
        self._check_fitted()
        if not any(member.explains for member in self.members_.values()):
            raise SettingError("no member of this ensemble can say where an image is odd")

    def programs(self) -> dict[str, str]:
        """Those of all members."""
        return {
            name: version
            for member in self._present().values() or self.candidates()
            for name, version in member.programs().items()
        }

    # ------------------------------------------------------------------ one score of all

    @property
    def raw_domain(self) -> Domain:
        """Deviations may be negative."""
        return "real"

    def _calibrate(self, calibrating: Calibrating) -> None:
        self.references_ = self._compared(calibrating)
        raw = self._raw_of_calibrating(calibrating.statistics)
        super()._calibrate(replace(calibrating, raw=raw))

    def _raw_of_calibrating(self, statistics: Mapping[str, Scores]) -> Scores:
        """Each compared with the others, as a new image is; of many the difference is nothing."""
        values = self._values(statistics)
        count = len(next(iter(values.values())))
        if count > ALONE or count < 3:
            return np.asarray(self._raw(statistics), np.float64)
        others = {name: Reference.of_others(each) for name, each in values.items()}
        return self._combined(values, others)

    def raw_by_fold(self, given: TrainingSet) -> Scores:
        """As of every detector, members compared with what they measured in all folds."""
        with self._fitting(given), self._sharing(given.normal):
            measured = self.folded(given)[0]
            self._learn(given.normal, None, None)
            self.references_ = self._compared(measured)
            return np.asarray(self._raw(measured.statistics), np.float64)

    def _compared(self, calibrating: Calibrating) -> dict[str, Reference]:
        references = {}
        for name, values in self._values(calibrating.statistics).items():
            if not np.isfinite(values).all():
                raise DivergenceError(
                    f"the scores of {name} are not finite", len(self.members_[name].history_)
                )
            references[name] = Reference.of(values)
        return references

    def _values(self, statistics: Mapping[str, Scores]) -> dict[str, Scores]:
        """Each member's raw score: its logarithm, where it is at least 0."""
        values = {}
        for name, member in self.members_.items():
            raw = member.raw_as_member(_below(name, statistics))
            positive = member.raw_domain == "nonnegative"
            values[name] = np.asarray(
                np.log(np.maximum(raw, 1e-12)) if positive else raw, np.float64
            )
        return values

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """max_m z_m, or -log of the harmonic mean of p_m"""
        if "references_" not in self.__dict__:  # while a fit goes on
            return np.zeros(len(next(iter(statistics.values()))))
        return self._combined(self._values(statistics), self.references_)

    def _combined(
        self, values: Mapping[str, Scores], references: Mapping[str, Reference]
    ) -> Scores:
        deviations = {name: references[name].deviation(each) for name, each in values.items()}
        if self.combination == "largest":
            return np.asarray(np.max(list(deviations.values()), axis=0))
        surprises = np.stack([references[name].surprise(z) for name, z in deviations.items()])
        return np.asarray(np.logaddexp.reduce(surprises, axis=0) - math.log(len(surprises)))

    # ------------------------------------------------------------------ what a fit costs

    def fit_seconds(self, images: ImageSet) -> float:
        """About as long as the members together."""
        return sum(
            member.fit_seconds(seen_at(images, member.size_within(images.shape[1])))
            for member in self.candidates()
        )

    def fit_bytes(self, images: ImageSet) -> int:
        """Members are fitted one after the other."""
        return max(
            member.fit_bytes(seen_at(images, member.size_within(images.shape[1])))
            for member in self.candidates()
        )

    # ------------------------------------------------------------------ in a model folder

    def _member_cards(self) -> list[MemberCard]:
        return [member.member_card(name) for name, member in self.members_.items()]

    def _remember(self, card: ModelCard) -> None:
        super()._remember(card)
        if not card.members:
            raise ValueError("no members")
        if len(self.detectors) != len(card.members):
            raise ValueError(f"{len(card.members)} members, not {len(self.detectors)}")
        self.members_ = {
            of.name: detector.as_member(None, (self.image_shape_[0], of.size, of.size))
            for of, detector in zip(card.members, self.detectors, strict=True)
        }

    def fitted_numbers(self) -> dict[str, float]:
        numbers = {"map_scale": self.map_scale_}
        for name, member in self.members_.items():
            numbers |= {f"{name}.{key}": value for key, value in member.fitted_numbers().items()}
        return numbers

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": tensor
            for name, member in self.members_.items()
            for key, tensor in member._tensors().items()
        }

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.map_scale_ = fitted["map_scale"]
        for name, member in self.members_.items():
            member._restore(_below(name, tensors), _below(name, fitted))
        self.references_ = self._compared(self.calibrating_)


def _free_name(method: str, taken: Collection[str]) -> str:
    """The method, with a number where there are several of it."""
    names = [method, *(f"{method}{number}" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _own(name: str, statistics: Iterable[str]) -> list[str]:
    """What is of one member, without its name."""
    begins = f"{name}."
    return [each.removeprefix(begins) for each in statistics if each.startswith(begins)]


def _below(name: str, of: Mapping[str, _Value]) -> dict[str, _Value]:
    """What is of one member, under its own names."""
    return {each: of[f"{name}.{each}"] for each in _own(name, of)}
