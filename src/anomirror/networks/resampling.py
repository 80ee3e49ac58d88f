"""A 3x3 convolution together with the halving after it or the doubling before it.

The same sums from fewer products.

One after the other, more than half of the products of such a pair are spent on pixels that are
averaged right away, or that are copies of their neighbours. Precedent: the fused layers of Karras
et al. 2018 (arXiv 1710.10196).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def conv_then_halve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``avg_pool2d(conv2d(x, weight, bias, padding=1), 2)`` as one 4x4 convolution of stride 2.

    16 products for an output in place of 36. ``weight`` is ``(out, in, 3, 3)``; ``x`` ``(b, in, h,
    w)``, even h and w, gives ``(b, out, h / 2, w / 2)``.
    """
    return F.conv2d(x, _smeared(weight), bias, stride=2, padding=1)


def double_then_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``conv2d(interpolate(x, scale_factor=2), weight, bias, padding=1)`` as four 2x2 convolutions,
    then the doubling.

    16 products for four outputs in place of 36: the nine taps of an output meet only four different
    pixels. ``weight`` is ``(out, in, 3, 3)``; ``x`` ``(b, in, h, w)`` gives ``(b, out, 2 h, 2 w)``,
    channels last.
    """
    b, _, h, w = x.shape
    out = len(weight)
    # (out, in, tap, even or odd, tap, even or odd)
    taps = 4 * _smeared(weight).reshape(out, -1, 2, 2, 2, 2)
    # one row of the grid joins the odd outputs of a pixel with the even ones of the next: odd first
    kernels = taps.permute(3, 5, 0, 1, 2, 4).flip(0, 1).reshape(4 * out, -1, 2, 2)
    grid = F.conv2d(x, kernels, None if bias is None else bias.repeat(4), padding=1).permute(
        0, 2, 3, 1
    )
    doubled = (
        grid.reshape(b, h + 1, w + 1, 2, 2, out)
        .transpose(2, 3)
        .reshape(b, 2 * h + 2, 2 * w + 2, out)
    )
    return doubled[:, 1:-1, 1:-1].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _smeared(weight: Tensor) -> Tensor:
    """The 4x4 kernel of a 3x3 convolution and a 2x2 mean: the mean of the kernel's four shifts.

    It is computed in float32 under autocast.
    """
    return F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, stride=1)
