"""Randomness of networks from a private generator: first weights, and dropout.

torch draws both from the state of the process, which belongs to the caller and to all threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_DRAWING = frozenset({"randn", "uniform_", "normal_", "kaiming_uniform_"})
"""Functions by which networks draw their first weights."""

_dropout: ContextVar[torch.Generator | None] = ContextVar("dropout", default=None)
"""What this thread's dropout draws from."""


class first_weights_from(TorchFunctionMode):  # noqa: N801 - a context manager, used as a function
    """Context in which this thread's modules draw their first weights from ``generator``."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """``func``, with a generator where it draws without one."""
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in _DRAWING and given.get("generator") is None:
            given["generator"] = self._generator
        return func(*args, **given)


@contextmanager
def dropout_from(generator: torch.Generator) -> Iterator[None]:
    """Context in which this thread's :class:`Dropout` draws from ``generator``, on its device."""
    token = _dropout.set(generator)
    try:
        yield
    finally:
        _dropout.reset(token)


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout`, value for value on the CPU, from the generator of
    :func:`dropout_from`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with values set to 0 with probability p and the others divided by 1 - p, while
        training.
        """
        generator = _dropout.get()
        if not self.training or self.p == 0 or generator is None:
            return F.dropout(x, self.p, self.training)
        mask = torch.empty_like(x).bernoulli_(1 - self.p, generator=generator)
        return x * mask.div_(1 - self.p)
