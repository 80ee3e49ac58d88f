"""Likelihood ratio: how much more likely an image is under a model of normal images than under one
of their background.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import likelihood
from anomirror.detector.network import Built
from anomirror.detector.parameters import Weight, declared, within
from anomirror.detectors.likelihoods import PixelCNNDetector
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.pixelcnn import penalty
from anomirror.scorers import Scores
from anomirror.training import Run


@declared
class LikelihoodRatio(PixelCNNDetector):
    """-log2 p(x) / p_0(x): p is a PixelCNN++ of normal images, p_0 one of the same images with
    random pixels, their background.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> ratio = LikelihoodRatio(filters=4, epochs=1, steps_per_epoch=1, batch_size=8).fit(images)
    >>> sorted(ratio.statistics(images[:2]))
    ['background_bits', 'bits']

    Notes
    -----
    As in PixelCNN++, and other than in the paper's released code, weights are normalised and start
    by a minibatch, pixels are scaled to [-1, 1], and images lie in a frame of 32x32, whose border
    is mutated as they are. Departures that an argument switches off: averaged weights
    (``ema_decay=None``), and rectifiers in place of concatenated ELUs (``nonlinearity``). p and p_0
    are trained side by side on the same minibatches. In the released training code the L2 penalty
    is given to the layers, and the loss that is minimised is the likelihood alone: whether the
    paper's grid of weight decays was felt there we cannot tell.

    References
    ----------
    Ren, Liu, Fertig, Snoek, Poplin, DePristo, Dillon, Lakshminarayanan: Likelihood Ratios for
    Out-of-Distribution Detection, NeurIPS 2019, arXiv 1906.02845. PixelCNN++: Salimans, Karpathy,
    Chen, Kingma, ICLR 2017, arXiv 1701.05517.
    """

    method = "likelihood_ratio"
    statistic_names = ("bits", "background_bits")

    mutation_rate: Annotated[float, within("(0, 1]")] = 0.1
    """mu, probability that a channel of a pixel is replaced for p_0."""

    weight_decay: Weight = 100.0
    """L2 penalty of p_0: this times the sum of its squared weights is added to its mean -log
    p_0(x).
    """

    steps_per_epoch = 240

    def _build(self, image_shape: ImageShape) -> Built:
        networks: dict[str, nn.Module] = {
            name: self._pixelcnn(image_shape[0]) for name in ("foreground", "background")
        }

        def make_optimizers() -> dict[str, Optimizer]:
            parameters = [
                parameter for network in networks.values() for parameter in network.parameters()
            ]
            return {
                "both": Adam(
                    parameters, lr=self.learning_rate, betas=(self.betas[0], self.betas[1])
                )
            }

        return networks, make_optimizers

    def _start(self, batches: Iterable[Batch], run: Run) -> None:
        x = next(iter(batches)).normal
        self._start_network("foreground", x)
        self._start_network("background", mutated(x, self.mutation_rate, run.generator))

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Maximum likelihood of p on images, and of p_0 on mutated ones."""
        x = batch.normal
        x_0 = mutated(x, self.mutation_rate, run.generator)
        log_p = self._log_probability_under("foreground", x)
        log_p_0 = self._log_probability_under("background", x_0)
        decay = self.weight_decay * penalty(self.networks_["background"])
        run.update("both", decay - log_p.mean() - log_p_0.mean())
        return {
            "bits_per_dim": likelihood.bits_per_dim(log_p.detach(), x).mean(),
            "bits_per_dim_background": likelihood.bits_per_dim(log_p_0.detach(), x_0).mean(),
        }

    def _log_probability(self, x: Tensor) -> Tensor:
        return self._log_probability_under("foreground", x)

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """-log2 p(x) and -log2 p_0(x)."""
        measured = super()._statistics(x, names) if "bits" in names else {}
        if "background_bits" in names:
            measured["background_bits"] = -likelihood.bits(
                self._log_probability_under("background", x)
            )
        return measured

    def _formula(self, statistics: Mapping[str, Scores]) -> Scores:
        """log2 p_0(x) - log2 p(x): the negative of the paper's LLR(x)."""
        return statistics["bits"] - statistics["background_bits"]


def mutated(x: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """``x`` (b, c, h, w) in [-1, 1] with each value replaced, with probability ``rate``, by one of
    256 at random.
    """
    replaced = torch.rand(x.shape, generator=generator) < rate
    values = (
        torch.randint(likelihood.LEVELS, x.shape, generator=generator) * (2 * likelihood.HALF_STEP)
        - 1
    )
    return torch.where(replaced.to(x.device), values.to(x.device), x)
