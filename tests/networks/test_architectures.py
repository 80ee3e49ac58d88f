"""Sizes and shapes of the networks, spectral norms, batch-norm bookkeeping."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from anomirror.networks.batch_norm import recompute, running_statistics, without_updating_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.residual import Critic, Generator
from anomirror.networks.spectral import SpectralConv2d, cached_weights, conv2d, converge_sigma


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_are_those_of_the_paper() -> None:
    assert count(Encoder(3, 32, 128, 64)) == 1_183_616
    assert count(Generator(3, 32, 128, 256)) == 4_276_739
    assert count(Critic(6, 32, 128)) == 1_057_664


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shapes_at_every_size(size: int) -> None:
    x = torch.zeros(2, 5, size, size)
    z = Encoder(5, size, 7, 4)(x)
    assert z.shape == (2, 7)
    x_hat = Generator(5, size, 7, 4)(z)
    assert x_hat.shape == x.shape
    assert x_hat.abs().max() <= 1
    critic = Critic(10, size, 6)
    pair = torch.cat([x, x_hat], 1)
    assert critic(pair).shape == (2,)
    assert critic.features(pair).shape == (2, 6)
    assert critic.features(pair).min() >= 0


def test_every_doubling_adds_one_block_to_each_network() -> None:
    for size, more in ((32, 0), (64, 1), (128, 2), (256, 3)):
        assert len(Encoder(1, size, 8, 4).features) == 3 * (3 + more)
        assert len(Generator(1, size, 8, 4).blocks) == 3 + more
        assert len(Critic(2, size, 4).blocks) == 4 + more


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.flatten(1), 2))


def test_spectral_norm_is_one_after_settling_and_iterates_only_in_training() -> None:
    torch.manual_seed(0)
    layer = conv2d(8, 16, 3, spectral=True)
    assert isinstance(layer, SpectralConv2d)
    with torch.no_grad():
        layer.weight.mul_(5.0).add_(torch.randn_like(layer.weight))
    before = layer.u.clone()
    layer.eval()(torch.zeros(1, 8, 4, 4))
    assert torch.equal(layer.u, before)
    layer.train()(torch.zeros(1, 8, 4, 4))
    assert not torch.equal(layer.u, before)
    converge_sigma(layer, 200)
    assert largest_singular_value(layer.normalized().detach()) == pytest.approx(1.0, abs=2e-3)


def test_every_layer_of_the_critic_is_normalised_unless_switched_off() -> None:
    torch.manual_seed(0)
    critic = Critic(2, 32, 8).eval()
    converge_sigma(critic, 200)
    layers = [m for m in critic.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 11
    for layer in layers:
        assert largest_singular_value(layer.normalized().detach()) == pytest.approx(1.0, abs=0.02)  # type: ignore[operator]
    assert not any(hasattr(m, "normalized") for m in Critic(2, 32, 8, spectral=False).modules())


def test_spectral_norm_stays_float32_under_autocast() -> None:
    layer = conv2d(4, 4, 3, spectral=True).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.normalized().dtype == torch.float32  # type: ignore[operator]
    assert torch.equal(layer.normalized(), layer.normalized())  # type: ignore[operator]


def test_networks_can_be_copied_and_pickled() -> None:
    critic = Critic(2, 32, 4).eval()
    x = torch.randn(3, 2, 32, 32)
    for twin in (copy.deepcopy(critic), pickle.loads(pickle.dumps(critic))):
        assert torch.equal(twin(x), critic(x))


def test_running_statistics_are_used_and_kept() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2).train()
    x = torch.randn(8, 2, 4, 4) * 3 + 5
    before = copy.deepcopy(norm.state_dict())
    with running_statistics(norm):
        assert torch.allclose(norm(x), x, atol=1e-3)  # fresh statistics are 0 and 1
    assert norm.training
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())


def test_unrecorded_batches_are_normalised_but_leave_no_trace() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2).train()
    x = torch.randn(8, 2, 4, 4) * 3 + 5
    with without_updating_statistics(norm):
        assert norm(x).mean().abs() < 1e-5
    assert torch.equal(norm.running_mean, torch.zeros(2))
    assert norm.momentum == 0.1


def test_recomputed_statistics_are_those_of_the_data() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2)
    x = torch.randn(64, 2, 4, 4) * 3 + 5
    chain = nn.Sequential(norm)
    recompute(chain, x.split(16))
    assert torch.allclose(norm.running_mean, x.mean((0, 2, 3)), atol=1e-4)
    assert not chain.training
    assert not norm.training


def test_folded_norms_are_computed_once_give_the_same_values_and_end_with_the_block() -> None:
    critic = Critic(2, 32, 8).eval()
    x = torch.rand(3, 2, 32, 32)
    first = next(layer for layer in critic.modules() if isinstance(layer, SpectralConv2d))
    weight, bias = first.weight, cast(Tensor, first.bias)
    with torch.no_grad():
        expected = critic(x)
        with cached_weights(critic):
            assert torch.equal(critic(x), expected)
            with cached_weights(critic):  # another one within, as a monitor that scores would open
                pass
            weight.mul_(torch.linspace(1, 2, len(weight))[:, None, None, None])
            # kept while the block says that nothing changes
            assert torch.equal(critic(x), expected)
            in_training = copy.deepcopy(critic).train()
            assert not torch.equal(in_training(x), expected)
        bias.add_(0.0)
        assert not torch.equal(critic(x), expected)


def test_folded_norms_are_each_threads_own() -> None:
    critic = Critic(2, 32, 8).eval()
    layer = next(layer for layer in critic.modules() if isinstance(layer, SpectralConv2d))
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with cached_weights(critic):
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(10)
    # begins after the other block has, and ends after it
    with torch.no_grad(), cached_weights(critic):
        leave.set()
        other.join()
    with torch.no_grad():
        layer.weight.zero_()
        assert not layer.normalized().any()
