"""Several processes that train one model, on one machine or more.

Started by ``torchrun``, each with its share of a minibatch.

    torchrun --nproc-per-node 2 -m anomirror.cli fit good-images/ --method ama --out model

Every process calls the same ``fit`` on the same images, which each can read, and holds the whole
model; gradients are means over the processes, so all of them take the same steps. gloo carries the
gradients between CPUs, nccl between GPUs.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Group:
    """The processes of a run: how many, and which of them this one is; by default it is alone."""

    rank: int = 0
    size: int = 1

    def share(self, indices: Sequence[int]) -> Sequence[int]:
        """This process's part of a minibatch; parts are equal if ``size`` divides it."""
        return indices[self.rank :: self.size]

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Each float tensor becomes its mean over the processes, in place, all of them in one
        message.
        """
        if self.size == 1:
            return
        floating = [tensor for tensor in tensors if tensor.is_floating_point()]
        if not floating:
            return
        message = torch.cat([tensor.flatten() for tensor in floating])
        self._sum(message)
        message /= self.size
        for tensor, mean in zip(
            floating, torch.split(message, [tensor.numel() for tensor in floating]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))

    def average_values(self, values: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Each number as its mean over the processes, which must all bring the same names."""
        if self.size == 1:
            return dict(values)
        means = torch.tensor(list(values.values()), dtype=torch.float32, device=device)
        self.average([means])
        return dict(zip(values, means.tolist(), strict=True))

    def agree(self, text: str, device: torch.device) -> bool:
        """Whether every process brings the same text; all of them learn it."""
        if self.size == 1:
            return True
        # fits into 64 bits with its sign
        own = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        extremes = torch.tensor([own, -own], device=device)
        distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
        return int(extremes[0]) == -int(extremes[1])

    def _sum(self, tensor: Tensor) -> None:
        distributed.all_reduce(tensor)


def launched() -> bool:
    """Whether ``torchrun`` started this process."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


def rank() -> int:
    """This process's number in the run that ``torchrun`` started, 0 if it is alone.

    Number 0 writes and speaks for all.
    """
    return int(os.environ["RANK"]) if launched() else 0


def count() -> int:
    """How many processes ``torchrun`` started, 1 if it started none."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def local_rank() -> int:
    """This process's number on its machine: the GPU that is its own."""
    return int(os.environ.get("LOCAL_RANK", 0)) if launched() else 0


def together() -> Group:
    """The caller's process group, the processes of ``torchrun``, or this process alone.

    The group of ``torchrun`` is made once for all fits of a process, and dissolved when the process
    ends.
    """
    if launched() and not distributed.is_initialized():
        # Its functions have the group of all processes as a default argument, as it is when they
        # are imported; optimisers import them. Imported now they hold none; later they would hold
        # this one, and its threads would outlive the interpreter.
        importlib.import_module("torch.distributed.nn.functional")
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        )
        atexit.register(_dissolve)
    if distributed.is_available() and distributed.is_initialized():
        return Group(distributed.get_rank(), distributed.get_world_size())
    return Group()


def _dissolve() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
