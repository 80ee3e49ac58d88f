"""Generators and critics without residual blocks, several members of an ensemble as one network of grouped convolutions."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from anomirror.networks.convolutional import doublings


class Generator(nn.Module):
    """DCGAN's (Radford et al. 2016): ``(b, members * latent_dim)`` to ``(b, members * channels, size, size)`` in [-1, 1].

    A dense layer to 4x4, then a transposed convolution for each doubling; channels shrink ``width`` x 4, 2, 1, 1, ... Channels of
    one member meet those of no other.
    """

    def __init__(self, channels: int, size: int, latent_dim: int, width: int, members: int = 1) -> None:
        super().__init__()
        widths = [members * width * max(4 // 2**stage, 1) for stage in range(doublings(size))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(members * latent_dim, widths[0], 4, groups=members, bias=False)]
        for before, after in zip(widths, [*widths[1:], None], strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            last = after is None
            out = members * channels if after is None else after
            layers.append(nn.ConvTranspose2d(before, out, 4, stride=2, padding=1, groups=members, bias=last))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.layers(z[:, :, None, None]).float())


class WideCritic(nn.Module):
    """The critic of Choi et al. 2018: ``(b, members * channels, size, size)`` in [-1, 1] to ``(b, members)``.

    Convolutions of 5x5 with ``width``, ``width``, 2 ``width`` and 2 ``width`` channels, the second and fourth of stride 2, and
    more such for sizes beyond 32, down to 8x8; one of 7x7 with 16 ``width``; two dense layers, 4 ``width`` and 1. LeakyReLU(0.2)
    between them. The paper's width is 32.
    """

    def __init__(self, channels: int, size: int, width: int, members: int = 1) -> None:
        super().__init__()
        plan = [(width, 5, 1), (width, 5, 2), (2 * width, 5, 1), *[(2 * width, 5, 2)] * (doublings(size) - 2)]
        layers: list[nn.Module] = []
        before = channels
        for after, side, stride in plan:
            layers += [
                nn.Conv2d(members * before, members * after, side, stride, padding=2, groups=members),
                nn.LeakyReLU(0.2),
            ]
            before = after
        for after, side in ((16 * width, 7), (4 * width, 2), (1, 1)):
            layers += [nn.Conv2d(members * before, members * after, side, groups=members), nn.LeakyReLU(0.2)]
            before = after
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layers(x).flatten(1).float())
