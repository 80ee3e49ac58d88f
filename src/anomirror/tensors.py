"""Tensors of several modules under one set of names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor's name with ``prefix.`` before it."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix.``, without it."""
    return {
        name[len(prefix) + 1 :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def state_tensors(**modules: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of several modules under one set of names."""
    return {
        name: t
        for prefix, m in modules.items()
        for name, t in prefixed(prefix, m.state_dict()).items()
    }
