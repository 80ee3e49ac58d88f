"""PCA residual: the first detector that a user would otherwise reach for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA
from torch import Tensor

from anomirror.detector.contract import Detector
from anomirror.detector.parameters import Count, OpenFraction, SampleSize, declared, fitted
from anomirror.detector.streaming import flat, most_components
from anomirror.images import ImageSet


@declared
class PCA(Detector):
    """Squared residual after projection on the principal components of the normal images.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> PCA().fit(images).explain(images[:2]).shape
    (2, 28, 28)
    """

    method = "pca"
    statistic_names = ("residual",)
    explains = True

    n_components: Count | OpenFraction = 64
    """Principal components, never more than half of the fitted images; a fraction keeps as many as
    explain that share of the variance."""

    largest_sample: SampleSize = 20_000
    """Images from which components are computed, at most: evenly spaced, and 400 MB of them."""

    batch_size = 64
    """Changes nothing here."""

    mean_: Tensor = fitted()
    components_: Tensor = fitted()

    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        pixels = self._flat_sample(normal, self.largest_sample)
        limit = most_components(pixels)
        components = (
            min(self.n_components, limit)
            if isinstance(self.n_components, (int, np.integer))
            else self.n_components
        )
        pca = SklearnPCA(components, random_state=self._seed()).fit(pixels)
        self.mean_ = torch.from_numpy(np.array(pca.mean_, np.float32))
        self.components_ = torch.from_numpy(
            np.array(pca.components_[:limit], np.float32, order="C")
        )

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """|| (1 - C' C) (x - mean) ||^2"""
        return {"residual": self._residual(x).square().sum(1)}

    def _residual(self, x: Tensor) -> Tensor:
        """(1 - C' C) (x - mean), ``(b, pixels)``."""
        # float64: the same digits in any batch
        centred = (flat(x) - self.mean_.to(x.device)).double()
        components = self.components_.to(x.device).double()
        return centred - centred @ components.T @ components

    def _map(self, x: Tensor) -> Tensor:
        """The residual's absolute value as the mean over channels."""
        return self._residual(x).abs().view_as(x).mean(1)

    def fitted_numbers(self) -> dict[str, float]:
        return {"map_scale": self.map_scale_}

    def _tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "components": self.components_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.mean_, self.components_ = tensors["mean"], tensors["components"]
        self.map_scale_ = fitted["map_scale"]
        pixels = int(np.prod(self.image_shape_))
        if self.mean_.shape != (pixels,) or self.components_.shape[1:] != (pixels,):
            raise ValueError(
                f"components of shape {tuple(self.components_.shape)} for images of {pixels} pixels"
            )
