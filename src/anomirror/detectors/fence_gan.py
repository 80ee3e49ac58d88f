"""Fence GAN: a generator that is kept at the border of what is normal, and a discriminator that
learns where the border is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.optim import Adam, Optimizer

from anomirror import losses
from anomirror.detector.adversarial import AdversarialDetector
from anomirror.detector.network import Built
from anomirror.detector.parameters import (
    Count,
    CountOrZero,
    OpenFraction,
    Probability,
    Rate,
    Weight,
    declared,
)
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.dcgan import Discriminator, Generator
from anomirror.networks.freezing import frozen
from anomirror.schedule import Phase
from anomirror.scorers import Scores
from anomirror.training import Run


@declared
class FenceGAN(AdversarialDetector):
    """1 - D(x): D has learnt to tell normal images from generated ones, which surround them.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> fence = FenceGAN(pretrain_epochs=1, epochs=1, steps_per_epoch=1).fit(images)
    >>> fence.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    Both networks are DCGAN's; the released code has others for each data set, and drops values
    before the last layer of D alone, for CIFAR-10. D has no batch norm, as its own for MNIST: real
    and generated images pass through it apart, and statistics of both together, as in scoring,
    would be those of neither. Real and generated images enter one step of D; the released code
    takes a step for each. The distance is not squared, as in the released code. Of a single
    generated image, or of equal ones, there is no dispersion, and its term is a constant.

    References
    ----------
    Ngo, Winarto, Kou, Park, Akram, Lee: Fence GAN: Towards Better Anomaly Detection, ICTAI 2019,
    arXiv 1904.01209.
    """

    method = "fence_gan"
    statistic_names = ("logit",)
    _watched_as = "anomaly_probability"

    latent_dim: Count = 64
    """Size of the generator's codes."""

    border: OpenFraction = 0.5
    """alpha, the D(G(z)) that the generator seeks: between generated (0) and real (1)."""

    dispersion_weight: Weight = 10.0
    """beta, weight of 1 / (mean distance of generated images from their centre)."""

    fake_weight: Weight = 0.5
    """gamma, weight of generated images in the loss of D."""

    dropout: Probability = 0.2
    """Dropout in D, after each convolution."""

    discriminator_weight_decay: Weight = 0.0
    """L2 penalty of D's Adam."""

    learning_rate = 1e-3
    discriminator_learning_rate: Rate = 2e-4
    """Learning rate of D; ``learning_rate`` is that of G."""

    pretrain_epochs: CountOrZero = 1
    """Epochs of D alone, before G learns."""

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        generator = Generator(channels, size, self.latent_dim, self.generator_width)
        discriminator = Discriminator(
            channels, size, self.discriminator_width, norm=None, dropout=self.dropout
        )

        def make_optimizers() -> dict[str, Optimizer]:
            betas, decay = (self.betas[0], self.betas[1]), self.discriminator_weight_decay
            return {
                "generator": Adam(generator.parameters(), lr=self.learning_rate, betas=betas),
                "discriminator": Adam(
                    discriminator.parameters(),
                    lr=self.discriminator_learning_rate,
                    betas=betas,
                    weight_decay=decay,
                ),
            }

        return {"generator": generator, "discriminator": discriminator}, make_optimizers

    def _phases(self) -> list[Phase]:
        return [
            Phase("pretrain", self._discriminate, self.pretrain_epochs),
            Phase("adversarial", self._play, self.epochs),
        ]

    def _discriminate(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Eq. (5): BCE(D(x), 1) + gamma BCE(D(G(z)), 0), for D alone."""
        discriminator, x = self.networks_["discriminator"], batch.normal
        with torch.no_grad():
            fake = self._generated(len(x), run)
        real_logit, fake_logit = discriminator(torch.cat([x, fake])).split(len(x))
        loss = losses.discriminator_loss(real_logit, fake_logit, self.fake_weight)
        run.update("discriminator", loss)
        return {"discriminator": loss.detach()}

    def _play(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of D, then one of G: L_encirclement + beta L_dispersion."""
        logged = self._discriminate(batch, run)
        discriminator = self.networks_["discriminator"]
        fake = self._generated(len(batch.normal), run)
        with frozen(discriminator):
            loss = generator_loss(discriminator(fake), fake, self.border, self.dispersion_weight)
            run.update("generator", loss)
        return {
            **logged,
            "generator": loss.detach(),
            "dispersion": losses.dispersion(fake.detach()),
        }

    def _generated(self, count: int, run: Run) -> Tensor:
        z = torch.randn(count, self.latent_dim, generator=run.generator).to(run.device)
        fake: Tensor = self.networks_["generator"](z)
        return fake

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The logit of D(x)."""
        return {"logit": self.networks_["discriminator"](x)}

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """1 - D(x), in float64: close to 1 float32 has no more than 7 digits."""
        return np.asarray(expit(-statistics["logit"]))


def generator_loss(logits: Tensor, fake: Tensor, border: float, dispersion_weight: float) -> Tensor:
    """BCE(D(G(z)), alpha) + beta / mean_i || G(z_i) - mean_j G(z_j) ||, Eq. (6) to (8).

    ``logits`` (b,) of D for the generated images ``fake`` (b, c, h, w). Where these do not differ
    the second term is constant.
    """
    return losses.cross_entropy(logits, border) + dispersion_weight / losses.dispersion(
        fake
    ).clamp_min(1e-3)
