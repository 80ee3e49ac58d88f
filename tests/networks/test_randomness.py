"""First weights and dropout from a private generator are torch's own numbers, and the process's
state stays.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest
import torch
from torch import nn

from anomirror.networks.randomness import Dropout, dropout_from, first_weights_from
from anomirror.networks.spectral import conv2d


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Conv2d(3, 4, 3), lambda: nn.Linear(5, 6), lambda: conv2d(3, 4, 3, spectral=True)],
)
def test_first_weights_are_those_of_the_seeded_process(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(7)
    expected = make().state_dict()
    before = torch.get_rng_state()
    with first_weights_from(torch.Generator().manual_seed(7)):
        found = make().state_dict()
    assert all(torch.equal(found[name], values) for name, values in expected.items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_what_torchs_would(dtype: torch.dtype) -> None:
    x = (
        torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        .to(dtype)
        .requires_grad_()
    )
    torch.manual_seed(7)
    expected = nn.Dropout(0.3)(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    before = torch.get_rng_state()
    with dropout_from(torch.Generator().manual_seed(7)):
        found = Dropout(0.3)(x)
    assert torch.equal(found, expected)
    assert torch.equal(torch.autograd.grad(found.sum(), x)[0], slope)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_drawn_in_eval_mode_or_at_rate_zero() -> None:
    x = torch.ones(4, 4)
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    with dropout_from(generator):
        assert torch.equal(Dropout(0.5).eval()(x), x)
        assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(generator.get_state(), before)


def test_another_thread_draws_from_the_process_as_ever() -> None:
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    with first_weights_from(generator), dropout_from(generator):
        other = Thread(target=lambda: (nn.Linear(5, 6), Dropout(0.5)(torch.ones(4))))
        other.start()
        other.join()
    assert torch.equal(generator.get_state(), before)
