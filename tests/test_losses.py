"""Losses against values computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomirror.losses import feature_distance, gradient_penalty, latent_norm, wasserstein_gap


def test_wasserstein_gap_by_hand() -> None:
    assert wasserstein_gap(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 1.0, 4.0])) == 2.0


def test_latent_norm_is_not_squared() -> None:
    assert latent_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == 3.0


def test_feature_distance_is_the_l1_norm() -> None:
    f_same, f_other = (
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        torch.tensor([[0.0, 4.0], [-1.0, 1.0]]),
    )
    assert feature_distance(f_same, f_other).tolist() == [3.0, 2.0]


def test_gradient_penalty_of_a_linear_critic_is_analytic_and_per_sample() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 4, 4)
    generator = torch.Generator().manual_seed(0)

    def critic(x: Tensor) -> Tensor:
        return (x * weight).sum((1, 2, 3))

    real, fake = torch.randn(5, 2, 4, 4), torch.randn(5, 2, 4, 4)
    penalty = gradient_penalty(critic, real, fake, generator)
    assert float(penalty) == pytest.approx((float(weight.norm()) - 1.0) ** 2, rel=1e-5)


def test_gradient_penalty_reaches_the_critic() -> None:
    weight = torch.ones(1, 2, 2, requires_grad=True)
    penalty = gradient_penalty(
        lambda x: (x * weight).sum((1, 2, 3)),
        torch.zeros(3, 1, 2, 2),
        torch.ones(3, 1, 2, 2),
        torch.Generator(),
    )
    penalty.backward()
    assert weight.grad is not None
    # d (|w| - 1)^2 / dw at |w| = 2
    assert torch.allclose(weight.grad, torch.full((1, 2, 2), 2 * (2 - 1) * 0.5))
