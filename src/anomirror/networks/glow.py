"""Glow (Kingma and Dhariwal 2018): an invertible network from images to Gaussian latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomirror.networks.data_dependent import DataDependentInit


@dataclass(frozen=True)
class Latent:
    """Latents ``(b, c, h, w)`` and the Gaussian that they are taken to come from."""

    z: Tensor
    mean: Tensor
    log_deviation: Tensor


class ActNorm(DataDependentInit):
    """(h + bias) exp(log_scale), one of each for every channel.

    Starts with outputs of mean 0 and deviation 1.

    It is never applied alone: its scale and bias enter the convolution before or after it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def start(self, h: Tensor) -> None:
        """Weights by what it will be applied to."""
        self.bias.copy_(-h.mean((0, 2, 3)))
        self.log_scale.copy_(-torch.log(h.std((0, 2, 3)) + 1e-6))


class NormedConv2d(nn.Conv2d):
    """A size-keeping convolution without bias, then an :class:`ActNorm`."""

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__(before, after, side, padding=side // 2, bias=False)
        nn.init.normal_(self.weight, std=0.05)
        self.norm = ActNorm(after)

    def forward(self, h: Tensor) -> Tensor:
        if self.norm.started_by_data:
            self.norm.start(super().forward(h).float())
        scale = torch.exp(self.norm.log_scale)
        return F.conv2d(
            h,
            self.weight * scale[:, None, None, None],
            self.norm.bias * scale,
            padding=self.padding,
        )


class ZeroConv2d(nn.Conv2d):
    """A 3x3 convolution that starts at zero, with a scale exp(3 log_scale) for each channel."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, padding=1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(cast(nn.Parameter, self.bias))
        self.log_scale = nn.Parameter(torch.zeros(after))

    def forward(self, h: Tensor) -> Tensor:
        scale = torch.exp(3 * self.log_scale)
        return F.conv2d(
            h, self.weight * scale[:, None, None, None], cast(Tensor, self.bias) * scale, padding=1
        )


class Step(nn.Module):
    """A step of the flow: actnorm, an invertible 1x1 convolution, an affine coupling.

    ``(b, c, h, w)`` to the same.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = ActNorm(channels)
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", torch.sign(torch.diagonal(upper)))
        self.lower = nn.Parameter(lower)
        self.upper = nn.Parameter(upper)
        self.log_diagonal = nn.Parameter(torch.log(torch.diagonal(upper).abs()))
        self.coupling = nn.Sequential(
            NormedConv2d(channels // 2, hidden, 3),
            nn.ReLU(),
            NormedConv2d(hidden, hidden, 1),
            nn.ReLU(),
            ZeroConv2d(hidden, channels),
        )

    def mixing(self) -> Tensor:
        """W = P L U, ``(c, c)``."""
        ones = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        upper = torch.triu(self.upper, 1) + torch.diag(self.sign * torch.exp(self.log_diagonal))
        return self.permutation @ (torch.tril(self.lower, -1) + ones) @ upper

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The next state in the precision of ``h``, whatever autocast asks for, and log of its
        determinant, ``(b,)`` float64.
        """
        if self.norm.started_by_data:
            self.norm.start(h)
        with torch.autocast(h.device.type, enabled=False):
            scale = torch.exp(self.norm.log_scale)
            weight = self.mixing() * scale
            h = F.conv2d(h, weight[:, :, None, None], weight @ self.norm.bias)
        same, changed = h.chunk(2, dim=1)
        log_scale, shift = self._coupled(same)
        pixels = h.shape[2] * h.shape[3]
        log_determinant = pixels * (self.norm.log_scale.sum() + self.log_diagonal.sum())
        log_determinant = log_determinant + log_scale.flatten(1).sum(1, dtype=torch.float64)
        return torch.cat([same, (changed + shift) * torch.exp(log_scale)], dim=1), log_determinant

    def inverse(self, h: Tensor) -> Tensor:
        """What :meth:`forward` made ``h`` of, but for what rounding does to a coupling that sees
        its input rounded.
        """
        same, changed = h.chunk(2, dim=1)
        log_scale, shift = self._coupled(same)
        h = torch.cat([same, changed * torch.exp(-log_scale) - shift], dim=1)
        with torch.autocast(h.device.type, enabled=False):
            weight = torch.linalg.inv(self.mixing())
            h = F.conv2d(h, weight[:, :, None, None])
            return (
                h * torch.exp(-self.norm.log_scale)[:, None, None] - self.norm.bias[:, None, None]
            )

    def _coupled(self, same: Tensor) -> tuple[Tensor, Tensor]:
        """log sigmoid(s + 2) and the shift, from the half that stays as it is."""
        s, shift = self.coupling(same).to(same.dtype).chunk(2, dim=1)
        return F.logsigmoid(s + 2), shift


class Glow(nn.Module):
    """``(b, channels, h, w)`` to latents and the logarithm of the Jacobian's determinant.

    Height and width are multiples of 2^levels.

    Each level makes four channels of every 2x2 pixels, takes ``steps`` steps, and but for the last
    gives half of its channels away as latents, whose Gaussian is predicted from the other half. At
    3 channels, 3 levels, 32 steps, hidden width 512: 44,152,272 parameters.
    """

    def __init__(self, channels: int, levels: int, steps: int, hidden: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        self.priors = nn.ModuleList()
        for level in range(levels):
            channels *= 4
            self.levels.append(nn.ModuleList(Step(channels, hidden) for _ in range(steps)))
            if level < levels - 1:
                self.priors.append(ZeroConv2d(channels // 2, channels))
                channels //= 2
        self.top = nn.Parameter(torch.zeros(2, channels))

    def forward(self, x: Tensor) -> tuple[list[Latent], Tensor]:
        latents = []
        h, log_determinant = x, x.new_zeros(len(x), dtype=torch.float64)
        for level, steps in enumerate(self.levels):
            h = F.pixel_unshuffle(h, 2)
            for step in steps.children():
                h, gain = step(h)
                log_determinant = log_determinant + gain
            if level < len(self.priors):
                h, z = h.chunk(2, dim=1)
                latents.append(Latent(z, *self._prior(level, h)))
        latents.append(Latent(h, *self._top(h)))
        return latents, log_determinant

    def inverse(self, z: Sequence[Tensor]) -> Tensor:
        """The images whose latents are ``z``."""
        return self._generate(z[-1], lambda level, mean, log_deviation: z[level])

    def sample(
        self, count: int, size: int, generator: torch.Generator, temperature: float = 1.0
    ) -> Tensor:
        """``(count, channels, size, size)`` from the prior, with its deviations times
        ``temperature``.
        """

        def draw(level: int, mean: Tensor, log_deviation: Tensor) -> Tensor:
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            return mean + temperature * torch.exp(log_deviation) * noise

        side = size // 2 ** len(self.levels)
        return self._generate(self.top.new_zeros(count, self.top.shape[1], side, side), draw)

    def _generate(self, like: Tensor, choose: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """Images from latents that are chosen level by level, given their Gaussians.

        The last ones are shaped as ``like``.
        """
        h = choose(len(self.levels) - 1, *self._top(like))
        for level in reversed(range(len(self.levels))):
            if level < len(self.priors):
                h = torch.cat([h, choose(level, *self._prior(level, h))], dim=1)
            for step in reversed(list(self.levels[level].children())):
                h = cast(Step, step).inverse(h)
            h = F.pixel_shuffle(h, 2)
        return h

    def _top(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of the last latents: one of each for every channel."""
        mean, log_deviation = self.top[:, None, :, None, None].unbind()
        return mean.expand_as(h), log_deviation.expand_as(h)

    def _prior(self, level: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of the latents that a level gives away, from what it keeps."""
        with torch.autocast(h.device.type, enabled=False):
            mean, log_deviation = self.priors[level](h).chunk(2, dim=1)
        return mean, log_deviation
