"""Likelihoods of images: mixtures of discretised logistics, and their units."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 256
"""Values of a pixel's channel: -1, -1 + 2 / 255, ..., 1."""

HALF_STEP = 1.0 / (LEVELS - 1)

LOG_SCALES = (-7.0, 7.0)
"""A logistic this narrow lies within one grey level; one this wide is flat, and what lies between
two levels still above 0.
"""


def mixture_log_probability(parameters: Tensor, x: Tensor) -> Tensor:
    """log p(x) of every image in nats, ``(b,)`` float64.

    Each pixel is a mixture of logistics, rounded to 256 values of which the outermost take the
    tails (Salimans et al. 2017, Eq. (2)). All channels of a pixel come from one component; a
    channel's mean is linear in the channels before it (their Eq. (3), here for any number of
    channels).

    Parameters
    ----------
    parameters : ``(b, p, h, w)`` of ``mixtures * (1 + 2 c + c (c - 1) / 2)`` channels, as
        :class:`PixelCNN` gives them.
    x : ``(b, c, h, w)`` in [-1, 1].
    """
    log_weights, means, log_scales = _mixture(parameters.float(), x)
    log_p = _logistic_log_probability(x[:, None], means, log_scales)  # (b, m, c, h, w)
    return _total(torch.logsumexp(log_weights + log_p.sum(2), dim=1))


def _total(each: Tensor) -> Tensor:
    """Sum over everything but the batch, in float64: thousands of bits need their fractions."""
    return each.flatten(1).sum(1, dtype=torch.float64)


def _mixture(parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms of weights ``(b, m, h, w)``, means and logarithms of scales ``(b, m, c, h, w)``
    given the channels of x.
    """
    channels = x.shape[1]
    pairs = channels * (channels - 1) // 2
    mixtures = parameters.shape[1] // (1 + 2 * channels + pairs)
    logits, rest = parameters[:, :mixtures], parameters[:, mixtures:]
    rest = rest.reshape(len(rest), mixtures, -1, *rest.shape[2:])
    means, log_scales, couplings = torch.split(rest, [channels, channels, pairs], dim=2)
    if pairs:
        coefficients = iter(torch.tanh(couplings).unbind(2))
        each = list(means.unbind(2))
        for later in range(1, channels):
            for earlier in range(later):
                each[later] = each[later] + next(coefficients) * x[:, None, earlier]
        means = torch.stack(each, dim=2)
    return F.log_softmax(logits, dim=1), means, log_scales.clamp(*LOG_SCALES)


def _logistic_log_probability(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log of the mass that a logistic has within half a grey level of x.

    The darkest and the brightest level reach to infinity.
    """
    inverse = torch.exp(-log_scale)
    upper, lower = (x - mean + HALF_STEP) * inverse, (x - mean - HALF_STEP) * inverse
    # log(sigmoid(upper) - sigmoid(lower)) with upper - lower as it is, not as the difference of two
    # rounded numbers
    inside = (
        F.logsigmoid(upper)
        + F.logsigmoid(-lower)
        + torch.log(-torch.expm1(-2 * HALF_STEP * inverse))
    )
    darkest, brightest = x < -1 + HALF_STEP, x > 1 - HALF_STEP
    return torch.where(
        darkest, F.logsigmoid(upper), torch.where(brightest, F.logsigmoid(-lower), inside)
    )


def gaussian_log_density(z: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Sum over everything but the batch, ``(b,)`` float64, nats."""
    standard = (z - mean) * torch.exp(-log_deviation)
    return _total(-0.5 * standard.square() - log_deviation - 0.5 * math.log(2 * math.pi))


def dequantized(x: Tensor, noise: Tensor) -> Tensor:
    """What a density is fitted to, in [-0.5, 0.5).

    Grey levels of ``x`` in [-1, 1], plus ``noise`` in [0, 1) of a level.
    """
    return ((x + 1) / (2 * HALF_STEP) + noise) / LEVELS - 0.5


def flow_log_probability(log_density: Tensor, x: Tensor) -> Tensor:
    """log p(x) of grey levels: the log density of a dequantised image and the log volume of a cell.

    On average over the noise it is a lower bound.
    """
    return log_density - x[0].numel() * math.log(LEVELS)


def deviation_of_groups(values: np.ndarray, usual: float, size: int) -> np.ndarray:
    """|mean - usual| of each ``size`` consecutive values, ``(n // size,)``."""
    means = values[: len(values) // size * size].reshape(-1, size).mean(1)
    out: np.ndarray = np.abs(means - usual)
    return out


def bits(nats: Tensor) -> Tensor:
    """Nats as bits."""
    return nats / math.log(2)


def bits_per_dim(log_probability: Tensor, x: Tensor) -> Tensor:
    """-log2 p(x) for each channel of each pixel: 8 for a model to which all images are alike."""
    return -bits(log_probability) / x[0].numel()
