"""Nearest neighbours in PCA space: the second detector that a user would otherwise reach for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anomirror.detector.contract import Detector
from anomirror.detector.parameters import Count, SampleSize, declared, fitted
from anomirror.detector.streaming import flat, most_components
from anomirror.images import ImageSet


@declared
class KNN(Detector):
    """Mean distance to the nearest normal images in PCA space.

    Notes
    -----
    A training image is its own nearest neighbour, at distance 0: only images that are not among the
    neighbours can calibrate, and ``calibration="train"`` is refused.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> KNN().fit(images).raw_scores(images[:2]).shape
    (2,)
    """

    method = "knn"
    statistic_names = ("distance",)
    explains = True

    n_neighbors: Count = 5
    """Neighbours over whose distances the mean is taken, k."""

    n_components: Count = 64
    """Dimension of the PCA space, never more than half of the fitted images."""

    largest_sample: SampleSize = 20_000
    """Normal images that are kept as neighbours, at most: evenly spaced, and 400 MB of them."""

    calibration: Literal["auto", "heldout", "folds"] = "auto"
    """Images on which scorer and threshold are fitted: "folds", each scored by a fit on all
    others, or "heldout" ones. "auto" is folds below 1,000 images, else held out."""

    batch_size = 64
    """Changes nothing here."""

    mean_: Tensor = fitted()
    components_: Tensor = fitted()
    neighbors_: Tensor = fitted()

    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        pixels = self._flat_sample(normal, self.largest_sample)
        pca = SklearnPCA(
            min(self.n_components, most_components(pixels)), random_state=self._seed()
        ).fit(pixels)
        self.mean_ = torch.from_numpy(np.array(pca.mean_, np.float32))
        self.components_ = torch.from_numpy(np.array(pca.components_, np.float32, order="C"))
        self._index(torch.from_numpy(np.array(pca.transform(pixels), np.float32, order="C")))

    def _index(self, neighbors: Tensor) -> None:
        self.neighbors_ = neighbors
        self._nearest = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(neighbors))).fit(
            neighbors.double().numpy()
        )

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Mean distance to the k nearest normal images."""
        distances, _ = self._nearest.kneighbors(self._projected(x).numpy())
        return {"distance": torch.from_numpy(distances.mean(1))}

    def _projected(self, x: Tensor) -> Tensor:
        return (flat(x).cpu() - self.mean_).double() @ self.components_.T.double()

    def _map(self, x: Tensor) -> Tensor:
        """|x - the mean of its nearest normal images, as the components show them|, as the mean
        over channels.
        """
        _, nearest = self._nearest.kneighbors(self._projected(x).numpy())
        usual = self.neighbors_[torch.from_numpy(nearest)].mean(1) @ self.components_ + self.mean_
        return (x.cpu() - usual.view_as(x)).abs().mean(1)

    def fitted_numbers(self) -> dict[str, float]:
        return {"map_scale": self.map_scale_}

    def _tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean_, "components": self.components_, "neighbors": self.neighbors_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.mean_, self.components_ = tensors["mean"], tensors["components"]
        self.map_scale_ = fitted["map_scale"]
        pixels = int(np.prod(self.image_shape_))
        if self.mean_.shape != (pixels,) or tensors["neighbors"].shape[1] != len(self.components_):
            raise ValueError(
                f"neighbours of shape {tuple(tensors['neighbors'].shape)} do not fit the components"
            )
        self._index(tensors["neighbors"])
