"""Mixtures of discretised logistics, their units, and a network that learns a distribution known to
us.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import logistic, norm
from torch import Tensor

from anomirror.likelihood import (
    HALF_STEP,
    bits_per_dim,
    dequantized,
    deviation_of_groups,
    flow_log_probability,
    gaussian_log_density,
    mixture_log_probability,
)
from anomirror.networks.data_dependent import data_dependent_init
from anomirror.networks.pixelcnn import PixelCNN

GREY_LEVELS = torch.arange(256) * (2 * HALF_STEP) - 1


def random_parameters(count: int, channels: int, mixtures: int, seed: int = 0) -> Tensor:
    """Narrow, wide and out-of-range logistics, ``(count, p, 1, 1)``."""
    generator = torch.Generator().manual_seed(seed)
    each = 1 + 2 * channels + channels * (channels - 1) // 2
    parameters = torch.randn(count, mixtures * each, 1, 1, generator=generator)
    parameters[:, mixtures:] *= 3
    return parameters


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_256_probabilities_of_every_channel_sum_to_one_whatever_the_channels_before(
    channels: int,
) -> None:
    generator = torch.Generator().manual_seed(1)
    parameters = random_parameters(8, channels, 4)
    x = GREY_LEVELS[torch.randint(256, (8, channels, 1, 1), generator=generator)]
    every = x.repeat_interleave(256, 0)
    every[:, -1, 0, 0] = GREY_LEVELS.repeat(8)
    joint = (
        mixture_log_probability(parameters.repeat_interleave(256, 0), every)
        .double()
        .exp()
        .view(8, 256)
        .sum(1)
    )
    assert torch.allclose(joint, before_last(parameters, x), rtol=5e-4)


def before_last(parameters: Tensor, x: Tensor) -> Tensor:
    """p of all channels but the last, in float64 by scipy, component by component: an independent
    reference.
    """
    channels = x.shape[1]
    pairs = channels * (channels - 1) // 2
    mixtures = parameters.shape[1] // (1 + 2 * channels + pairs)
    out = []
    for own, pixel in zip(
        parameters[:, :, 0, 0].double().numpy(), x[:, :, 0, 0].double().numpy(), strict=True
    ):
        weights = np.exp(own[:mixtures]) / np.exp(own[:mixtures]).sum()
        total = 0.0
        for m in range(mixtures):
            rest = own[mixtures:].reshape(mixtures, -1)[m]
            means, scales = rest[:channels], np.exp(np.maximum(rest[channels : 2 * channels], -7))
            couplings = iter(np.tanh(rest[2 * channels :]))
            p = weights[m]
            for channel in range(channels):
                mean = means[channel] + sum(
                    next(couplings) * pixel[earlier] for earlier in range(channel)
                )
                if channel < channels - 1:
                    p *= mass(pixel[channel], mean, scales[channel])
            total += p
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


def mass(value: float, mean: float, scale: float) -> float:
    upper = 1.0 if value > 1 - HALF_STEP else logistic.cdf(value + HALF_STEP, mean, scale)
    lower = 0.0 if value < -1 + HALF_STEP else logistic.cdf(value - HALF_STEP, mean, scale)
    return float(upper - lower)


def test_a_logistic_of_any_width_has_a_finite_gradient() -> None:
    for log_scale in (-30.0, -7.0, 0.0, 7.0, 30.0, 300.0):
        parameters = (
            torch.tensor([0.0, 0.1, log_scale])
            .view(1, 3, 1, 1)
            .expand(1, 3, 16, 16)
            .clone()
            .requires_grad_(True)
        )
        mixture_log_probability(parameters, GREY_LEVELS.view(1, 1, 16, 16)).sum().backward()
        assert parameters.grad is not None
        assert bool(torch.isfinite(parameters.grad).all()), log_scale


def test_a_far_value_has_a_finite_likelihood_and_gradient() -> None:
    # weight, mean, log scale
    parameters = torch.tensor([0.0, 0.9, -9.0]).view(1, 3, 1, 1).requires_grad_(True)
    log_p = mixture_log_probability(parameters, torch.full((1, 1, 1, 1), -0.5))
    log_p.sum().backward()
    assert -math.inf < log_p.item() < -1000
    assert parameters.grad is not None
    assert bool(torch.isfinite(parameters.grad).all())


def test_a_model_to_which_all_images_are_alike_needs_8_bits_per_dim() -> None:
    logits, means, log_scales = torch.zeros(256), GREY_LEVELS, torch.full((256,), -7.0)
    parameters = (
        torch.cat([logits, torch.stack([means, log_scales], 1).flatten()])
        .view(1, -1, 1, 1)
        .expand(3, -1, 4, 4)
    )
    x = GREY_LEVELS[torch.randint(256, (3, 1, 4, 4), generator=torch.Generator().manual_seed(0))]
    assert bits_per_dim(mixture_log_probability(parameters, x), x).tolist() == pytest.approx(
        [8.0] * 3, abs=2e-3
    )


def test_two_pixels_are_learnt_to_their_entropy() -> None:
    """A pixel that is dark or bright, and its right neighbour, nine times in ten as the first is.

    To a model that takes no notice of the first, the second costs half a bit more.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> Tensor:
        x = torch.empty(count, 1, 1, 2)
        bright = torch.rand(count, generator=generator) < 0.5
        agrees = torch.rand(count, generator=generator) < 0.9
        for column, high in ((0, bright), (1, bright == agrees)):
            u = torch.rand(count, generator=generator).clamp(1e-6, 1 - 1e-6)
            values = torch.where(high, 0.4, -0.4) + 0.08 * torch.logit(u)
            x[:, 0, 0, column] = GREY_LEVELS[((values.clamp(-1, 1) + 1) * 127.5).round().long()]
        return x

    def entropy(share: float) -> float:
        p = np.array(
            [
                share * mass(v, 0.4, 0.08) + (1 - share) * mass(v, -0.4, 0.08)
                for v in GREY_LEVELS.tolist()
            ]
        )
        return float(-(p * np.log2(p)).sum())

    network = PixelCNN(1, filters=16, blocks=1, mixtures=10, levels=1, nonlinearity="relu")
    with torch.no_grad(), data_dependent_init(network):
        network(draw(256))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 5e-3 if step < 450 else 1e-3
        x = draw(256)
        loss = -mixture_log_probability(network(x), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        x = draw(20_000)
        needed = float(bits_per_dim(mixture_log_probability(network(x), x), x).mean()) * 2
    assert needed == pytest.approx(entropy(0.5) + entropy(0.9), abs=0.12)
    assert entropy(0.5) - entropy(0.9) > 0.4


def test_the_density_of_a_gaussian_is_scipys() -> None:
    z, mean, log_deviation = (
        torch.randn(3, 2, 4, 4),
        torch.randn(3, 2, 4, 4),
        torch.randn(3, 2, 4, 4) * 0.3,
    )
    expected = norm.logpdf(z.numpy(), mean.numpy(), log_deviation.exp().numpy()).sum((1, 2, 3))
    assert np.allclose(gaussian_log_density(z, mean, log_deviation).numpy(), expected, rtol=1e-4)


def test_a_flow_that_knows_nothing_needs_8_bits_per_dim() -> None:
    x = GREY_LEVELS[torch.randint(256, (2, 3, 4, 4))]
    y = dequantized(x, torch.rand(x.shape))
    assert -0.5 <= float(y.min()) <= float(y.max()) < 0.5
    assert torch.equal(((y + 0.5) * 256).floor(), ((x + 1) * 127.5).round())
    uniform = torch.zeros(2)  # log density of the uniform distribution on a cube of side 1
    assert torch.allclose(bits_per_dim(flow_log_probability(uniform, x), x), torch.tensor(8.0))


def test_groups_deviate_by_their_mean() -> None:
    assert deviation_of_groups(np.array([1.0, 5.0, 2.0, 8.0]), 4.0, 2).tolist() == [1.0, 1.0]
