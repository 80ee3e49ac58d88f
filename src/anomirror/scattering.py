"""Wavelet scattering: averaged moduli of fixed wavelets, nothing of which is learnt.

Mallat, Group invariant scattering, 2012; Bruna, Mallat: Invariant scattering convolution networks,
PAMI 2013. Filters are as in kymatio, but round (a slant of 1), and in space instead of in
frequency: each is cut off where it is below 5 % of its middle, and is computed at the rate of its
own scale alone. Images are reflected at their borders.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

WIDTH, FREQUENCY, CUT = 0.8, 0.75 * math.pi, 2.5
"""Of the finest wavelet: standard deviation in pixels, frequency in radians per pixel; and where
each ends, in standard deviations."""

NOISE = 1e-3
"""Added before the logarithm: about what rounding to 8 bits leaves of a wavelet, in images in
[-1, 1]."""


def morlet(scale: int, angle: float) -> Tensor:
    """psi: a plane wave under a Gaussian, less so much of the Gaussian that its mean is 0.

    Returns
    -------
    ``(2 r + 1, 2 r + 1)`` complex128.

    Parameters
    ----------
    scale : each is twice as large as the one before, from 0.
    angle : of the wave, in radians.
    """
    sigma = WIDTH * 2**scale
    radius = math.ceil(CUT * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    gaussian = torch.exp(-(x.square() + y.square()) / (2 * sigma**2))
    along = x * math.cos(angle) + y * math.sin(angle)
    wave: Tensor = torch.exp(1j * FREQUENCY / 2**scale * along) * gaussian
    wavelet: Tensor = (wave - wave.sum() / gaussian.sum() * gaussian) / (2 * math.pi * sigma**2)
    return wavelet


@lru_cache(maxsize=64)
def wavelets(scale: int, angles: int) -> Tensor:
    """One scale at all angles of half a turn, ``(2 angles, 1, k, k)`` float64: real parts, then
    imaginary ones.

    Scaled so that all scales together never gain energy (:func:`gain`).
    """
    turned = torch.stack([morlet(scale, math.pi * at / angles) for at in range(angles)])
    return torch.cat([turned.real, turned.imag])[:, None] / math.sqrt(gain(angles))


@lru_cache(maxsize=16)
def gain(angles: int, scales: int = 4, size: int = 128) -> float:
    """The largest energy that these wavelets together give back of a real wave, over frequencies:
    the maximum of the Littlewood-Paley sum.
    """
    total = torch.zeros(size, size, dtype=torch.float64)
    for scale in range(scales):
        for at in range(angles):
            response = torch.fft.fft2(morlet(scale, math.pi * at / angles), s=(size, size))
            energy = response.abs().square()
            mirrored = energy.flip(0, 1).roll((1, 1), (0, 1))
            total += (energy + mirrored) / 2
    return float(total.max())


def path_count(scales: int, angles: int) -> int:
    """Channels for each channel of the image: the mean, and paths of one and of two wavelets.

    >>> path_count(3, 6)
    127
    """
    return 1 + scales * angles + scales * (scales - 1) // 2 * angles**2


def scattered_shape(
    image_shape: tuple[int, int, int], scales: int, angles: int
) -> tuple[int, int, int]:
    """What :func:`scattering` makes of one image ``(c, h, w)``.

    >>> scattered_shape((3, 32, 30), 3, 6)
    (381, 4, 4)
    """
    channels, height, width = image_shape
    rows, columns = (math.ceil(side / (1 << scales)) for side in (height, width))
    return channels * path_count(scales, angles), rows, columns


def scattering(x: Tensor, scales: int, angles: int) -> Tensor:
    """Averages of x, of |x * psi| and of ||x * psi| * psi'| with a coarser psi', over squares of
    ``2**scales`` pixels.

    Parameters
    ----------
    x : ``(n, c, h, w)``, float32 or float64.

    Returns
    -------
    ``(n, c * path_count, h / 2**scales, w / 2**scales)``, rounded up: for each channel the mean,
    then by scale and angle the first order, then by both scales and both angles the second.
    """
    n, channels, height, width = x.shape
    x = x.reshape(n * channels, 1, height, width)
    first, second = [_averaged(x, 2**scales)], []
    for fine in range(scales):
        moduli = _modulus(x, fine, angles)
        first.append(_averaged(moduli, 2 ** (scales - fine)))
        each = moduli.reshape(-1, 1, *moduli.shape[-2:])
        for coarse in range(fine + 1, scales):
            # on the grid of the finer one, the coarser one is as many scales up
            averaged = _averaged(_modulus(each, coarse - fine, angles), 2 ** (scales - coarse))
            second.append(averaged.reshape(n * channels, angles**2, *averaged.shape[-2:]))
    paths = torch.cat(first + second, dim=1)
    return paths.reshape(n, -1, *paths.shape[-2:])


def log_scattering(x: Tensor, scales: int, angles: int) -> Tensor:
    """:func:`scattering` with the logarithm of every modulus: a lamp that is twice as bright adds
    the same everywhere.
    """
    paths = scattering(x, scales, angles)
    paths = paths.reshape(len(x), x.shape[1], -1, *paths.shape[-2:])
    moduli = torch.log(paths[:, :, 1:] + NOISE)
    return torch.cat([paths[:, :, :1], moduli], dim=2).flatten(1, 2)


def _modulus(x: Tensor, scale: int, angles: int) -> Tensor:
    """|x * psi| at every ``2**scale``-th pixel, ``(n, 1, h, w)`` to ``(n, angles, h', w')``."""
    filters = wavelets(scale, angles).to(x)
    radius = filters.shape[-1] // 2
    padded = F.pad(x, (radius,) * 4, mode="reflect")
    # the reflected kernel is psi's conjugate: its modulus is the same
    parts = F.conv2d(padded, filters, stride=2**scale).square()
    # a gradient at 0 is wanted to be finite
    return (parts[:, :angles] + parts[:, angles:] + 1e-12).sqrt()


def _averaged(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)
