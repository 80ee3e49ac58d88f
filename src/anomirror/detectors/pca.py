"""PCA residual: the first detector that a user would otherwise reach for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA
from torch import Tensor

from anomirror.detectors.base import Detector, flat, most_components
from anomirror.detectors.calibrating import Calibration
from anomirror.errors import SettingError
from anomirror.images import ImageSet, ImageSize
from anomirror.scoring import Scorer
from anomirror.storage import Value


class PCA(Detector):
    """Squared residual after projection on the principal components of the normal images.

    Parameters
    ----------
    n_components : number of components, at least 1 and at most half of the images that are fitted, or the share of variance
        that they keep, in (0, 1).
    largest_sample : components are computed from at most this many (2 or more) images, evenly spaced, and 400 MB of them.
    calibration : images that scorer and threshold are fitted on: "folds", each scored by a fit on the other four; "heldout"
        ones; or "train", which promises nothing for new images. "auto" is folds of fewer than 1,000 images, else held out.
    heldout : share of the images that is held out, of 1,000 or more at least 100.
    batch_size, device, random_state, contamination, scorer, image_size, skip_bad, verbose : as in :class:`AMA`; ``device`` and
        ``batch_size`` change nothing here.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> PCA().fit(images).raw_scores(images[:2]).shape
    (2,)
    """

    method = "pca"
    explains = True

    def __init__(
        self,
        n_components: int | float = 64,
        largest_sample: int = 20_000,
        batch_size: int = 64,
        device: str | None = None,
        random_state: int | None = 0,
        contamination: float = 0.05,
        scorer: str | Scorer = "negate",
        image_size: ImageSize = "auto",
        skip_bad: bool = False,
        calibration: Calibration = "auto",
        heldout: float = 0.05,
        verbose: bool = False,
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
        self.calibration = calibration
        self.heldout = heldout
        self.verbose = verbose

    mean_: Tensor
    components_: Tensor

    def _learn(self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None) -> None:
        pixels = self._flat_sample(normal, self.largest_sample)
        limit = most_components(pixels)
        components = min(self.n_components, limit) if isinstance(self.n_components, (int, np.integer)) else self.n_components
        fitted = SklearnPCA(components, random_state=self._seed()).fit(pixels)
        self.mean_ = torch.from_numpy(np.array(fitted.mean_, np.float32))
        self.components_ = torch.from_numpy(np.array(fitted.components_[:limit], np.float32, order="C"))

    def _raw_score(self, x: Tensor) -> Tensor:
        """|| (1 - C' C) (x - mean) ||^2"""
        return self._residual(x).square().sum(1)

    def _residual(self, x: Tensor) -> Tensor:
        """(1 - C' C) (x - mean), ``(b, pixels)``."""
        centred = (flat(x) - self.mean_.to(x.device)).double()  # float64: the same digits in any batch
        components = self.components_.to(x.device).double()
        return centred - centred @ components.T @ components

    def _map(self, x: Tensor) -> Tensor:
        """The residual's absolute value as the mean over channels."""
        return self._residual(x).abs().view_as(x).mean(1)

    def _fitted(self) -> dict[str, float]:
        return {} if self.map_scale_ is None else {"map_scale": self.map_scale_}

    @classmethod
    def brought_up_to_date(cls, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """Before there was a choice, it was calibrated on the images that it was fitted on."""
        return {"calibration": "train", "heldout": 0.05, **super().brought_up_to_date(parameters)}

    def _tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "components": self.components_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.mean_, self.components_ = tensors["mean"], tensors["components"]
        self.map_scale_ = fitted.get("map_scale")
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
