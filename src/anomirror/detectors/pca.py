"""PCA residual: the first detector that a user would otherwise reach for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA
from torch import Tensor

from anomirror.detectors.base import Detector, flat
from anomirror.errors import SettingError
from anomirror.images import ImageSet
from anomirror.scoring import Scorer


class PCA(Detector):
    """Squared residual after projection on the principal components of the normal images.

    Parameters
    ----------
    n_components : number of components, or the share of variance that they keep, in (0, 1).
    largest_sample : components are computed from at most this many images, evenly spaced.
    batch_size, device, random_state, contamination, scorer, image_size, skip_bad : as in every detector; ``device`` and
        ``batch_size`` change nothing here.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> PCA().fit(images).raw_scores(images[:2]).shape
    (2,)
    """

    method = "pca"

    def __init__(
        self,
        n_components: int | float = 64,
        largest_sample: int = 20_000,
        batch_size: int = 64,
        device: str | None = None,
        random_state: int | None = 0,
        contamination: float = 0.05,
        scorer: str | Scorer = "negate",
        image_size: int | None = None,
        skip_bad: bool = False,
    ) -> None:
        self.n_components = n_components
        self.largest_sample = largest_sample
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.contamination = contamination
        self.scorer = scorer
        self.image_size = image_size
        self.skip_bad = skip_bad

    mean_: Tensor
    components_: Tensor

    def _learn(self, normal: ImageSet, anomalies: ImageSet | None) -> ImageSet:
        pixels = self._flat_sample(normal, self.largest_sample)
        limit = min(pixels.shape)
        components = min(self.n_components, limit) if isinstance(self.n_components, (int, np.integer)) else self.n_components
        fitted = SklearnPCA(components, random_state=self._seed()).fit(pixels)
        self.mean_ = torch.from_numpy(np.array(fitted.mean_, np.float32))
        self.components_ = torch.from_numpy(np.array(fitted.components_, np.float32, order="C"))
        return normal

    def _raw_score(self, x: Tensor) -> Tensor:
        """|| (1 - C' C) (x - mean) ||^2"""
        centred = (flat(x) - self.mean_.to(x.device)).double()  # float64: the same digits in any batch
        components = self.components_.to(x.device).double()
        return (centred - centred @ components.T @ components).square().sum(1)

    def _tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "components": self.components_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.mean_, self.components_ = tensors["mean"], tensors["components"]
        pixels = int(np.prod(self.image_shape_))
        if self.mean_.shape != (pixels,) or self.components_.shape[1:] != (pixels,):
            raise ValueError(f"components of shape {tuple(self.components_.shape)} for images of {pixels} pixels")

    def _validate(self) -> None:
        super()._validate()
        whole = isinstance(self.n_components, (int, np.integer))
        if not (self.n_components >= 1 if whole else 0 < self.n_components < 1):
            raise SettingError(f"n_components={self.n_components!r}: expected a count, or a share in (0, 1)")
        if self.largest_sample < 2:
            raise SettingError(f"largest_sample={self.largest_sample!r}: expected at least 2")
