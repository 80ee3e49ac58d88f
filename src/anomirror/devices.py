"""Where networks compute, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from anomirror.errors import SettingError
from anomirror.processes import launched, local_rank

Precision = Literal["auto", "float32", "bf16"]


def choose_device(device: str | None) -> torch.device:
    """``device`` by name; None is the GPU if there is one, else the CPU.

    Of several processes that train together each has a GPU of its own.

    Raises
    ------
    SettingError : the device does not exist here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and launched():
        device = f"cuda:{local_rank()}"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
        if chosen.type == "meta":
            raise RuntimeError("it holds no data")
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise SettingError(f"device={device!r} cannot be used here: {first}; use cpu") from error
    return chosen


def use_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether to compute in bf16 under autocast."""
    if precision not in ("auto", "float32", "bf16"):
        raise SettingError(f"precision={precision!r}: choose auto, float32 or bf16")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(
    precision: Precision, device: torch.device, *, cached: bool
) -> AbstractContextManager[object]:
    """Context that computes in ``precision``.

    With ``cached`` a weight is cast once for all, so it must not change inside.
    """
    if use_bf16(precision, device):
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=cached)
    return nullcontext()
