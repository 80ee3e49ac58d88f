"""What a step of training sees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from anomirror.images import ImageSet


@dataclass(frozen=True)
class Batch:
    """One minibatch: ``images`` (b, c, h, w) float32 in [-1, 1], and which of them are labelled
    anomalies, ``(b,)`` bool.
    """

    images: Tensor
    labelled: Tensor

    @property
    def normal(self) -> Tensor:
        """The images that are taken as normal."""
        return self.images[~self.labelled]

    @property
    def anomalies(self) -> Tensor:
        """The labelled anomalies, perhaps none."""
        return self.images[self.labelled]


@dataclass(frozen=True)
class TrainingData:
    """Normal images; labelled anomalies, of which ``anomalies_per_batch`` are drawn with
    replacement for every minibatch.
    """

    normal: ImageSet
    anomalies: ImageSet | None = None
    anomalies_per_batch: int = 0
    workers: int = 0
