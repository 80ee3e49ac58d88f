"""How usual an image is by all that a method measures of it together, not by one raw score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from anomirror.detectors.usual import Gaussian
from anomirror.reference import Reference
from anomirror.scorers import Scores

LEAST = 1e-9
"""What stands in for a smaller statistic: of 0 there is no logarithm."""


@dataclass(frozen=True)
class Density:
    """Of d statistics that are at least 0, and of the raw score next to them.

    The statistics' logarithms have a Gaussian, whose covariance is shrunk by the rule of Ledoit and
    Wolf: it knows statistics that are too low, and those that are usual each by itself but not
    together. It does not know that of raw scores only high ones are odd. So both are asked, in
    robust standard deviations from normal images, and the larger one counts.
    """

    scale: Tensor
    """``(d,)`` float64: standard deviations of the logarithms."""
    usual: Gaussian
    """Of the logarithms in these units."""
    references: Tensor
    """``(2, 2)`` float64: centre and spread of log raw scores, and of log distances."""

    @classmethod
    def of(cls, raw: Scores, statistics: Mapping[str, Scores]) -> Self:
        """From normal images: raw scores, and statistics by name, each ``(n,)``."""
        logs = _logs(statistics)
        scale = logs.std(0, correction=0).clamp_min(1e-6)
        usual = Gaussian.of(logs / scale)
        parts = (Reference.of(part) for part in _parts(raw, usual.distances(logs / scale)))
        pairs = [[float(part.centre), float(part.spread)] for part in parts]
        return cls(scale, usual, torch.tensor(pairs, dtype=torch.float64))

    def deviation(self, raw: Scores, statistics: Mapping[str, Scores]) -> Scores:
        """How far images are from normal ones, ``(n,)``; either part is over 1 in one of six."""
        distances = self.usual.distances(_logs(statistics) / self.scale)
        centre, spread = self.references.numpy().T[..., None]
        return np.asarray(((_parts(raw, distances) - centre) / spread).max(0))

    def tensors(self) -> dict[str, Tensor]:
        """As they are stored in a model."""
        return {
            "density.scale": self.scale,
            "density.mean": self.usual.mean,
            "density.whitening": self.usual.whitening,
            "density.references": self.references,
        }

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], dimension: int) -> Self:
        """The inverse of :meth:`tensors`.

        Raises
        ------
        ValueError : tensors of other shapes, or that are no density.
        LookupError : one is missing.
        """
        scale, mean, whitening, references = (
            tensors[f"density.{name}"] for name in ("scale", "mean", "whitening", "references")
        )
        row, square = (dimension,), (dimension, dimension)
        for tensor, shape in (
            (scale, row),
            (mean, row),
            (whitening, square),
            (references, (2, 2)),
        ):
            if tensor.shape != shape or not torch.isfinite(tensor).all():
                raise ValueError(f"a density of {tuple(tensor.shape)}, not {shape}, or not finite")
        if not ((scale > 0).all() and (references[:, 1] > 0).all()):
            raise ValueError("a density with scales that are not positive")
        return cls(scale, Gaussian(mean, whitening), references)


def _logs(statistics: Mapping[str, Scores]) -> Tensor:
    """``(n, d)`` float64, in the order of their names."""
    rows = np.stack([statistics[name] for name in sorted(statistics)], axis=1)
    return torch.from_numpy(np.log(np.maximum(rows, LEAST)))


def _parts(raw: Scores, distances: Tensor) -> np.ndarray:
    """Logarithms of both, ``(2, n)``."""
    return np.asarray(np.log(np.maximum(np.stack([raw, distances.numpy()]), LEAST)))
