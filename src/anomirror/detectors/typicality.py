"""Typicality: whether an image, or a group of images, is about as likely as normal images are; too
likely is anomalous, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adamax, Optimizer

from anomirror import likelihood
from anomirror.detector.network import Built
from anomirror.detector.parameters import Count, declared, fitted, within
from anomirror.detectors.likelihoods import LikelihoodDetector
from anomirror.errors import SettingError
from anomirror.images import ImageInput, ImageSet, ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.data_dependent import data_dependent_init
from anomirror.networks.glow import Glow
from anomirror.scorers import Domain, Scores
from anomirror.training import Run


@declared
class Typicality(LikelihoodDetector):
    """|-log2 p(x) - H|: p is a Glow of normal images, H the mean of -log2 p(x) over normal training
    images.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> typical = Typicality(flow_steps=1, epochs=1, steps_per_epoch=1, batch_size=8).fit(images)
    >>> typical.score_groups(images[:6], group_size=2).shape
    (3,)

    Notes
    -----
    The detector is the test for one image, M = 1; for M > 1 there is :meth:`score_groups`. The
    uniform noise that makes grey levels continuous is drawn afresh in training; in scoring it is
    one noise for all images, so that a score depends on nothing but its image. Left out of the
    released Glow: the extra channel that marks the border of convolutions, the factor of 3 on the
    log scales of activation norms, which there makes them learn faster. Activation norms start by
    one minibatch, there by 256 images; images are not augmented.

    References
    ----------
    Nalisnick, Matsukawa, Teh, Lakshminarayanan: Detecting Out-of-Distribution Inputs to Deep
    Generative Models Using Typicality, 2019, arXiv 1906.02994. Glow: Kingma, Dhariwal, NeurIPS
    2018, arXiv 1807.03039.
    """

    method = "typicality"
    statistic_names = ("bits",)

    flow_levels: Annotated[int, within("[1, 5]")] = 3
    """Levels of the Glow, L; each halves the sides."""

    flow_steps: Annotated[int, within("[1, 256]")] = 6
    """Steps of flow in each level, K."""

    hidden_width: Count = 64
    """Channels within the couplings."""

    learning_rate = 4e-3
    betas = (0.9, 0.999)
    lr_warmup = 192
    epochs = 8
    steps_per_epoch = 192
    batch_size = 32

    entropy_: float = fitted()
    """H in bits, from at most 4,096 evenly spaced training images."""

    def score_groups(self, X: ImageInput, group_size: int) -> Scores:
        """-|mean of -log2 p(x) - H| of each ``group_size`` consecutive images: the test for M > 1
        of one kind.

        Returns
        -------
        ``(n // group_size,)`` float64, high = normal.

        Raises
        ------
        SettingError : the images make no whole groups.
        """
        self._check_fitted()
        images = self.open_to_score(X)
        whole = isinstance(group_size, (int, np.integer)) and group_size > 0
        if not whole or len(images) % group_size:
            over = f"; leave out {len(images) % group_size}" if whole else ""
            raise SettingError(
                f"group_size={group_size!r}: {len(images)} images make no whole groups{over}"
            )
        bits = self.measure(images, ("bits",))["bits"]
        return -likelihood.deviation_of_groups(bits, self.entropy_, group_size)

    @property
    def raw_domain(self) -> Domain:
        """A distance."""
        return "nonnegative"

    def _build(self, image_shape: ImageShape) -> Built:
        glow = Glow(image_shape[0], self.flow_levels, self.flow_steps, self.hidden_width)

        def make_optimizers() -> dict[str, Optimizer]:
            return {
                "glow": Adamax(
                    glow.parameters(), lr=self.learning_rate, betas=(self.betas[0], self.betas[1])
                )
            }

        return {"glow": glow}, make_optimizers

    @torch.no_grad()
    def _start(self, batches: Iterable[Batch], run: Run) -> None:
        """Activation norms by the first minibatch."""
        x = next(iter(batches)).normal
        with data_dependent_init(self.networks_["glow"]):
            self._log_probability_with(x, _noise(x, run.generator))

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Maximum likelihood."""
        x = batch.normal
        log_p = self._log_probability_with(x, _noise(x, run.generator))
        bits_per_dim = likelihood.bits_per_dim(log_p, x).mean()
        run.update("glow", bits_per_dim)
        return {"bits_per_dim": bits_per_dim.detach()}

    def _log_probability_with(self, x: Tensor, noise: Tensor) -> Tensor:
        latents, log_determinant = self.networks_["glow"](likelihood.dequantized(x, noise))
        log_density = log_determinant + sum(
            likelihood.gaussian_log_density(latent.z, latent.mean, latent.log_deviation)
            for latent in latents
        )
        return likelihood.flow_log_probability(log_density, x)

    def _log_probability(self, x: Tensor) -> Tensor:
        return self._log_probability_with(x, _noise(x[:1], torch.Generator().manual_seed(0)))

    def _formula(self, statistics: Mapping[str, Scores]) -> Scores:
        """|-log2 p(x) - H|, Eq. (5) for M = 1."""
        return np.abs(statistics["bits"] - self.entropy_)

    def finish(self, normal: ImageSet) -> None:
        self.entropy_ = float(self.measure(normal, ("bits",))["bits"].mean())

    def fitted_numbers(self) -> dict[str, float]:
        return {"entropy": self.entropy_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        super()._restore(tensors, fitted)
        self.entropy_ = fitted["entropy"]


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Of the shape of x, uniform in [0, 1)."""
    return torch.rand(x.shape, generator=generator).to(x.device)
