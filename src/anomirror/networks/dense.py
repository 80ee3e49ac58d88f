"""Dense layers in a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anomirror.networks.randomness import Dropout
from anomirror.networks.spectral import linear


def logits(layer: nn.Linear, features: Tensor) -> Tensor:
    """Logits of a layer with one output, ``(b, d)`` to ``(b,)``.

    They are float32 under autocast, too, where bf16 would leave two digits.
    """
    with torch.autocast(features.device.type, enabled=False):
        out: Tensor = layer(features.float())[:, 0]
        return out


def dense(
    before: int,
    widths: Sequence[int],
    *,
    dropout: float = 0.0,
    spectral: bool = False,
    slope: float = 0.2,
) -> nn.Sequential:
    """``(b, before)`` to ``(b, widths[-1])``.

    LeakyReLU(``slope``) and dropout after each layer, the last one too.
    """
    layers: list[nn.Module] = []
    for after in widths:
        layers += [
            linear(before, after, spectral=spectral, bias=True),
            nn.LeakyReLU(slope),
            Dropout(dropout),
        ]
        before = after
    return nn.Sequential(*layers)


class PairDiscriminator(nn.Module):
    """D(z, z') of two codes, each ``(b, latent_dim)``, to logits ``(b,)``.

    Dense layers with spectral norm over both.
    """

    def __init__(self, latent_dim: int, widths: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        self.layers = dense(2 * latent_dim, widths, dropout=dropout, spectral=True)
        self.to_logit = nn.Linear(widths[-1], 1)

    def forward(self, z: Tensor, other: Tensor) -> Tensor:
        return logits(self.to_logit, self.layers(torch.cat([z, other], dim=1)))


class BoxClassifier(nn.Module):
    """Points ``(b, latent_dim)`` to logits ``(b,)``, high for normal ones.

    It knows the box from ``low`` to ``high``.

    The box becomes [-1, 1] in every coordinate, or 0 where it has no width; then ReLU layers of
    ``widths`` with dropout.
    """

    low: Tensor
    high: Tensor

    def __init__(self, latent_dim: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = dense(latent_dim, widths, dropout=dropout, slope=0.0)
        self.to_logit = nn.Linear(widths[-1], 1)
        self.register_buffer("low", -torch.ones(latent_dim))
        self.register_buffer("high", torch.ones(latent_dim))

    def forward(self, z: Tensor) -> Tensor:
        span = self.high - self.low
        scaled = torch.where(span > 0, 2 * (z - self.low) / span - 1, 0.0)
        return logits(self.to_logit, self.layers(scaled))
