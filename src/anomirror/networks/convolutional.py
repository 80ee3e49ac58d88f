"""The encoder of AMA, of ALAD and of plain autoencoders: strided 4x4 convolutions, as in DCGAN."""

from __future__ import annotations

import math

from torch import Tensor, nn

from anomirror.networks.randomness import Dropout
from anomirror.networks.spectral import halving


def doublings(size: int) -> int:
    """How often 4 is doubled to reach ``size``: 3 for 32, 4 for 64, ..."""
    return round(math.log2(size / 4))


def halvings(
    channels: int,
    size: int,
    width: int,
    *,
    normed_from: int | None,
    spectral: bool,
    dropout: float = 0.0,
) -> tuple[nn.Sequential, int]:
    """``(b, channels, size, size)`` to ``(b, f, 4, 4)``, and f.

    A convolution for each halving, of ``width`` x 1, 2, 4, 4, ...

    LeakyReLU(0.2) and ``dropout`` after each; batch norms between, from the ``normed_from``-th
    convolution on, counted from 0.
    """
    layers: list[nn.Module] = []
    before = channels
    for stage in range(doublings(size)):
        after = width * min(2**stage, 4)
        layers.append(halving(before, after, spectral=spectral))
        if normed_from is not None and stage >= normed_from:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.LeakyReLU(0.2))
        if dropout:
            layers.append(Dropout(dropout))
        before = after
    return nn.Sequential(*layers), before


class Encoder(nn.Module):
    """E: ``(b, channels, size, size)`` in [-1, 1] to ``(b, latent_dim)``, unbounded.

    One stride-2 convolution, batch norm and LeakyReLU(0.2) for each doubling of 4, then one 4x4
    convolution to the latent; no biases. Channels grow ``width`` x 1, 2, 4, 4, ...; at 32x32, 3
    channels, width 64, 128 latents: 1,183,616 parameters, as in the paper. ``spectral``: all but
    the last are spectrally normalised.
    """

    def __init__(
        self, channels: int, size: int, latent_dim: int, width: int = 64, *, spectral: bool = False
    ) -> None:
        super().__init__()
        # (b, 4 * width, 4, 4)
        self.features, before = halvings(channels, size, width, normed_from=0, spectral=spectral)
        self.to_latent = nn.Conv2d(before, latent_dim, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.to_latent(self.features(x)).flatten(1).float()
        return out
