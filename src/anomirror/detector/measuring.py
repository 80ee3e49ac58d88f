"""What a detector measures of images: statistics, and the raw score as a formula over them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from anomirror.detector.streaming import (
    SAMPLE_BYTES,
    batches,
    evenly_spaced,
    filled,
    flat,
    scoring_batch,
)
from anomirror.devices import choose_device
from anomirror.errors import SettingError, unknown, warn
from anomirror.images import ImageInput, ImageSet, ImageShape, SizeRange
from anomirror.scorers import Scores


class Measuring(ABC):
    """The part of every detector that runs its method on images, batch by batch."""

    method: ClassVar[str]
    statistic_names: ClassVar[tuple[str, ...]]
    device: str | None
    workers: int
    image_shape_: ImageShape
    sizes_: SizeRange | None

    @abstractmethod
    def open_to_score(self, X: ImageInput) -> ImageSet: ...

    @abstractmethod
    def _check_fitted(self) -> None: ...

    @abstractmethod
    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """``(b, c, size, size)`` float32 in [-1, 1] on the device to ``(b,)`` for each name,
        perhaps of others too.
        """

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """The raw score, ``(n,)``, as a formula over :attr:`scoring_statistics`.

        A method with one of them needs none.
        """
        (name,) = self.scoring_statistics
        return statistics[name]

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """What holds while fitted networks compute: no gradients, and what a method adds."""
        with torch.no_grad():
            yield

    def statistics(self, X: ImageInput, names: Collection[str] | None = None) -> dict[str, Scores]:
        """What the fitted method measures of each image, ``{name: (n,) float64}``.

        Parameters
        ----------
        names : some of :attr:`statistic_names`, or None for all that can be measured here. Each is
            computed only where it is asked for.

        Raises
        ------
        SettingError : a name that is none of them.
        """
        self._check_fitted()
        wanted = self.available_statistics() if names is None else names
        if odd := sorted(set(wanted) - set(self.every_statistic())):
            raise SettingError(
                f"{self.method} has "
                f"{unknown('statistic', odd[0], self.every_statistic(), 'choose among')}"
            )
        images = self.open_to_score(X)
        measured = self.measure(images, wanted)
        self.warn_of_sizes(images.native_sizes(), images.names)
        return measured

    def every_statistic(self) -> tuple[str, ...]:
        """Names of all that this detector measures: :attr:`statistic_names`, but of an ensemble."""
        return self.statistic_names

    def available_statistics(self) -> tuple[str, ...]:
        """Statistics that can be measured on this machine."""
        return self.every_statistic()

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """Names of the statistics that the raw score reads, under the present parameters."""
        return frozenset(self.every_statistic())

    def raw_scores(self, X: ImageInput) -> Scores:
        """Uncalibrated anomaly score of each image, ``(n,)`` float64; higher is more anomalous."""
        return self.raw_scores_from(self.statistics(X, self.scoring_statistics))

    def raw_scores_from(self, statistics: Mapping[str, Scores]) -> Scores:
        """:meth:`raw_scores` from statistics that were measured already, perhaps under other
        parameters of scoring.
        """
        self._check_fitted()
        return np.asarray(self._raw(statistics), np.float64)

    def _batches(self, images: ImageSet, batch_size: int | None = None) -> Iterator[Tensor]:
        """All images as the method sees them, in order, on the device."""
        return batches(
            images, batch_size or self._scoring_batch(), choose_device(self.device), self.workers
        )

    def _scoring_batch(self) -> int:
        """Images that are scored at once."""
        return scoring_batch(self.image_shape_[1])

    def stream(self, images: ImageSet) -> Scores:
        """Raw scores of images that are open, ``(n,)`` float64, with no word on their sizes."""
        return np.asarray(self._raw(self.measure(images, self.scoring_statistics)), np.float64)

    def measure(self, images: ImageSet, names: Collection[str]) -> dict[str, Scores]:
        """Statistics of images that are open, with no word on their sizes."""
        full = self._scoring_batch()
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        with self._scoring():
            for x in self._batches(images):
                statistics = self._statistics(filled(x, full), names)
                for name, values in parts.items():
                    values.append(statistics[name][: len(x)].double().cpu())
        return {name: torch.cat(values).numpy() for name, values in parts.items()}

    def warn_of_sizes(self, sizes: np.ndarray, names: Sequence[str]) -> None:
        """Warn of images that are far smaller, larger, wider or higher than those of the training.

        Parameters
        ----------
        sizes : heights and widths ``(n, 2)``, 0 where they are not known.
        """
        known = np.flatnonzero(sizes[:, 0] > 0)
        far = known[:0] if self.sizes_ is None else known[self.sizes_.far_from(sizes[known])]
        if len(far):
            height, width = sizes[far[0]]
            warn(
                f"images far from the size or shape of the training images ({self.sizes_}) are "
                "scaled into their frame, and "
                f"their scores say less: {len(far)} of {len(sizes)}, for example "
                f"{names[int(far[0])]} of {width}x{height}"
            )

    def _flat_sample(self, images: ImageSet, count: int) -> np.ndarray:
        """Up to ``count`` evenly spaced images, and not more than :data:`SAMPLE_BYTES`, as rows of
        pixels in [-1, 1].
        """
        count = min(count, max(2, SAMPLE_BYTES // (4 * math.prod(self.image_shape_))))
        return torch.cat(
            [flat(x).cpu() for x in self._batches(evenly_spaced(images, count))]
        ).numpy()
