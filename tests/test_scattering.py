"""Wavelet scattering: against direct convolutions, and by what it is made for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.signal import convolve2d
from torch import Tensor

from anomirror.data.sample import Sample
from anomirror.scattering import (
    CUT,
    FREQUENCY,
    NOISE,
    WIDTH,
    log_scattering,
    morlet,
    path_count,
    scattered_shape,
    scattering,
    wavelets,
)

SCALES, ANGLES = 3, 4


@pytest.fixture(scope="module")
def images() -> Tensor:
    """``(2, 3, 32, 32)`` float64 noise."""
    return torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clothes(sample: Sample) -> Tensor:
    """``(20, 1, 28, 28)`` float64 in [-1, 1]."""
    return torch.from_numpy(sample.train[:20]).double()[:, None] / 127.5 - 1


def by_definition(image: np.ndarray) -> np.ndarray:
    """One channel ``(h, w)`` by direct convolutions, as the docstrings say it."""

    def modulus(u: np.ndarray, scale: int, at: int) -> np.ndarray:
        psi = wavelets(scale, ANGLES)[:, 0].numpy()
        kernel = psi[at] + 1j * psi[ANGLES + at]
        whole = np.pad(u, len(kernel) // 2, mode="reflect")
        return np.abs(convolve2d(whole, kernel, mode="valid"))[:: 2**scale, :: 2**scale]

    def averaged(u: np.ndarray, side: int) -> np.ndarray:
        return u.reshape(len(u) // side, side, -1, side).mean((1, 3))

    first, second = [averaged(image, 2**SCALES)], []
    for fine in range(SCALES):
        of_scale = [modulus(image, fine, at) for at in range(ANGLES)]
        first += [averaged(u, 2 ** (SCALES - fine)) for u in of_scale]
        for coarse in range(fine + 1, SCALES):
            for u in of_scale:
                for at in range(ANGLES):
                    v = modulus(u, coarse - fine, at)
                    second.append(averaged(v, 2 ** (SCALES - coarse)))
    return np.stack(first + second)


def test_it_equals_direct_convolutions(images: Tensor) -> None:
    found = scattering(images, SCALES, ANGLES).reshape(2, 3, -1, 4, 4)
    assert found.shape[2] == path_count(SCALES, ANGLES)
    for image, paths in zip(images.flatten(0, 1), found.flatten(0, 1), strict=True):
        assert_allclose(paths, by_definition(image.numpy()), rtol=1e-5, atol=1e-8)
    single = scattering(images.float(), SCALES, ANGLES).reshape(2, 3, -1, 4, 4)
    assert_allclose(single, found, rtol=1e-3, atol=1e-6)


def test_a_wavelet_by_hand() -> None:
    """The middle of the finest one: (1 - beta) / (2 pi sigma^2), and beta from its sums."""
    steps = np.arange(-2, 3)
    assert math.ceil(CUT * WIDTH) == 2
    gaussian = np.exp(-(steps**2) / (2 * WIDTH**2))
    beta = (np.cos(FREQUENCY * steps) * gaussian).sum() / gaussian.sum()
    psi = morlet(0, 0.0)
    assert psi.shape == (5, 5)
    assert psi[2, 2].item() == pytest.approx((1 - beta) / (2 * math.pi * WIDTH**2))
    assert abs(psi.sum()) < 1e-12


def test_all_wavelets_together_gain_no_energy() -> None:
    """So a scattering moves no further than its image does."""
    for angles in (1, 4, 6, 8):
        total = torch.zeros(96, 96, dtype=torch.float64)
        for scale in range(4):
            bank = torch.complex(*wavelets(scale, angles)[:, 0].chunk(2))
            energy = torch.fft.fft2(bank, s=(96, 96)).abs().square().sum(0)
            total += (energy + energy.flip(0, 1).roll((1, 1), (0, 1))) / 2
        assert 0.98 < total.max() <= 1.0 + 1e-3


def test_a_wave_answers_at_its_scale_and_angle() -> None:
    steps = torch.arange(64, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    for scale in range(SCALES):
        for at in range(ANGLES):
            angle, frequency = math.pi * at / ANGLES, FREQUENCY / 2**scale
            wave = torch.cos(frequency * (x * math.cos(angle) + y * math.sin(angle)))
            first = scattering(wave[None, None], SCALES, ANGLES)[0, 1 : 1 + SCALES * ANGLES]
            middle = first[:, 2:-2, 2:-2].mean((1, 2))
            assert int(middle.argmax()) == scale * ANGLES + at


def test_a_constant_image_has_its_mean_and_nothing_else() -> None:
    paths = scattering(torch.full((1, 1, 32, 32), 0.3, dtype=torch.float64), SCALES, ANGLES)[0]
    assert_allclose(paths[0], 0.3, rtol=1e-12)
    assert paths[1:].abs().max() < 1e-5


def test_a_turned_image_has_its_angles_turned(images: Tensor) -> None:
    """A quarter of a turn: half of the angles further."""

    def energies(x: Tensor) -> Tensor:
        first = scattering(x[..., :31, :31], SCALES, ANGLES)[:, 1 : 1 + SCALES * ANGLES]
        return first.mean((0, 2, 3)).reshape(SCALES, ANGLES)

    whole = images.flatten(0, 1)[:, None, :31, :31]
    turned = energies(whole.rot90(1, (2, 3)))
    assert_allclose(turned, energies(whole).roll(ANGLES // 2, 1), rtol=0.03)
    assert not np.allclose(turned, energies(whole), rtol=0.03)


def test_a_shift_or_a_small_warp_moves_it_less_than_pixels(clothes: Tensor) -> None:
    def moved(change: Tensor, by: Tensor) -> float:
        return float(change.flatten(1).norm(dim=1).mean() / by.flatten(1).norm(dim=1).mean())

    shifted = clothes.roll(1, 3)
    steps = torch.linspace(-1, 1, 28, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([x + 0.03 * torch.sin(3 * y), y], -1).expand(20, -1, -1, -1)
    warped = torch.nn.functional.grid_sample(
        clothes, grid, padding_mode="border", align_corners=True
    )
    paths = scattering(clothes, SCALES, ANGLES)
    for other in (shifted, warped):
        pixels = moved(other - clothes, clothes)
        features = moved(scattering(other, SCALES, ANGLES) - paths, paths)
        assert features < 0.5 * pixels


def test_twice_the_contrast_adds_the_same_to_every_logarithm(images: Tensor) -> None:
    paths, bright = (log_scattering(x, SCALES, ANGLES) for x in (50 * images, 100 * images))
    moduli = np.arange(paths.shape[1]) % path_count(SCALES, ANGLES) != 0
    strong = paths[:, moduli] > math.log(30 * NOISE)
    assert strong.double().mean() > 0.5
    assert_allclose((bright - paths)[:, moduli][strong], math.log(2), atol=0.05)
    assert_allclose(bright[:, ~moduli], 2 * paths[:, ~moduli])


def test_gradients_are_those_of_the_function() -> None:
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda t: log_scattering(t, 2, 2), x.requires_grad_())
    flat = torch.zeros(1, 1, 8, 8, requires_grad=True)
    log_scattering(flat, 2, 2).sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_an_image_is_the_same_in_every_batch(images: Tensor) -> None:
    together = log_scattering(images.float(), SCALES, ANGLES)
    alone = torch.cat([log_scattering(x[None].float(), SCALES, ANGLES) for x in images])
    assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 32), (1, 33, 30)])
def test_any_size_has_the_shape_that_is_said(shape: tuple[int, int, int]) -> None:
    paths = scattering(torch.zeros(2, *shape), SCALES, ANGLES)
    assert paths.shape == (2, *scattered_shape(shape, SCALES, ANGLES))
