"""The joined convolutions against the two operations that they join."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from anomirror.networks.resampling import conv_then_halve, double_then_conv
from anomirror.networks.residual import CriticBlock, UpBlock
from studies.speed.reference_ama import written_out

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def literal_halving(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)


def literal_doubling(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)


PAIRS = [
    pytest.param(conv_then_halve, literal_halving, id="halve"),
    pytest.param(double_then_conv, literal_doubling, id="double"),
]


def drawn(dtype: torch.dtype, height: int = 6, width: int = 10) -> list[Tensor]:
    """Images whose border is as strong as their inside, a kernel without any symmetry, a bias."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5, height, width), (7, 5, 3, 3), (7,)]
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    ]


@pytest.mark.parametrize(("joined", "literal"), PAIRS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_two_operations(
    joined: Layer, literal: Layer, memory_format: torch.memory_format
) -> None:
    x, weight, bias = drawn(torch.float64)
    x_laid_out = x.contiguous(memory_format=memory_format)
    expected = literal(x, weight, bias)
    out = joined(x_laid_out, weight, bias)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    wanted = torch.autograd.grad(expected, [x, weight, bias], direction)
    found = torch.autograd.grad(out, [x, weight, bias], direction)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("joined", "literal"), PAIRS)
def test_the_smallest_and_odd_sides(joined: Layer, literal: Layer) -> None:
    for height, width in ((2, 2), (1, 1), (5, 7)):
        if joined is conv_then_halve and height % 2:
            continue  # halved sides are even
        x, weight, bias = drawn(torch.float64, height, width)
        torch.testing.assert_close(
            joined(x, weight, bias), literal(x, weight, bias), rtol=1e-12, atol=1e-12
        )


def test_the_blocks_of_the_networks_are_joined() -> None:
    for block, side in ((UpBlock(8), 8), (CriticBlock(8, 8, down=True), 16)):
        x = torch.randn(2, 8, side, side, generator=torch.Generator().manual_seed(0))
        block.eval()
        counts, values = [], []
        for one in (block, written_out(copy.deepcopy(block))):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                values.append(one(x))
            counts.append(counter.get_total_flops())
        torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)
        assert counts[0] < 0.8 * counts[1]


def products(layer: Layer, *arguments: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(*arguments)
    return counter.get_total_flops()


def test_fewer_products_are_computed() -> None:
    x, weight, bias = drawn(torch.float32, 32, 32)
    assert (
        products(conv_then_halve, x, weight, bias) * 36
        == products(literal_halving, x, weight, bias) * 16
    )
    # four outputs for each of 33 x 33 places, of which 32 x 32 are kept
    assert (
        products(double_then_conv, x, weight, bias) * 36 * 32**2
        == products(literal_doubling, x, weight, bias) * 16 * 33**2
    )


@pytest.mark.parametrize(("joined", "literal"), PAIRS)
def test_bf16_is_as_close_to_the_exact_result_as_the_two_operations_are(
    joined: Layer, literal: Layer
) -> None:
    x, weight, bias = (t.detach() for t in drawn(torch.float32, 32, 32))
    exact = literal(x, weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        error, literal_error = (
            (layer(x, weight, bias).float() - exact).square().mean().sqrt()
            for layer in (joined, literal)
        )
    assert 0 < error < 1.2 * literal_error
