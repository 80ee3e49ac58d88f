"""Layers whose first weights depend on the data: a forward pass of one minibatch sets them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class DataDependentInit(nn.Module):
    """A layer that sets its own weights in a forward pass while ``started_by_data`` is true."""

    started_by_data = False


@contextmanager
def data_dependent_init(network: nn.Module) -> Iterator[None]:
    """Inside, a forward pass sets the weights of every such layer by the minibatch that it sees."""
    layers = [layer for layer in network.modules() if isinstance(layer, DataDependentInit)]
    for layer in layers:
        layer.started_by_data = True
    try:
        yield
    finally:
        for layer in layers:
            layer.started_by_data = False
