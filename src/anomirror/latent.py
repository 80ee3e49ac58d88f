"""Points in latent space.

Simplex interpolation and atypical selection (section 3 of the AMA paper).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

NegativeKind = Literal["inward", "outward", "box"]


def simplex_weights(count: int, k: int, generator: torch.Generator, largest: float = 0.5) -> Tensor:
    """``(count, k)`` weights alpha_i / sum(alpha), alpha_i ~ U[0, ``largest``].

    Positive, each row sums to 1.
    """
    alpha = torch.rand(count, k, generator=generator).clamp_min(1e-6) * largest
    return alpha / alpha.sum(1, keepdim=True)


def endpoints(count: int, k: int, generator: torch.Generator) -> Tensor:
    """``(count, k)`` indices into a batch of ``count``.

    Each row is k different images, as long as the batch has k.
    """
    order = torch.randperm(count, generator=generator)
    return order[(torch.arange(count)[:, None] + torch.arange(k)) % count]


def interpolate(z: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Simplex interpolation of encodings.

    ``z`` (b, d), ``chosen`` and ``weights`` (b, k), to (b, d); differentiable.
    """
    return (weights[..., None] * z[chosen]).sum(1)


def shell(
    count: int,
    dim: int,
    delta: float,
    direction: Literal["inward", "outward"],
    generator: torch.Generator,
) -> Tensor:
    """Atypical points: uniform direction, radius uniform in [sqrt(d) - delta, sqrt(d)] or [sqrt(d),
    sqrt(d) + delta].
    """
    u = F.normalize(torch.randn(count, dim, generator=generator), dim=1)
    root = math.sqrt(dim)
    low, high = (max(root - delta, 0.0), root) if direction == "inward" else (root, root + delta)
    radius = low + (high - low) * torch.rand(count, 1, generator=generator)
    return radius * u


def in_box(count: int, low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    """``(count, d)`` points, uniform in the box from ``low`` to ``high``, both ``(d,)``."""
    return low + (high - low) * torch.rand(count, len(low), generator=generator).to(low.device)


def box(count: int, z: Tensor, delta: float, generator: torch.Generator) -> Tensor:
    """Box negatives (Sipple 2020).

    They are uniform in the cube of half-side max |coordinate of z| (1 + delta), centre 0.
    """
    half_side = float(z.detach().abs().max()) * (1.0 + delta)
    return (2.0 * torch.rand(count, z.shape[1], generator=generator) - 1.0) * half_side
