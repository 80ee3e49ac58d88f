"""Whose statistics a batch norm uses, and which images enter them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn


def _norms(modules: Iterable[nn.Module]) -> list[_BatchNorm]:
    return [
        layer for module in modules for layer in module.modules() if isinstance(layer, _BatchNorm)
    ]


@contextmanager
def running_statistics(*modules: nn.Module) -> Iterator[None]:
    """Inside, batch norms normalise with their running statistics, as in scoring, and do not change
    them.
    """
    norms = [norm for norm in _norms(modules) if norm.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


@contextmanager
def without_updating_statistics(*modules: nn.Module) -> Iterator[None]:
    """Inside, batch norms normalise with the batch's own statistics and do not enter them into the
    running ones.
    """
    norms = _norms(modules)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def recompute(chain: nn.Sequential, batches: Iterable[Tensor]) -> None:
    """Running statistics of all batch norms in ``chain``, afresh, as the mean over ``batches``.

    The chain is in eval mode afterwards.
    """
    update_bn(batches, chain.eval())
