"""What is usual in maps of features of normal images: closed-form models, fitted in seconds."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import torch
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anomirror.detector.streaming import most_components

POSITIONS = 200_000
"""From which channels are reduced, at most: those of evenly spaced images."""

ROWS = 2000
"""From which principal components are computed, at most."""

HEADS = ("residual", "distance", "mahalanobis", "texture")
"""What :class:`Usual` measures of a map."""


@dataclass(frozen=True)
class Reduction:
    """A PCA of the channels that all positions share."""

    mean: Tensor
    scale: Tensor
    basis: Tensor
    """``(channels, reduced)``."""

    @classmethod
    def of(cls, paths: Tensor, channels: int) -> Self:
        """From ``(n, channels, h, w)``; each channel counts alike."""
        places = paths.shape[2] * paths.shape[3]
        step = math.ceil(len(paths) * places / POSITIONS)
        rows = paths[::step].movedim(1, 3).flatten(0, 2)
        mean, scale = rows.mean(0), rows.std(0).clamp_min(1e-6)
        rows.sub_(mean).div_(scale)
        _, basis = torch.linalg.eigh((rows.T @ rows).double())
        return cls(mean, scale, basis.flip(1)[:, :channels].float().contiguous())

    def __call__(self, paths: Tensor) -> Tensor:
        """``(n, channels, h, w)`` to ``(n, reduced, h, w)``."""
        rows = (paths.movedim(1, 3) - self.mean) / self.scale
        return (rows @ self.basis).movedim(3, 1)


def principal_components(rows: Tensor, count: int) -> Tensor:
    """Of centred rows ``(n, d)``, ``(k, d)`` with k of ``count`` and at most n / 2.

    By the Gram matrix of evenly spaced rows: exact, and fast where rows are long.
    """
    rows = rows[:: math.ceil(len(rows) / ROWS)].double()
    count = min(count, most_components(rows.numpy()))
    last = len(rows) - 1
    _, vectors = eigh((rows @ rows.T).numpy(), subset_by_index=(last - count + 1, last))
    components = torch.from_numpy(vectors[:, ::-1].T.copy()) @ rows
    lengths = components.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return torch.div(components, lengths).float()


@dataclass(frozen=True)
class Gaussian:
    """Of rows, with a covariance that is shrunk by the rule of Ledoit and Wolf."""

    mean: Tensor
    whitening: Tensor
    """``(d, d)``: the inverse of the covariance's lower Cholesky factor."""

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """From rows ``(n, d)``."""
        mean = rows.mean(0)
        covariance, _ = ledoit_wolf((rows - mean).double().numpy(), assume_centered=True)
        floor = 1e-6 * max(float(covariance.diagonal().mean()), 1e-9)  # of copies there is none
        identity = torch.eye(len(mean), dtype=torch.float64)
        lower = torch.linalg.cholesky(torch.from_numpy(covariance) + floor * identity)
        whitening = torch.linalg.solve_triangular(lower, identity, upper=False)
        # of one layout, as a file gives it: it rounds
        return cls(mean.contiguous(), whitening.float().contiguous())

    def distances(self, rows: Tensor) -> Tensor:
        """Squared Mahalanobis distance by the dimension, ``(n,)`` float64."""
        return ((rows - self.mean).double() @ self.whitening.double().T).square().mean(1)


def texture(maps: Tensor) -> Tensor:
    """Mean and standard deviation over the positions of maps ``(n, c, h, w)``, ``(n, 2 c)``."""
    places = maps.flatten(2)
    return torch.cat([places.mean(2), places.std(2, correction=0)], 1)


@dataclass(frozen=True)
class Usual:
    """What is usual in the reduced maps of normal images, in four ways."""

    mean: Tensor
    """``(reduced, h, w)``."""
    components: Tensor
    """``(k, reduced * h * w)``."""
    neighbors: Tensor
    """``(n, k)``: maps of normal images in their components."""
    whitening: Tensor
    """``(h * w, reduced, reduced)``: of the Gaussian at each position."""
    texture: Gaussian
    """Of :func:`texture`: it knows no positions."""
    nearest: NearestNeighbors

    @classmethod
    def of(cls, maps: Tensor, components: int, neighbors: int, shrinkage: float) -> Self:
        """From maps ``(n, reduced, h, w)``."""
        mean = maps.mean(0)
        centred = maps - mean
        flat = centred.flatten(1)
        basis = principal_components(flat, components)
        projected = (flat.double() @ basis.T.double()).float()
        places = centred.flatten(2).permute(2, 0, 1)  # (h * w, n, reduced)
        covariances = places.mT @ places / len(maps)
        average = covariances.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-9)
        identity = torch.eye(maps.shape[1], dtype=torch.float64)
        target = identity * average[:, None, None]
        lower = torch.linalg.cholesky((1 - shrinkage) * covariances.double() + shrinkage * target)
        whitening = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
        usual = Gaussian.of(texture(maps))
        return cls.restored(neighbors, mean, basis, projected, whitening.float(), usual)

    @classmethod
    def restored(
        cls,
        count: int,
        mean: Tensor,
        components: Tensor,
        neighbors: Tensor,
        whitening: Tensor,
        texture: Gaussian,
    ) -> Self:
        """With an index of the neighbours, of which ``count`` are asked for."""
        # of one layout, whether they come from a fit or from a file: it rounds
        mean, components = mean.contiguous(), components.contiguous()
        neighbors, whitening = neighbors.contiguous(), whitening.contiguous()
        nearest = NearestNeighbors(n_neighbors=min(count, len(neighbors)))
        nearest.fit(neighbors.double().numpy())
        return cls(mean, components, neighbors, whitening, texture, nearest)

    def statistics(self, maps: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """How odd maps ``(b, reduced, h, w)`` are, ``(b,)`` each."""
        measured = {}
        # float64: in another batch it differs as little as its maps do
        centred, components = (maps - self.mean).flatten(1).double(), self.components.double()
        if "mahalanobis" in names:
            measured["mahalanobis"] = self.mahalanobis(maps).flatten(1).amax(1)
        if "texture" in names:
            measured["texture"] = self.texture.distances(texture(maps))
        projected = centred @ components.T
        if "residual" in names:
            measured["residual"] = (centred - projected @ components).square().sum(1)
        if "distance" in names:
            distances, _ = self.nearest.kneighbors(projected.numpy())
            measured["distance"] = torch.from_numpy(distances.mean(1))
        return measured

    def mahalanobis(self, maps: Tensor) -> Tensor:
        """Squared distance of each position from its usual one, by the dimension, ``(b, h, w)``."""
        places = (maps - self.mean).double().flatten(2).permute(2, 1, 0)
        whitened = self.whitening.double() @ places
        return whitened.square().mean(1).T.reshape(len(maps), *maps.shape[-2:])
