"""Nearest neighbours in PCA space: the second detector that a user would otherwise reach for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anomirror.detectors.base import Detector, flat, most_components
from anomirror.detectors.calibrating import Calibration
from anomirror.errors import SettingError
from anomirror.images import ImageSet, ImageSize
from anomirror.scoring import Scorer
from anomirror.storage import Value


class KNN(Detector):
    """Mean distance to the nearest normal images in PCA space.

    Parameters
    ----------
    n_neighbors : k, at least 1.
    n_components : dimension of the PCA space, at least 1 (and at most that of the data, and half of the images that are
        fitted).
    largest_sample : at most this many (2 or more) normal images, evenly spaced, and 400 MB of them, are kept as neighbours.
    calibration : images that scorer and threshold are fitted on: "folds", each scored by a fit on the other four; or "heldout"
        ones. "auto" is folds of fewer than 1,000 images, else held out.
    heldout : share of the images that is held out, of 1,000 or more at least 100.
    batch_size, device, random_state, contamination, scorer, image_size, skip_bad, verbose : as in :class:`AMA`; ``device`` and
        ``batch_size`` change nothing here.

    Notes
    -----
    A training image is its own nearest neighbour, at distance 0: only images that are not among the neighbours can calibrate, and
    ``calibration="train"`` is refused.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> KNN().fit(images).raw_scores(images[:2]).shape
    (2,)
    """

    method = "knn"
    explains = True
    _calibrations = ("auto", "heldout", "folds")

    def __init__(
        self,
        n_neighbors: int = 5,
        n_components: int = 64,
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
        self.n_neighbors = n_neighbors
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
    neighbors_: Tensor

    def _learn(self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None) -> None:
        pixels = self._flat_sample(normal, self.largest_sample)
        fitted = SklearnPCA(min(self.n_components, most_components(pixels)), random_state=self._seed()).fit(pixels)
        self.mean_ = torch.from_numpy(np.array(fitted.mean_, np.float32))
        self.components_ = torch.from_numpy(np.array(fitted.components_, np.float32, order="C"))
        self._index(torch.from_numpy(np.array(fitted.transform(pixels), np.float32, order="C")))

    def _index(self, neighbors: Tensor) -> None:
        self.neighbors_ = neighbors
        self._nearest = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(neighbors))).fit(neighbors.double().numpy())

    def _raw_score(self, x: Tensor) -> Tensor:
        distances, _ = self._nearest.kneighbors(self._projected(x).numpy())
        return torch.from_numpy(distances.mean(1))

    def _projected(self, x: Tensor) -> Tensor:
        return (flat(x).cpu() - self.mean_).double() @ self.components_.T.double()

    def _map(self, x: Tensor) -> Tensor:
        """|x - the mean of its nearest normal images, as the components show them|, as the mean over channels."""
        _, nearest = self._nearest.kneighbors(self._projected(x).numpy())
        usual = self.neighbors_[torch.from_numpy(nearest)].mean(1) @ self.components_ + self.mean_
        return (x.cpu() - usual.view_as(x)).abs().mean(1)

    def _fitted(self) -> dict[str, float]:
        return {} if self.map_scale_ is None else {"map_scale": self.map_scale_}

    @classmethod
    def brought_up_to_date(cls, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """Before there was a choice, a twentieth of the images was held out."""
        return {"calibration": "heldout", "heldout": 0.05, **super().brought_up_to_date(parameters)}

    def _tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "components": self.components_, "neighbors": self.neighbors_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.mean_, self.components_ = tensors["mean"], tensors["components"]
        self.map_scale_ = fitted.get("map_scale")
        pixels = int(np.prod(self.image_shape_))
        if self.mean_.shape != (pixels,) or tensors["neighbors"].shape[1] != len(self.components_):
            raise ValueError(f"neighbours of shape {tuple(tensors['neighbors'].shape)} do not fit the components")
        self._index(tensors["neighbors"])

    def _validate(self) -> None:
        super()._validate()
        for name, least in (("n_neighbors", 1), ("n_components", 1), ("largest_sample", 2)):
            if getattr(self, name) < least:
                raise SettingError(f"{name}={getattr(self, name)!r}: expected at least {least}")
