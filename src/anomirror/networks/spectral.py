"""Spectral normalisation (Miyato et al. 2018) that stays in float32 under autocast."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

_Layer = TypeVar("_Layer", bound=nn.Module)


class SpectralNorm(nn.Module):
    """W to W / sigma(W); sigma by one power iteration for each training forward, none in eval mode.

    ``torch.nn.utils.parametrizations.spectral_norm`` runs its power iteration in bf16 under autocast, which leaves sigma
    with two significant digits; this one does not. A 0 weight stays 0.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        self.iterate(weight.detach(), 15)

    @torch.no_grad()
    def iterate(self, weight: Tensor, times: int) -> None:
        """``times`` power iterations."""
        matrix = weight.flatten(1)
        for _ in range(times):
            self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
            self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                self.iterate(weight.detach(), 1)
            u, v = self.u.clone(), self.v.clone()  # the next iteration must not change what autograd has saved
            sigma = u @ weight.flatten(1) @ v
            return weight / sigma.clamp_min(1e-12)


def spectral_norm(layer: _Layer) -> _Layer:
    """``layer`` with its ``weight`` spectrally normalised from now on."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    parametrize.register_parametrization(layer, "weight", SpectralNorm(weight))
    return layer


@torch.no_grad()
def settle(module: nn.Module, times: int = 30) -> None:
    """Power iterations for every normalised layer: needed after its weights were averaged or replaced."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrization = layer.parametrizations["weight"]  # type: ignore[index]
            norm = parametrization[0]  # type: ignore[index]
            if isinstance(norm, SpectralNorm):
                norm.iterate(parametrization.original, times)  # type: ignore[union-attr, arg-type]
