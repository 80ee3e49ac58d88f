"""How fast work could be.

Its multiply-adds and bytes, operation by operation, at what the machine does at its best.

Each operation takes at least as long as its multiply-adds at the speed of a large matrix product,
and as its operands, read and written once, at the speed of a large copy; the floor of some work is
the sum of that over its operations. Operations that find their operands in a cache can be faster
than a copy; fusing operations would lower the floor itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

SIDE, COPIED, BEST_OF = 2048, 1 << 28, 5


@dataclass(frozen=True)
class Machine:
    """What a device does at its best, in one precision.

    Multiply-adds, and bytes read or written, in a second.
    """

    multiply_adds_per_second: float
    bytes_per_second: float


@dataclass
class Counted:
    """Operations of some work: multiply-adds and bytes of each."""

    operations: list[tuple[int, int]] = field(default_factory=list)

    def since(self, start: int, end: int | None = None) -> Counted:
        """A part of the operations, by their numbers."""
        return Counted(self.operations[start:end])

    def per_image(self, images: int, machine: Machine) -> dict[str, float]:
        """For the tables."""
        products, moved = (sum(each) for each in zip(*self.operations, strict=True))
        floor = self.floor(machine) / images
        return {"multiply_adds": products / images, "bytes": moved / images, "floor_seconds": floor}

    def floor(self, machine: Machine) -> float:
        """Seconds below which the work cannot be done as it is written."""
        return sum(
            max(products / machine.multiply_adds_per_second, moved / machine.bytes_per_second)
            for products, moved in self.operations
        )


_MOVING_NOTHING = {torch.ops.aten._unsafe_view, torch.ops.aten.empty_like, torch.ops.aten.detach}


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = Counted()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view and func._overloadpacket not in _MOVING_NOTHING:
            tensors = {id(t): t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)}
            moved = sum(t.numel() * t.element_size() for t in tensors.values())
            count = flop_registry.get(func._overloadpacket)
            products = 0 if count is None else count(*args, **kwargs, out_val=out) // 2
            self.counted.operations.append((products, moved))
        return out


@contextmanager
def counting() -> Iterator[Counted]:
    """Counts what is done inside, as it is done."""
    counter = _Counter()
    with counter:
        yield counter.counted


def at_its_best(device: torch.device, dtype: torch.dtype) -> Machine:
    """Measured: a large matrix product, and a large copy; the best of some."""
    a, b = (torch.rand(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Machine(
        SIDE**3 / _best(lambda: a @ b, device),
        2 * COPIED / _best(lambda: target.copy_(source), device),
    )


def _best(work: Callable[[], Any], device: torch.device) -> float:
    seconds = []
    for _ in range(BEST_OF + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
