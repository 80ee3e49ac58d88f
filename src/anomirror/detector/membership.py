"""A detector as one of several: fitted, measured and stored by an ensemble."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from sklearn.base import clone
from torch import Tensor

from anomirror.cards import MemberCard, Value
from anomirror.detector.parameters import parameters_of
from anomirror.detector.streaming import evenly_spaced
from anomirror.detector.training_set import TrainingSet
from anomirror.images import ImageSet, ImageShape, ImageSize, SizeRange, Subset, places_in, seen_at
from anomirror.scorers import Scores
from anomirror.training import History

MAPPED = 64
"""Images that give the scale of a member's maps."""


class Member(ABC):
    """The part of every detector by which it can be one of an ensemble.

    Images come in the ensemble's frame, and are seen at the member's own size.
    """

    method: ClassVar[str]
    explains: ClassVar[bool]
    auto_size: ClassVar[int]
    learns_from_anomalies: ClassVar[bool]
    image_size: ImageSize
    image_shape_: ImageShape
    fitted_with_: dict[str, Value]
    sizes_: SizeRange | None
    history_: History
    data_fingerprint_: str
    groups_fingerprint_: str
    map_scale_: float
    _given: TrainingSet | None
    _whole: ImageSet | None = None
    """The ensemble's normal images, while a fit goes on."""

    @abstractmethod
    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None: ...

    @abstractmethod
    def measure(self, images: ImageSet, names: Collection[str]) -> dict[str, Scores]: ...

    @abstractmethod
    def unscaled_maps(self, images: ImageSet) -> Tensor: ...

    @abstractmethod
    def _map_scale(self, images: ImageSet) -> float: ...

    @abstractmethod
    def _raw(self, statistics: Mapping[str, Scores]) -> Scores: ...

    @abstractmethod
    def _sharing(self, images: ImageSet) -> AbstractContextManager[None]: ...

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]: ...

    @abstractmethod
    def fitting_parameters(self) -> dict[str, Value]: ...

    @abstractmethod
    def stored_parameters(self) -> dict[str, Value]: ...

    def size_within(self, full: int) -> int:
        """Side at which this sees images of an ensemble that sees them at ``full``."""
        size = self.image_size
        return min(full, int(size) if isinstance(size, (int, np.integer)) else self.auto_size)

    def as_member(
        self, given: TrainingSet | None, image_shape: ImageShape, **shared: object
    ) -> Self:
        """A copy that is not fitted, for images of an ensemble's fit.

        Parameters
        ----------
        given : what the ensemble is fitted on; None if it is restored.
        image_shape : of the ensemble.
        shared : parameters of the ensemble that a member takes where it has the default.
        """
        fresh: Self = clone(self)
        known = parameters_of(type(self))
        for name, value in shared.items():
            if getattr(fresh, name) == known[name].default:
                setattr(fresh, name, value)
        for name in {"checkpoint_dir", "callback"} & known.keys():
            setattr(fresh, name, None)  # of one training, not of one for each fold
        channels, full, _ = image_shape
        size = fresh.size_within(full)
        fresh.image_shape_ = channels, size, size
        fresh.fitted_with_ = fresh.fitting_parameters()
        fresh.sizes_, fresh.history_ = None, []
        fresh.data_fingerprint_, fresh.groups_fingerprint_ = "", ""
        if given is not None:
            fresh.data_fingerprint_ = given.fingerprint
            fresh._whole = given.normal
            fresh._given = replace(given, normal=seen_at(given.normal, size))
        return fresh

    def learn_as_member(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        """Fit; nothing is calibrated."""
        seen = self._seen(normal)
        watched = None if heldout is None else self._seen(heldout)
        labelled = anomalies if self.learns_from_anomalies else None
        self._learn(seen, watched, None if labelled is None else self._seen(labelled))
        if self.explains:
            self.map_scale_ = self._map_scale(evenly_spaced(seen, MAPPED))

    def forget_images(self) -> None:
        """After a fit: what is fitted holds no images."""
        self._given = self._whole = None

    def sharing_as_member(self) -> AbstractContextManager[None]:
        """While fits in folds go on, what all of them need is computed once."""
        assert self._given is not None
        return self._sharing(self._given.normal)

    def measure_as_member(self, images: ImageSet, names: Collection[str]) -> dict[str, Scores]:
        """Statistics, by the member's own names."""
        return self.measure(self._seen(images), names)

    def maps_as_member(self, images: ImageSet) -> Tensor:
        """In units of normal images that were fitted, at the member's size."""
        return self.unscaled_maps(self._seen(images)) / self.map_scale_

    def raw_as_member(self, statistics: Mapping[str, Scores]) -> Scores:
        """The raw score, ``(n,)`` float64, from what was measured."""
        return np.asarray(self._raw(statistics), np.float64)

    def member_card(self, name: str) -> MemberCard:
        """What a model folder says of it."""
        parameters = self.stored_parameters() | self.fitted_with_
        size = self.image_shape_[1]
        return MemberCard(name=name, method=self.method, parameters=parameters, size=size)

    def fitted_bytes(self) -> int:
        """Of all that is fitted."""
        return sum(each.numel() * each.element_size() for each in self._tensors().values())

    def _seen(self, images: ImageSet) -> ImageSet:
        """At its size; images of the fit as parts of what it knows of the fit."""
        if self._given is not None and self._whole is not None:
            places = places_in(images, self._whole)
            if places is not None:
                return Subset(self._given.normal, places.tolist())
        return seen_at(images, self.image_shape_[1])
