"""The networks of Deep SVDD.

Nothing in them is biased, so that no constant can be learnt in place of a description.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-4
"""Added to variances by the batch norms, as in the released code."""


class LeNet(nn.Module):
    """phi (Ruff et al. 2018): ``(b, channels, size, size)`` to ``(b, latent_dim)``.

    A 5x5 convolution, batch norm without scale and shift, LeakyReLU(0.01) and max-pooling for each
    of ``widths``, then a dense layer; no biases. Sides beyond 32 are halved by further such stages
    of the last width.
    """

    def __init__(self, channels: int, size: int, latent_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        widths = all_widths(size, widths)
        layers: list[nn.Module] = []
        before = channels
        for after in widths:
            layers += [
                nn.Conv2d(before, after, 5, padding=2, bias=False),
                nn.BatchNorm2d(after, eps=EPSILON, affine=False),
                nn.LeakyReLU(0.01),
                nn.MaxPool2d(2),
            ]
            before = after
        self.features = nn.Sequential(*layers)
        self.to_latent = nn.Linear(before * (size // 2 ** len(widths)) ** 2, latent_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x).flatten(1)
        with torch.autocast(
            maps.device.type, enabled=False
        ):  # a short distance between two codes wants more than two digits of each
            out: Tensor = self.to_latent(maps.float())
            return out


class LeNetDecoder(nn.Module):
    """``(b, latent_dim)`` to ``(b, channels, size, size)`` in [0, 1].

    The way back of :class:`LeNet`, from maps of 4x4.

    ``latent_dim`` is a multiple of 16. A 5x5 convolution and batch norm, LeakyReLU(0.01) and
    nearest-neighbour doubling for each halving of the way down to 4x4.
    """

    def __init__(self, channels: int, size: int, latent_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        outward = list(reversed(all_widths(size, widths)))
        doublings = (size // 4).bit_length() - 1
        # those that were not halved down to 4x4
        outward = [outward[0]] * (doublings - len(outward)) + outward
        layers: list[nn.Module] = []
        before = latent_dim // 16
        for after in outward:
            layers += [
                nn.Conv2d(before, after, 5, padding=2, bias=False),
                nn.BatchNorm2d(after, eps=EPSILON, affine=False),
                nn.LeakyReLU(0.01),
                nn.Upsample(scale_factor=2),
            ]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, channels, 5, padding=2, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        maps = F.leaky_relu(z.reshape(len(z), -1, 4, 4), 0.01)
        return torch.sigmoid(self.layers(maps).float())


def all_widths(size: int, widths: Sequence[int]) -> list[int]:
    """``widths``, and the last one again for each halving of ``size`` beyond 32.

    >>> all_widths(32, (8, 4)), all_widths(128, (8, 4))
    ([8, 4], [8, 4, 4, 4])
    """
    more = (size // 32).bit_length() - 1
    return [*widths, *[widths[-1]] * more]


class Hypersphere(nn.Module):
    """``(b, channels, size, size)`` in [0, 1] to || phi(x) - c ||^2, ``(b,)``."""

    centre: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, channels: int, size: int, latent_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.phi = LeNet(channels, size, latent_dim, widths)
        self.register_buffer("centre", torch.ones(latent_dim))
        # what normal pixels span after the normalisation of contrast; as they come they span this
        self.register_buffer("lowest", torch.tensor(-1.0))
        self.register_buffer("highest", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.phi(x)
        return (z - self.centre).square().sum(1)
