"""PixelCNN++ sees what it may, Glow can be turned round, and both begin as their first minibatch
says.
"""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from anomirror.networks.data_dependent import data_dependent_init
from anomirror.networks.dcgan import Generator, WideCritic
from anomirror.networks.glow import Glow, Step
from anomirror.networks.pixelcnn import Nonlinearity, Normed, PixelCNN, penalty


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def started(network: PixelCNN, x: Tensor) -> PixelCNN:
    with torch.no_grad(), data_dependent_init(network):
        network(x)
    return network


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("nonlinearity", ["concat_elu", "relu"])
def test_a_pixel_depends_on_all_pixels_before_it_and_on_no_other(
    channels: int, nonlinearity: Nonlinearity
) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, channels, 8, 8) * 2 - 1
    network = started(PixelCNN(channels, 8, 2, 2, levels=3, nonlinearity=nonlinearity), x)
    jacobian = torch.zeros(64, 64)
    for _ in range(3):  # a rectifier may hide a pixel at one point
        at = torch.rand_like(x) * 2 - 1
        found = torch.autograd.functional.jacobian(lambda y: network(y).sum(1).flatten(), at)
        jacobian += found.abs().sum((1, 2)).reshape(64, 64)
    assert jacobian.triu().max() == 0
    assert (jacobian.tril(-1) > 0).sum() == 64 * 63 // 2


def test_parameters_of_the_published_sizes() -> None:
    assert count(PixelCNN(3, 160, 5, 10)) == 53_659_080  # about 54 million in the paper
    assert count(Glow(3, 3, 32, 512)) == 44_152_272


@pytest.mark.parametrize("size", [32, 64])
def test_shapes_at_other_sizes(size: int) -> None:
    x = torch.zeros(2, 5, size, size)
    assert PixelCNN(5, 4, 1, 3, levels=3)(x).shape == (2, 3 * (1 + 10 + 10), size, size)
    latents, log_determinant = Glow(5, 3, 1, 4)(x)
    assert sum(latent.z[0].numel() for latent in latents) == 5 * size * size
    assert log_determinant.shape == (2,)


def test_a_start_normalises_every_layers_output() -> None:
    torch.manual_seed(0)
    x = torch.rand(16, 1, 16, 16) * 2 - 1
    network = PixelCNN(1, 6, 1, 2, levels=2)
    outputs: dict[str, Tensor] = {}
    started(network, x)
    for name, layer in network.named_modules():
        if isinstance(layer, Normed):
            layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
    with torch.no_grad():
        network(x)
    for name, layer in network.named_modules():
        if isinstance(layer, Normed):
            assert outputs[name].mean((0, 2, 3)).abs().max() < 1e-3, name
            assert torch.allclose(
                outputs[name].std((0, 2, 3)), torch.tensor(layer.scale), rtol=0.02
            ), name


def test_the_penalty_is_the_sum_of_squared_weights() -> None:
    network = PixelCNN(1, 4, 1, 1, levels=1)
    layers = [layer for layer in network.modules() if isinstance(layer, Normed)]
    with torch.no_grad():
        for layer in layers:
            layer.gain.normal_()
    assert float(penalty(network)) == pytest.approx(
        sum(float(layer.weight().square().sum()) for layer in layers), rel=1e-5
    )


def moved_glow(channels: int, levels: int, steps: int) -> Glow:
    """In float64, with no weight where it began."""
    torch.manual_seed(0)
    glow = Glow(channels, levels, steps, 8).double()
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return glow


@pytest.mark.parametrize(("channels", "levels"), [(1, 1), (3, 2), (5, 3)])
def test_glow_inverts(channels: int, levels: int) -> None:
    glow = moved_glow(channels, levels, 3)
    x = torch.rand(4, channels, 8, 8, dtype=torch.float64) - 0.5
    latents, _ = glow(x)
    assert torch.allclose(glow.inverse([latent.z for latent in latents]), x, atol=1e-10)


def test_glow_inverts_in_bf16_but_for_the_rounding_of_its_couplings() -> None:
    glow = moved_glow(3, 2, 4).float()
    x = torch.rand(4, 3, 8, 8) - 0.5
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        latents, _ = glow(x)
        error = (glow.inverse([latent.z for latent in latents]) - x).abs()
    assert error.mean() < 2e-3
    assert error.max() < 0.05


def test_the_log_determinant_is_that_of_the_jacobian() -> None:
    glow = moved_glow(1, 2, 2)
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64) - 0.5

    def flat(y: Tensor) -> Tensor:
        return torch.cat([latent.z.flatten() for latent in glow(y.view(1, 1, 4, 4))[0]])

    _, log_determinant = glow(x)
    for image, found in zip(x, log_determinant, strict=True):
        jacobian = torch.autograd.functional.jacobian(flat, image.flatten())
        assert float(found) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


def test_samples_of_glow_are_as_likely_as_their_latents_say() -> None:
    glow = moved_glow(1, 2, 2)
    x = glow.sample(2000, 4, torch.Generator().manual_seed(0))
    assert torch.equal(x, glow.sample(2000, 4, torch.Generator().manual_seed(0)))
    assert not torch.allclose(x, glow.sample(2000, 4, torch.Generator().manual_seed(1)))
    latents, _ = glow(x)
    standard = torch.cat(
        [((of.z - of.mean) * torch.exp(-of.log_deviation)).flatten(1) for of in latents], 1
    )
    assert standard.mean().abs() < 0.02
    assert float(standard.var()) == pytest.approx(1.0, abs=0.03)
    frozen = glow.sample(3, 4, torch.Generator().manual_seed(0), temperature=0.0)
    assert torch.allclose(frozen[0], frozen[1])


def test_a_step_of_glow_starts_with_outputs_of_mean_0_and_deviation_1() -> None:
    torch.manual_seed(0)
    step = Step(4, 8)
    h = torch.randn(64, 4, 8, 8) * torch.tensor([0.1, 1, 5, 20.0])[:, None, None] + 3
    with torch.no_grad(), data_dependent_init(step):
        step(h)
    with torch.no_grad():
        normed = (h + step.norm.bias[:, None, None]) * step.norm.log_scale.exp()[:, None, None]
    assert normed.mean((0, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(normed.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    _, log_determinant = step(h)
    expected = 64 * float(step.norm.log_scale.sum()) + 64 * 2 * math.log(
        1 / (1 + math.exp(-2))
    )  # half the channels times sigmoid(2)
    assert float(log_determinant.detach()[0]) == pytest.approx(expected, rel=1e-4)


def test_members_of_an_ensemble_do_not_meet() -> None:
    torch.manual_seed(0)
    critic, generator = WideCritic(2, 32, 2, members=3), Generator(2, 32, 4, 4, members=3).eval()
    x = torch.randn(4, 3, 2, 32, 32)
    z = torch.randn(4, 3, 4)
    values, images = critic(x.flatten(1, 2)), generator(z.flatten(1))
    assert values.shape == (4, 3)
    assert images.shape == (4, 6, 32, 32)
    x[:, 1] += 1
    z[:, 1] += 1
    changed_values = (critic(x.flatten(1, 2)) - values).abs().amax(0)
    changed_images = (
        (generator(z.flatten(1)) - images).unflatten(1, (3, 2)).abs().amax((0, 2, 3, 4))
    )
    for changed in (changed_values, changed_images):
        assert (changed > 0).tolist() == [False, True, False]


def test_one_critic_is_the_papers() -> None:
    convolutions = [
        layer for layer in WideCritic(1, 32, 32).modules() if isinstance(layer, nn.Conv2d)
    ]
    shapes = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions]
    assert shapes == [
        (32, 5, 1),
        (32, 5, 2),
        (64, 5, 1),
        (64, 5, 2),
        (512, 7, 1),
        (128, 2, 1),
        (1, 1, 1),
    ]
    assert cast(Tensor, WideCritic(1, 128, 2)(torch.zeros(1, 1, 128, 128))).shape == (1, 1)
