"""Simplex weights, shells and boxes."""

from __future__ import annotations

import math

import pytest
import torch

from anomirror.latent import box, endpoints, interpolate, shell, simplex_weights


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_simplex_weights_are_positive_and_sum_to_one() -> None:
    weights = simplex_weights(1000, 3, generator())
    assert weights.shape == (1000, 3)
    assert weights.min() > 0
    assert torch.allclose(weights.sum(1), torch.ones(1000))
    assert weights.mean(0) == pytest.approx([1 / 3] * 3, abs=0.02)


def test_endpoints_of_one_interpolation_differ_and_each_column_is_a_permutation() -> None:
    chosen = endpoints(10, 3, generator())
    assert all(len(set(row)) == 3 for row in chosen.tolist())
    for column in chosen.T:
        assert sorted(column.tolist()) == list(range(10))


def test_interpolation_by_hand() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    mixed = interpolate(z, torch.tensor([[0, 1, 2]]), torch.tensor([[0.5, 0.25, 0.25]]))
    assert mixed.tolist() == [[0.25, 0.25]]
    mixed.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[0.5, 0.5], [0.25, 0.25], [0.25, 0.25]]


@pytest.mark.parametrize(
    ("direction", "low", "high"), [("inward", 6.0, 8.0), ("outward", 8.0, 10.0)]
)
def test_shell_radii_are_uniform_between_their_limits(
    direction: str, low: float, high: float
) -> None:
    radii = shell(4000, 64, 2.0, direction, generator()).norm(dim=1)  # type: ignore[arg-type]
    assert radii.min() >= low - 1e-4
    assert radii.max() <= high + 1e-4
    assert float(radii.mean()) == pytest.approx((low + high) / 2, abs=0.05)
    # in radius, not in volume
    assert float((radii < (low + high) / 2).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_shell_never_reaches_below_zero() -> None:
    assert shell(1000, 4, 50.0, "inward", generator()).norm(dim=1).max() <= 2.0 + 1e-5


def test_shell_directions_have_no_preference() -> None:
    z = shell(4000, 8, 1.0, "outward", generator())
    assert z.mean(0).abs().max() < 0.1


def test_box_side_follows_the_largest_coordinate() -> None:
    z = torch.tensor([[0.5, -3.0], [1.0, 2.0]])
    points = box(5000, z, 0.1, generator())
    assert points.abs().max() <= 3.3
    assert points.abs().max() > 3.25
    assert points.std() == pytest.approx(3.3 / math.sqrt(3), abs=0.05)
