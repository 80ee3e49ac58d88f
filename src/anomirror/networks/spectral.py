"""Spectral normalisation (Miyato et al. 2018) that stays in float32 under autocast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KEPT: ContextVar[Mapping[nn.Module, Tensor]] = ContextVar("kept", default=MappingProxyType({}))
"""W / sigma(W) of the layers that do not change in a :func:`cached_weights` block, each thread's
its own.
"""


class _Spectral(nn.Module):
    """W / sigma(W) in place of W; sigma by one power iteration for each training forward.

    ``torch.nn.utils.parametrizations.spectral_norm`` iterates in bf16 under autocast, which leaves
    sigma with two significant digits; this does not, and its layers can be copied and pickled. A
    weight of zeros stays zero.
    """

    weight: Tensor
    u: Tensor
    v: Tensor

    def start(self) -> None:
        matrix = self.weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        self.iterate(15)

    @torch.no_grad()
    def iterate(self, times: int) -> None:
        """``times`` power iterations."""
        matrix = self.weight.flatten(1)
        for _ in range(times):
            self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
            self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def normalized(self) -> Tensor:
        """W / sigma(W)."""
        if not self.training and self in _KEPT.get():
            return _KEPT.get()[self]
        with torch.autocast(self.weight.device.type, enabled=False):
            if self.training:
                self.iterate(1)
            # the next iteration must not change what autograd has saved
            u, v = self.u.clone(), self.v.clone()
            sigma = u @ self.weight.flatten(1) @ v
            return self.weight / sigma.clamp_min(1e-12)


class SpectralConv2d(_Spectral, nn.Conv2d):
    """``nn.Conv2d`` with a spectrally normalised weight (as a matrix: out x the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normalized(), self.bias, self.stride, self.padding)


class SpectralLinear(_Spectral, nn.Linear):
    """``nn.Linear`` with a spectrally normalised weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalized(), self.bias)


def conv2d(before: int, after: int, side: int, *, spectral: bool) -> nn.Conv2d:
    """A size-keeping convolution, normalised or not."""
    if not spectral:
        return nn.Conv2d(before, after, side, padding=side // 2)
    layer = SpectralConv2d(before, after, side, padding=side // 2)
    layer.start()
    return layer


def halving(before: int, after: int, *, spectral: bool) -> nn.Conv2d:
    """DCGAN's 4x4 convolution of stride 2, without bias, normalised or not."""
    layer = (SpectralConv2d if spectral else nn.Conv2d)(
        before, after, 4, stride=2, padding=1, bias=False
    )
    if isinstance(layer, SpectralConv2d):
        layer.start()
    return layer


def linear(before: int, after: int, *, spectral: bool, bias: bool = False) -> nn.Linear:
    """A linear layer, normalised or not."""
    if not spectral:
        return nn.Linear(before, after, bias=bias)
    layer = SpectralLinear(before, after, bias=bias)
    layer.start()
    return layer


def kernel(layer: nn.Conv2d) -> Tensor:
    """The weight that ``layer`` convolves with, normalised if it is a normalised layer."""
    return layer.normalized() if isinstance(layer, SpectralConv2d) else layer.weight


@contextmanager
def cached_weights(module: nn.Module) -> Iterator[None]:
    """Inside, in this thread, every normalised layer in eval mode keeps the W / sigma(W) that it
    had at the beginning.
    """
    layers = [
        layer for layer in module.modules() if isinstance(layer, _Spectral) and not layer.training
    ]
    token = _KEPT.set({**_KEPT.get(), **{layer: layer.normalized().detach() for layer in layers}})
    try:
        yield
    finally:
        _KEPT.reset(token)


def converge_sigma(module: nn.Module, times: int = 30) -> None:
    """Power iterations for every normalised layer.

    Needed after its weights were averaged or replaced.
    """
    for layer in module.modules():
        if isinstance(layer, _Spectral):
            layer.iterate(times)
