"""PixelCNN++ (Salimans et al. 2017).

The parameters of each pixel's distribution, from the pixels above it and to its left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomirror.networks.data_dependent import DataDependentInit
from anomirror.networks.randomness import Dropout

Nonlinearity = Literal["concat_elu", "relu"]
Reach = Literal["above", "left"]
"""What a convolution sees: rows above and its own, a pixel to either side; or rows above and its
own, no pixel to the right.
"""

_KERNELS: dict[Reach, tuple[int, int]] = {"above": (2, 3), "left": (2, 2)}


class Normed(DataDependentInit):
    """A layer with weight w = g v / ||v||, one norm for each output channel (Salimans and Kingma
    2016), and a bias.

    While it starts, each forward sets g and b so that its own output has mean 0 and deviation
    ``scale`` in every channel.
    """

    def __init__(self, shape: tuple[int, ...], out_axis: int, scale: float) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(shape) * 0.05)
        self.gain = nn.Parameter(torch.ones(shape[out_axis]))
        self.bias = nn.Parameter(torch.zeros(shape[out_axis]))
        self._axis = out_axis
        self.scale = scale

    def weight(self) -> Tensor:
        """g v / ||v||, in float32 under autocast, too."""
        axes = [axis for axis in range(self.direction.dim()) if axis != self._axis]
        broadcast = [-1 if axis == self._axis else 1 for axis in range(self.direction.dim())]
        norm = torch.linalg.vector_norm(self.direction, dim=axes, keepdim=True)
        out: Tensor = self.direction * (self.gain.view(broadcast) / norm.clamp_min(1e-12))
        return out

    def apply_weight(self, h: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, h: Tensor) -> Tensor:
        if self.started_by_data:
            with torch.no_grad():
                self.gain.fill_(1.0)
                self.bias.zero_()
                plain = self.apply_weight(h).float()
                # padding alone may make a channel constant
                wanted = self.scale / plain.std((0, 2, 3)).clamp_min(1e-3)
                self.gain.copy_(wanted)
                self.bias.copy_(-wanted * plain.mean((0, 2, 3)))
        return self.apply_weight(h)


class CausalConv2d(Normed):
    """A convolution that sees what ``reach`` says; ``stride`` 2 halves the sides."""

    def __init__(
        self,
        before: int,
        after: int,
        reach: Reach,
        *,
        stride: int = 1,
        kernel: tuple[int, int] | None = None,
        scale: float = 1.0,
    ) -> None:
        kernel = kernel or _KERNELS[reach]
        super().__init__((after, before, *kernel), 0, scale)
        self._stride = stride
        above, side = kernel[0] - 1, kernel[1] - 1
        self._padding = (
            (side // 2, side // 2, above, 0) if reach == "above" else (side, 0, above, 0)
        )

    def apply_weight(self, h: Tensor) -> Tensor:
        # to pad in the convolution and to cut its output is slower: the gradient of a cut is a
        # second copy
        return F.conv2d(F.pad(h, self._padding), self.weight(), self.bias, stride=self._stride)


class CausalDoubling(Normed):
    """The transposed convolution of stride 2 that sees what ``reach`` says."""

    def __init__(self, before: int, after: int, reach: Reach) -> None:
        height, width = _KERNELS[reach]
        super().__init__((before, after, height, width), 1, 1.0)
        self._beyond = (0, 1) if reach == "above" else (0, 0)

    def apply_weight(self, h: Tensor) -> Tensor:
        return F.conv_transpose2d(
            h, self.weight(), self.bias, stride=2, padding=self._beyond, output_padding=self._beyond
        )


class Pointwise(Normed):
    """A 1x1 convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__((after, before, 1, 1), 0, 1.0)

    def apply_weight(self, h: Tensor) -> Tensor:
        return F.conv2d(h, self.weight(), self.bias)


def concat_elu(h: Tensor) -> Tensor:
    """ELU of h and of -h, on twice the channels."""
    return F.elu(torch.cat([h, -h], dim=1))


_NONLINEARITIES: dict[Nonlinearity, tuple[Callable[[Tensor], Tensor], int]] = {
    "concat_elu": (concat_elu, 2),
    "relu": (F.relu, 1),
}
"""Name to function, and how many channels it makes of one."""


class GatedBlock(nn.Module):
    """h + a sigmoid(b), where (a, b) come from h by two causal convolutions, and from ``beside`` by
    a 1x1 one.
    """

    def __init__(
        self, filters: int, reach: Reach, beside: int, nonlinearity: Nonlinearity, dropout: float
    ) -> None:
        super().__init__()
        self.activate, times = _NONLINEARITIES[nonlinearity]
        self.conv1 = CausalConv2d(times * filters, filters, reach)
        self.beside = Pointwise(times * beside, filters) if beside else None
        self.dropout = Dropout(dropout)
        self.conv2 = CausalConv2d(times * filters, 2 * filters, reach, scale=0.1)

    def forward(self, h: Tensor, beside: Tensor | None = None) -> Tensor:
        out = self.conv1(self.activate(h))
        if self.beside is not None:
            out = out + self.beside(self.activate(cast(Tensor, beside)))
        a, b = self.conv2(self.dropout(self.activate(out))).chunk(2, dim=1)
        # a sigmoid of every other block of channels, in bf16, takes seven times as long as the copy
        # and a sigmoid of that
        gated: Tensor = a * torch.sigmoid(b.contiguous(memory_format=torch.channels_last))
        return h + gated


class _Stage(nn.ModuleList):
    """Pairs of blocks: of the stream that sees above, and of the one that sees to the left and the
    first stream.
    """

    def __init__(
        self, pairs: int, filters: int, skips: bool, nonlinearity: Nonlinearity, dropout: float
    ) -> None:
        kinds: tuple[tuple[Reach, int], ...] = (
            ("above", filters * skips),
            ("left", filters * (1 + skips)),
        )
        super().__init__(
            nn.ModuleList(
                GatedBlock(filters, reach, beside, nonlinearity, dropout) for reach, beside in kinds
            )
            for _ in range(pairs)
        )


class PixelCNN(nn.Module):
    """``(b, channels, h, w)`` in [-1, 1] to ``(b, p, h, w)`` float32.

    What :mod:`anomirror.likelihood` reads as mixtures.

    ``levels`` stages of ``blocks`` pairs of gated blocks down, each but the last followed by a
    halving of the sides, and as many back up with skips from every state on the way down; h and w
    divide by 2^(levels - 1). p = ``mixtures`` * (1 + 2 channels + channels (channels - 1) / 2). At
    3 channels, 160 filters, 5 blocks, 10 mixtures, 3 levels about 54 million parameters, as in the
    paper.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        blocks: int,
        mixtures: int,
        levels: int = 3,
        nonlinearity: Nonlinearity = "concat_elu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.above_first = CausalConv2d(channels + 1, filters, "above")
        self.row_first = CausalConv2d(channels + 1, filters, "above", kernel=(1, 3))
        self.left_first = CausalConv2d(channels + 1, filters, "left", kernel=(2, 1))
        self.down = nn.ModuleList(
            _Stage(blocks, filters, False, nonlinearity, dropout) for _ in range(levels)
        )
        self.up = nn.ModuleList(
            _Stage(blocks + (level > 0), filters, True, nonlinearity, dropout)
            for level in range(levels)
        )
        reaches: tuple[Reach, Reach] = ("above", "left")
        self.halvings = nn.ModuleList(
            nn.ModuleList(CausalConv2d(filters, filters, reach, stride=2) for reach in reaches)
            for _ in range(levels - 1)
        )
        self.doublings = nn.ModuleList(
            nn.ModuleList(CausalDoubling(filters, filters, reach) for reach in reaches)
            for _ in range(levels - 1)
        )
        self.out = Pointwise(
            filters, mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        # tells the zeros beyond the border from black
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        above = _down(self.above_first(x))
        left = _down(self.row_first(x)) + _right(self.left_first(x))
        states = [(above, left)]
        for level, stage in enumerate(self.down):
            for above_block, left_block in _pairs(stage):
                above = above_block(above)
                left = left_block(left, above)
                states.append((above, left))
            if level < len(self.halvings):
                halve_above, halve_left = cast(nn.ModuleList, self.halvings[level])
                above, left = halve_above(above), halve_left(left)
                states.append((above, left))
        above, left = states.pop()
        for level, stage in enumerate(self.up):
            for above_block, left_block in _pairs(stage):
                skipped_above, skipped_left = states.pop()
                above = above_block(above, skipped_above)
                left = left_block(left, torch.cat([above, skipped_left], dim=1))
            if level < len(self.doublings):
                double_above, double_left = cast(nn.ModuleList, self.doublings[level])
                above, left = double_above(above), double_left(left)
        # bf16 knows steps of half a grey level near black and white: too coarse for a mean
        with torch.autocast(left.device.type, enabled=False):
            out: Tensor = self.out(F.elu(left.float()))
            return out


def _pairs(stage: nn.Module) -> Iterable[Iterable[nn.Module]]:
    return cast(Iterable[Iterable[nn.Module]], stage)


def _down(h: Tensor) -> Tensor:
    """A row down: no row sees itself any more."""
    return F.pad(h, (0, 0, 1, -1))


def _right(h: Tensor) -> Tensor:
    """A column to the right."""
    return F.pad(h, (1, -1, 0, 0))


def penalty(network: nn.Module) -> Tensor:
    """The sum of all squared weights of its convolutions.

    Those of a channel sum to its squared gain.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Normed)]
    return torch.stack([layer.gain.square().sum() for layer in layers]).sum()
