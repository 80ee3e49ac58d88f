"""The U-Net of Skip-GANomaly (Akcay et al. 2019), which is pix2pix's (Isola et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """``(b, channels, size, size)`` to as much in [-1, 1], through a bottleneck of one pixel and
    connections that go around it.

    4x4 convolutions of stride 2 down to 1x1, of ``width`` x 1, 2, 4, 8, 8, ... channels, and
    transposed ones on the way up, each of which sees what is as large on the way down as well.
    Batch norms but for the first, the innermost and the last.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        halvings = size.bit_length() - 1
        widths = [width * min(2**stage, 8) for stage in range(halvings)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for stage, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            normed = 0 < stage < halvings - 1
            self.down.append(
                nn.Sequential(
                    *([nn.LeakyReLU(0.2)] if stage else []),
                    nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not normed),
                    *([nn.BatchNorm2d(after)] if normed else []),
                )
            )
        for stage in reversed(range(halvings)):
            seen = widths[stage] if stage == halvings - 1 else 2 * widths[stage]
            after = widths[stage - 1] if stage else channels
            self.up.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(seen, after, 4, stride=2, padding=1, bias=not stage),
                    *([nn.BatchNorm2d(after)] if stage else []),
                )
            )
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        h, around = x, []
        for down in self.down:
            h = down(h)
            around.append(h)
        h = around.pop()
        for stage, up in enumerate(self.up):
            h = up(h if stage == 0 else torch.cat([h, around.pop()], dim=1))
        return torch.tanh(h.float())
