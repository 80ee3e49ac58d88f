"""Networks of the adversarial and one-class systems: sizes, shapes, and what they must not have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anomirror.networks.convolutional import Encoder
from anomirror.networks.dcgan import Discriminator, JointDiscriminator
from anomirror.networks.dense import BoxClassifier, PairDiscriminator, dense
from anomirror.networks.lenet import Hypersphere, LeNet, LeNetDecoder
from anomirror.networks.spectral import SpectralConv2d, SpectralLinear
from anomirror.networks.unet import UNet


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_of_the_published_sizes() -> None:
    """Of Deep SVDD as its released code has them; for MNIST but for the dense layer, which there
    sees maps of 7x7.
    """
    assert (
        count(LeNet(3, 32, 128, (32, 64, 128)))
        == 3 * 32 * 25 + 32 * 64 * 25 + 64 * 128 * 25 + 128 * 16 * 128
    )
    assert (
        count(LeNetDecoder(3, 32, 128, (32, 64, 128)))
        == 8 * 128 * 25 + 128 * 64 * 25 + 64 * 32 * 25 + 32 * 3 * 25
    )
    assert count(LeNet(1, 32, 32, (8, 4))) == 8 * 25 + 8 * 4 * 25 + 4 * 64 * 32


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shapes_at_every_size(size: int) -> None:
    x = torch.rand(2, 5, size, size) * 2 - 1
    for widths in ((4,), (4, 3), (4, 3, 2)):
        z = LeNet(5, size, 16, widths)(x)
        assert z.shape == (2, 16)
        x_hat = LeNetDecoder(5, size, 16, widths)(z)
        assert x_hat.shape == x.shape
        assert x_hat.min() >= 0
        assert x_hat.max() <= 1
    x_hat = UNet(5, size, 2)(x)
    assert x_hat.shape == x.shape
    assert x_hat.abs().max() <= 1
    discriminator = Discriminator(5, size, 3)
    assert discriminator.features(x).shape == (2, 16 * 12)
    assert discriminator(x).shape == (2,)
    assert JointDiscriminator(5, size, 7, 3, dropout=0.1)(x, torch.zeros(2, 7)).shape == (2,)


def test_the_network_of_deep_svdd_has_nothing_that_could_be_a_constant() -> None:
    network = LeNet(1, 32, 16, (4, 4))
    assert not any(getattr(module, "bias", None) is not None for module in network.modules())
    assert not any(
        module.affine for module in network.modules() if isinstance(module, nn.BatchNorm2d)
    )
    assert float(network.eval()(torch.zeros(1, 1, 32, 32)).detach().abs().max()) == 0


def test_a_hypersphere_is_the_squared_distance_to_its_centre() -> None:
    sphere = Hypersphere(1, 32, 16, (4, 4)).eval()
    sphere.centre.copy_(torch.arange(16.0))
    x = torch.rand(3, 1, 32, 32)
    expected = (sphere.phi(x) - torch.arange(16.0)).pow(2).sum(1)
    torch.testing.assert_close(sphere(x), expected)


def test_everything_that_is_large_goes_round_the_bottleneck_of_a_u_net() -> None:
    torch.manual_seed(0)
    network = UNet(1, 32, 2).eval()
    assert len(network.down) == len(network.up) == 5
    x = torch.rand(1, 1, 32, 32)
    inner = [tuple(level.shape[-2:]) for level in _outputs(network.down, x)]
    assert inner == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    cut = network.up[-1][1]  # what the last layer sees of the first level
    with torch.no_grad():
        before = network(x)
        cut.weight[2:].zero_()  # type: ignore[index, union-attr, operator]
        assert not torch.allclose(network(x), before)


def _outputs(layers: nn.ModuleList, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for layer in layers:
        x = layer(x)
        found.append(x)
    return found


def test_norms_of_a_discriminator() -> None:
    def kinds(network: nn.Module) -> tuple[int, int]:
        spectral = sum(isinstance(module, SpectralConv2d) for module in network.modules())
        return spectral, sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    assert kinds(Discriminator(1, 32, 2)) == (0, 2)
    assert kinds(Discriminator(1, 32, 2, norm="spectral")) == (3, 0)
    assert kinds(Discriminator(1, 32, 2, norm="both")) == (3, 2)
    assert kinds(Discriminator(1, 32, 2, norm=None)) == (0, 0)
    assert kinds(Encoder(1, 32, 4, 2, spectral=True)) == (3, 3)
    codes = PairDiscriminator(4, (6, 3), dropout=0.2)
    assert sum(isinstance(module, SpectralLinear) for module in codes.modules()) == 2


def test_a_strided_convolution_is_normalised_as_it_is_applied() -> None:
    torch.manual_seed(0)
    layer = Discriminator(1, 32, 4, norm="spectral").body[0].eval()
    assert isinstance(layer, SpectralConv2d)
    x = torch.rand(1, 1, 32, 32)
    expected = nn.functional.conv2d(
        x, layer.weight / torch.linalg.matrix_norm(layer.weight.flatten(1), 2), stride=2, padding=1
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-2, atol=1e-3)


def test_logits_are_float32_under_autocast() -> None:
    """In bf16 logits near 25 would all be 24.9 or 25.1."""
    torch.manual_seed(0)
    networks = (Discriminator(1, 32, 4), BoxClassifier(16, [8], 0.0))
    for network, x in zip(networks, (torch.rand(64, 1, 32, 32), torch.rand(64, 16)), strict=True):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            network.eval().to_logit.bias.fill_(25.0)  # type: ignore[operator, union-attr]
            logits = network(x)
        assert logits.dtype == torch.float32
        assert len(logits.unique()) > 50


def test_dense_layers_drop_values_in_training_alone() -> None:
    layers = dense(4, (64, 32), dropout=0.5)
    x = torch.ones(2, 4)
    assert not torch.equal(layers(x), layers(x))
    layers.eval()
    assert torch.equal(layers(x), layers(x))


def test_a_box_is_one_to_minus_one_for_the_classifier() -> None:
    classifier = BoxClassifier(2, [8], 0.0).eval()
    z = torch.rand(5, 2)
    plain = classifier(2 * z - 1)
    classifier.low.zero_()
    torch.testing.assert_close(classifier(z), plain)
    classifier.high.zero_()  # of no width: all that is left is 0
    torch.testing.assert_close(classifier(z), classifier(z + 1))
