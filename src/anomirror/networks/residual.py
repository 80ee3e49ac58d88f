"""Residual generator and critic, as in SNGAN (Miyato et al. 2018, arXiv 1802.05957)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomirror.networks.convolutional import doublings
from anomirror.networks.resampling import conv_then_halve, double_then_conv
from anomirror.networks.spectral import conv2d, kernel, linear


class UpBlock(nn.Module):
    """Twice the side: BN-ReLU-nearest-conv3-BN-ReLU-conv3, plus a 1x1 shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        out = double_then_conv(F.relu(self.norm1(h)), self.conv1.weight, self.conv1.bias)
        residual: Tensor = self.conv2(F.relu(self.norm2(out)))
        # a 1x1 convolution commutes with nearest-neighbour upsampling: the same result from a
        # quarter of the pixels
        return residual + F.interpolate(self.shortcut(h), scale_factor=2)


class Generator(nn.Module):
    """G: ``(b, latent_dim)`` to ``(b, channels, size, size)`` in [-1, 1].

    A dense layer to 4x4, one :class:`UpBlock` for each doubling, BN-ReLU-conv3-tanh. At 32x32, 3
    channels, width 256, 128 latents: 4,276,739 parameters, as in the paper.
    """

    def __init__(self, channels: int, size: int, latent_dim: int, width: int = 256) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Linear(latent_dim, width * 4 * 4)
        self.blocks = nn.Sequential(*(UpBlock(width) for _ in range(doublings(size))))
        self.norm = nn.BatchNorm2d(width)
        self.to_image = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.dense(z).unflatten(1, (self.width, 4, 4))
        h = F.relu(self.norm(self.blocks(h)))
        return torch.tanh(self.to_image(h)).float()


class CriticBlock(nn.Module):
    """(ReLU-)conv3-ReLU-conv3(-half the side by averaging), plus a shortcut; no batch norm."""

    def __init__(
        self, before: int, after: int, *, down: bool, first: bool = False, spectral: bool = True
    ) -> None:
        super().__init__()
        self.down = down
        self.first = first
        self.conv1 = conv2d(before, after, 3, spectral=spectral)
        self.conv2 = conv2d(after, after, 3, spectral=spectral)
        self.shortcut = conv2d(before, after, 1, spectral=spectral) if down else None

    def forward(self, h: Tensor) -> Tensor:
        out = h if self.first else F.relu(h)
        out = F.relu(self.conv1(out))
        if self.shortcut is None:
            residual: Tensor = self.conv2(out)
            return residual + h
        out = conv_then_halve(out, kernel(self.conv2), self.conv2.bias)
        # average pooling commutes with the 1x1 convolution: pool first
        shortcut: Tensor = self.shortcut(F.avg_pool2d(h, 2))
        return out + shortcut


class Critic(nn.Module):
    """D: ``(b, channels, size, size)`` in [-1, 1] to ``(b,)``.

    :meth:`features` gives its penultimate layer f.

    One down block for each doubling of 8 (the first without pre-activation), two flat blocks, ReLU,
    global *sum* pool = f, a linear layer without bias. AMA feeds it pairs stacked on the channels.
    At 32x32, 6 channels, width 128: 1,057,664 parameters, as in the paper.
    """

    def __init__(
        self, channels: int, size: int, width: int = 128, *, spectral: bool = True
    ) -> None:
        super().__init__()
        downs = doublings(size) - 1
        self.blocks = nn.Sequential(
            CriticBlock(channels, width, down=True, first=True, spectral=spectral),
            *(CriticBlock(width, width, down=True, spectral=spectral) for _ in range(downs - 1)),
            CriticBlock(width, width, down=False, spectral=spectral),
            CriticBlock(width, width, down=False, spectral=spectral),
        )
        self.linear = linear(width, 1, spectral=spectral)

    def features(self, x: Tensor) -> Tensor:
        """f, ``(b, width)`` float32, >= 0."""
        return F.relu(self.blocks(x)).float().sum((2, 3))

    def value(self, features: Tensor) -> Tensor:
        """D of what has these features, ``(b,)`` float32."""
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.linear(features)[:, 0]
            return out

    def forward(self, x: Tensor) -> Tensor:
        return self.value(self.features(x))
