"""Losses of adversarial autoencoders: pure functions of critic values, features and latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def wasserstein_gap(d_same: Tensor, d_other: Tensor) -> Tensor:
    """Eq. (1): E[D(x, x)] - E[D(x, x_hat)], the gap that the critic widens and the autoencoder
    closes.
    """
    return d_same.mean() - d_other.mean()


def latent_norm(z: Tensor) -> Tensor:
    """E ||z||, not squared: the regulariser of Eq. (2)."""
    norms: Tensor = z.norm(dim=1)
    return norms.mean()


@dataclass(frozen=True)
class Term:
    """A weighted gap D(source, source) - D(x, x_hat) of an objective."""

    name: str
    weight: float
    x: Tensor
    x_hat: Tensor
    own_source: Tensor | None = None

    @property
    def source(self) -> Tensor:
        """The images of D(x, x): ``x``, unless the same ones are there in another order."""
        return self.x if self.own_source is None else self.own_source


def gaps(
    critic: Callable[[Tensor], Tensor],
    pair: Callable[[Tensor, Tensor], Tensor],
    terms: Sequence[Term],
) -> list[Tensor]:
    """D(x, x) - D(x, x_hat) of every term as a mean, for the critic alone; each D(x, x) once.

    Parameters
    ----------
    pair : what the critic sees of x and x_hat.
    """
    sources: list[Tensor] = []
    for term in terms:
        if not any(term.source is seen for seen in sources):
            sources.append(term.source)
    pairs = [pair(s, s) for s in sources] + [pair(t.x, t.x_hat.detach()) for t in terms]
    values = torch.split(critic(torch.cat(pairs)), [len(each) for each in pairs])
    same = {id(source): value for source, value in zip(sources, values, strict=False)}
    others = values[len(sources) :]
    return [wasserstein_gap(same[id(t.source)], d) for t, d in zip(terms, others, strict=True)]


def weighted_sum(terms: Sequence[Term], values: Sequence[Tensor]) -> Tensor:
    """sum_t w_t v_t."""
    return torch.stack([t.weight * value for t, value in zip(terms, values, strict=True)]).sum()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator,
    members: int = 1,
) -> Tensor:
    """E (||grad D(y)|| - 1)^2 at random points between ``real`` and ``fake`` (Gulrajani et al.
    2017).

    One norm for each *sample*, over all its channels and pixels. Of an ensemble, whose ``members``
    stand one after the other in the channels, one for each member, and the sum over them.
    """
    share = torch.rand(len(real), members, 1, 1, generator=generator).to(real.device)
    share = share.repeat_interleave(real.shape[1] // members, dim=1)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    with torch.autocast(real.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norms: Tensor = gradient.reshape(len(gradient), members, -1).norm(dim=2)
    return (norms - 1.0).square().mean(0).sum()


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy of ``logits`` against one ``target`` for all.

    1 for real images, 0 for generated ones.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, fake_weight: float = 1.0
) -> Tensor:
    """BCE(D(real), 1) + w BCE(D(fake), 0).

    What a discriminator, or a classifier of two kinds, is trained by.
    """
    return cross_entropy(real_logits, 1.0) + fake_weight * cross_entropy(fake_logits, 0.0)


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """Of the difference of each pair of images or features, ``(b, ...)`` twice to ``(b,)``."""
    return (a - b).square().flatten(1).mean(1)


def dispersion(x: Tensor) -> Tensor:
    """mean_i || x_i - mean_j x_j ||_2 of images ``(b, ...)``: how far they lie from their centre.

    A single image gives 0.
    """
    rows = x.flatten(1)
    distances: Tensor = (rows - rows.mean(0)).norm(dim=1)
    return distances.mean()


def euclidean_norm(x: Tensor) -> Tensor:
    """Of each image of a batch, ``(b,)`` float32."""
    norm: Tensor = torch.linalg.vector_norm(x.float().flatten(1), dim=1)
    return norm


def feature_distance(f_same: Tensor, f_other: Tensor) -> Tensor:
    """Eq. (5): R(x) = || f(x, x) - f(x, x_hat) ||_1, ``(b, d)`` twice to ``(b,)``."""
    return (f_same - f_other).abs().sum(1)
