"""What a step of training sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anomirror.images import ImageSet, to_network


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

    def order(self, batch_size: int, steps: int, generator: torch.Generator) -> list[list[int]]:
        """Indices of ``steps`` minibatches of shuffled normal images.

        A new permutation whenever one is used up, incomplete batches dropped.
        """
        whole = len(self.normal) // batch_size
        order: list[list[int]] = []
        while len(order) < steps:
            shuffled = torch.randperm(len(self.normal), generator=generator)
            order += shuffled[: whole * batch_size].view(whole, batch_size).tolist()
        return order[:steps]

    def once(
        self, batch_size: int, generator: torch.Generator, device: torch.device
    ) -> Iterator[Batch]:
        """All normal images in a random order; the first minibatch is one like any other."""
        order = torch.randperm(len(self.normal), generator=generator).tolist()
        for start in range(0, len(order), batch_size):
            x = to_network(self.normal.take(order[start : start + batch_size]).to(device))
            yield Batch(x, torch.zeros(len(x), dtype=torch.bool, device=device))
