"""Wavelet scattering under closed-form models: strong without a training."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomirror.detector.calibration import HELD_OUT_FROM, fold_count, folds
from anomirror.detector.contract import Detector
from anomirror.detector.costs import PER_SECOND
from anomirror.detector.parameters import (
    SCORING,
    Count,
    OpenFraction,
    SampleSize,
    declared,
    fitted,
    within,
)
from anomirror.detector.streaming import SAMPLE_BYTES, evenly_spaced, scoring_batch
from anomirror.detectors.usual import HEADS, Gaussian, Reduction, Usual
from anomirror.images import ImageSet, places_in
from anomirror.scattering import log_scattering, scattered_shape
from anomirror.scorers import Domain, Scores

CHUNK = 64
"""Maps that are reduced at once."""
PARTS, LARGEST_PART, COMPARED = 5, 500, 200
"""Heads are made comparable by a fit without a fifth of the images, at most so many of them; and by
further ones, until so many images were measured."""


@declared
class Scattering(Detector):
    """Wavelet scattering, and what is usual in it by four closed-form models.

    Fixed wavelets give a map: of each square of ``2**scales`` pixels its mean and the logarithms of
    how much there is of each scale and angle, alone and two in a row. A PCA that all positions
    share reduces its channels. In the reduced map an image is as odd as the oddest of

    * the squared residual of a PCA of the whole map (``"residual"``);
    * the mean distance to the nearest normal images in that PCA (``"distance"``);
    * the largest Mahalanobis distance of a position, by a Gaussian of its own with a covariance
      that is shrunk (``"mahalanobis"``; :meth:`explain` shows it);
    * the Mahalanobis distance of the mean and the standard deviation over all positions
      (``"texture"``), which knows no place;

    each as a logarithm, in robust standard deviations of normal images that a fit did not see.

    Notes
    -----
    Nothing here is of a paper but the transform. Scales, angles, shrinkage and rule were chosen on
    made-up anomalies (docs/decisions/0023-scattering.md).

    References
    ----------
    Bruna, Mallat: Invariant scattering convolution networks, PAMI 2013.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> Scattering().fit(images).explain(images[:2]).shape
    (2, 28, 28)
    """

    method = "scattering"
    statistic_names = HEADS
    explains = True
    auto_size = 128

    head: Annotated[
        Literal["oddest", "residual", "distance", "mahalanobis", "texture"], SCORING
    ] = "oddest"
    """Which of the four says how odd an image is; "oddest" is whichever says most."""

    scales: Annotated[int, within("[1, 4]")] = 3
    """Of the wavelets, each twice as large as the one before."""

    angles: Annotated[int, within("[1, 16]")] = 6
    """Of the wavelets, over half a turn."""

    channels: Count = 64
    """Of the reduced map, never more than there are paths."""

    n_components: Count = 64
    """Principal components of the reduced map, never more than half of the fitted images."""

    n_neighbors: Count = 5
    """Normal images over whose distances the mean is taken."""

    shrinkage: OpenFraction = 0.1
    """Of the covariances towards a multiple of the identity."""

    largest_sample: SampleSize = 20_000
    """Images that are fitted, at most: evenly spaced, and 400 MB of maps."""

    batch_size = 64
    """Changes nothing here."""

    transform_: tuple[int, int] = fitted()
    """Scales and angles."""
    reduction_: Reduction = fitted()
    usual_: Usual = fitted()
    centres_: dict[str, float] = fitted()
    """Of the logarithm of each statistic of unseen normal images: the median."""
    spreads_: dict[str, float] = fitted()
    """Half of the distance of its 16 % and 84 % quantiles."""

    _known: list[tuple[ImageSet, Tensor]] | None = fitted(default=None)
    """Images that all folds share, and their paths; of copies of this detector, too, until the list
    is emptied."""

    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        self.transform_ = int(self.scales), int(self.angles)
        count = min(self.largest_sample, max(2, SAMPLE_BYTES // self._bytes()))
        sample = evenly_spaced(normal, count)
        paths = self._paths(sample)
        self.reduction_ = Reduction.of(paths, self.channels)
        maps = torch.cat([self.reduction_(each) for each in torch.split(paths, CHUNK)])
        self.centres_, self.spreads_ = self._comparison(maps, self._together(sample))
        self.usual_ = self._usual(maps)

    def _usual(self, maps: Tensor) -> Usual:
        return Usual.of(maps, int(self.n_components), int(self.n_neighbors), self.shrinkage)

    def _comparison(
        self, maps: Tensor, together: np.ndarray
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Where the logarithms of the statistics of unseen images lie, and how far apart: each part
        is measured by a fit on the others.
        """
        measured: dict[str, list[Tensor]] = {name: [] for name in HEADS}
        count, every = 0, np.arange(len(maps))
        parts = max(PARTS, math.ceil(len(maps) / LARGEST_PART))
        for part in folds(self._shuffled(len(maps)).tolist(), together, parts):
            # of copies of a single image there are no others
            others = np.setdiff1d(every, part) if len(part) < len(maps) else every
            for name, values in self._usual(maps[others]).statistics(maps[part], HEADS).items():
                measured[name].append(values)
            count += len(part)
            if count >= COMPARED:
                break
        centres, spreads = {}, {}
        for name, each in measured.items():
            low, middle, high = np.quantile(_log(torch.cat(each).numpy()), [0.16, 0.5, 0.84])
            centres[name], spreads[name] = float(middle), max(float(high - low) / 2, 1e-3)
        return centres, spreads

    @property
    def scoring_statistics(self) -> frozenset[str]:
        return frozenset(HEADS if self.head == "oddest" else (self.head,))

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """max over heads of (log s - median) / spread"""
        deviations = [
            (_log(statistics[name]) - self.centres_[name]) / self.spreads_[name]
            for name in sorted(self.scoring_statistics)
        ]
        return np.asarray(np.max(deviations, axis=0))

    @property
    def raw_domain(self) -> Domain:
        return "real"

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return self.usual_.statistics(self._reduced(x), names)

    def _map(self, x: Tensor) -> Tensor:
        """The Mahalanobis distance of each position, in between linearly."""
        distances = self.usual_.mahalanobis(self._reduced(x)).sqrt()[:, None]
        size = self.image_shape_[1:]
        return F.interpolate(distances, size=size, mode="bilinear", align_corners=False)[:, 0]

    def _reduced(self, paths: Tensor) -> Tensor:
        return self.reduction_(paths.cpu())

    # ------------------------------------------------------------------ maps in place of images

    def _batches(self, images: ImageSet, batch_size: int | None = None) -> Iterator[Tensor]:
        """Scattering paths of all images in order, ``(b, paths, h, w)`` on the device."""
        for known, paths in self._known or ():
            if (places := places_in(images, known)) is not None:
                yield from torch.split(paths[places], batch_size or self._scoring_batch())
                return
        for x in super()._batches(images, batch_size):
            with torch.no_grad():
                paths = log_scattering(x, *self.transform_)
            yield paths

    @contextmanager
    def _sharing(self, images: ImageSet) -> Iterator[None]:
        self.transform_ = int(self.scales), int(self.angles)
        if len(images) * self._bytes() <= SAMPLE_BYTES:
            self._known = [(images, self._paths(images))]
        try:
            yield
        finally:
            if self._known is not None:
                self._known.clear()
            self._known = None

    def _paths(self, images: ImageSet) -> Tensor:
        """Of all images, ``(n, paths, h, w)`` float32."""
        paths = torch.empty(len(images), *scattered_shape(self.image_shape_, *self.transform_))
        first = 0
        for batch in self._batches(images):
            paths[first : first + len(batch)] = batch
            first += len(batch)
        return paths

    def _bytes(self) -> int:
        """Of the paths of an image."""
        return 4 * math.prod(scattered_shape(self.image_shape_, *self.transform_))

    # ------------------------------------------------------------------ what a fit costs

    def fit_seconds(self, images: ImageSet) -> float:
        """About how long a fit takes, without the reading of files.

        The transform of a batch is timed; the models are as those of a method without networks.
        """
        blank = torch.zeros(scoring_batch(images.shape[1]), *images.shape)
        started = time.perf_counter()
        with torch.no_grad():
            log_scattering(blank, self.scales, self.angles)
        transform = (time.perf_counter() - started) / len(blank) * len(images)
        paths, *sides = scattered_shape(images.shape, self.scales, self.angles)
        most = SAMPLE_BYTES // (4 * paths * math.prod(sides))
        fits = 1
        if len(images) < HELD_OUT_FROM:
            fits += fold_count(len(images), math.prod(images.shape))
            transform *= 1 if len(images) <= most else fits
        # each fit is one on all, and some on parts
        rows = min(len(images), self.largest_sample, most)
        one = 2 * 2 * rows * min(self.channels, paths) * math.prod(sides) * 74 * 16
        return 0.5 + transform + fits * one / PER_SECOND

    def fit_bytes(self, images: ImageSet) -> int:
        """Memory of a fit next to the images and the process: about five copies of the paths."""
        each = 4 * math.prod(scattered_shape(images.shape, self.scales, self.angles))
        return 5 * min(SAMPLE_BYTES, len(images) * each)

    # ------------------------------------------------------------------ in a model folder

    def fitted_numbers(self) -> dict[str, float]:
        scales, angles = self.transform_
        numbers = {"map_scale": self.map_scale_, "scales": scales, "angles": angles}
        numbers["neighbors"] = self.usual_.nearest.n_neighbors
        for name in HEADS:
            numbers[f"{name}.centre"] = self.centres_[name]
            numbers[f"{name}.spread"] = self.spreads_[name]
        return numbers

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "paths.mean": self.reduction_.mean,
            "paths.scale": self.reduction_.scale,
            "paths.basis": self.reduction_.basis,
            "mean": self.usual_.mean,
            "components": self.usual_.components,
            "neighbors": self.usual_.neighbors,
            "whitening": self.usual_.whitening,
            "texture.mean": self.usual_.texture.mean,
            "texture.whitening": self.usual_.texture.whitening,
        }

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        self.reduction_ = Reduction(
            tensors["paths.mean"], tensors["paths.scale"], tensors["paths.basis"]
        )
        self.usual_ = Usual.restored(
            int(fitted["neighbors"]),
            tensors["mean"],
            tensors["components"],
            tensors["neighbors"],
            tensors["whitening"],
            Gaussian(tensors["texture.mean"], tensors["texture.whitening"]),
        )
        self.transform_ = int(fitted["scales"]), int(fitted["angles"])
        self.map_scale_ = fitted["map_scale"]
        self.centres_ = {name: fitted[f"{name}.centre"] for name in HEADS}
        self.spreads_ = {name: fitted[f"{name}.spread"] for name in HEADS}
        self._check_shapes()

    def _check_shapes(self) -> None:
        """Raise a ValueError where tensors do not fit each other and the images."""
        paths, side, _ = scattered_shape(self.image_shape_, *self.transform_)
        reduced, count = self.reduction_.basis.shape[-1], len(self.usual_.components)
        for name, shape in {
            "paths.mean": (paths,),
            "paths.scale": (paths,),
            "paths.basis": (paths, reduced),
            "mean": (reduced, side, side),
            "components": (count, reduced * side * side),
            "neighbors": (len(self.usual_.neighbors), count),
            "whitening": (side * side, reduced, reduced),
            "texture.mean": (2 * reduced,),
            "texture.whitening": (2 * reduced, 2 * reduced),
        }.items():
            if (tensor := self._tensors()[name]).shape != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {shape}")


def _log(values: Scores) -> Scores:
    return np.asarray(np.log(np.maximum(values, 1e-12)))
