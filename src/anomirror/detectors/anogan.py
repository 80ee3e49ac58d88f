"""AnoGAN: how well a generator of normal images can make an image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam

from anomirror import losses
from anomirror.detector.adversarial import AdversarialDetector
from anomirror.detector.network import Built, ReconstructingDetector, adam_each
from anomirror.detector.parameters import MEASURING, Count, Fraction, Rate, declared
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.dcgan import Discriminator, Generator
from anomirror.networks.freezing import frozen
from anomirror.schedule import Phase
from anomirror.training import Run

SEARCHED = 256
"""Training images that calibrate the scorer: each costs a search."""


@declared
class AnoGAN(AdversarialDetector, ReconstructingDetector):
    """How far the nearest image that G makes is from x, in pixels and in features of the
    discriminator.

    A GAN, and for each image that is scored a search for its code by gradient descent.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> anogan = AnoGAN(search_steps=2, epochs=1, steps_per_epoch=1).fit(images)
    >>> anogan.set_params(search_steps=4).score_samples(images[:2]).shape  # needs no other fit
    (2,)

    Notes
    -----
    The search begins at one code for all images, where the paper draws one for each: a score
    depends on nothing but its image. At the paper's rate a coordinate of a code moves by .5 at most
    in 500 steps, so that what is found stays close to that beginning. Real and generated images
    enter D as one minibatch, in DCGAN as two: its batch norms then have the same statistics in
    scoring as in training. Averaged weights are scored with the last statistics of those that
    learn. 256 training images calibrate the scorer, and 16 of each kind are watched in the history.

    References
    ----------
    Schlegl, Seeboeck, Waldstein, Schmidt-Erfurth, Langs: Unsupervised Anomaly Detection with
    Generative Adversarial Networks to Guide Marker Discovery, IPMI 2017, arXiv 1703.05921.
    """

    method = "anogan"
    statistic_names = ("residual",)
    _watched_as = "residual"
    _monitored = 16

    latent_dim: Count = 32
    """Size of the codes, which are standard normal."""

    search_steps: Annotated[Count, MEASURING] = 60
    """Steps of the search, all from one code. Raw scores follow a change of the three parameters of
    the search after the fit; scorer and threshold stay as they were fitted."""

    search_rate: Annotated[Rate, MEASURING] = 0.1
    """Adam's learning rate in the search."""

    feature_weight: Annotated[Fraction, MEASURING] = 0.1
    """lambda: the residual is (1 - lambda) pixels + lambda features."""

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generator": Generator(channels, size, self.latent_dim, self.generator_width),
            "discriminator": Discriminator(channels, size, self.discriminator_width, norm="batch"),
        }

        return networks, adam_each(networks, self.learning_rate, self.betas)

    def _phases(self) -> list[Phase]:
        return [Phase("gan", self._play, self.epochs)]

    def _play(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of D, then one of G by the loss that does not saturate."""
        discriminator, x = self.networks_["discriminator"], batch.normal
        z = torch.randn(len(x), self.latent_dim, generator=run.generator).to(run.device)
        fake = self.networks_["generator"](z)
        real_logit, fake_logit = discriminator(torch.cat([x, fake.detach()])).split(len(x))
        loss = losses.discriminator_loss(real_logit, fake_logit)
        run.update("discriminator", loss)
        with frozen(discriminator):
            fooled = losses.cross_entropy(discriminator(torch.cat([x, fake]))[len(x) :], 1.0)
            run.update("generator", fooled)
        return {"discriminator": loss.detach(), "generator": fooled.detach()}

    @torch.no_grad()
    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes ``(b, latent_dim)`` of all images, and their residuals before each step and at the
        end.

        Only the codes have gradients. The sum over images is minimised, so that none of them
        matters to another.
        """
        start = torch.randn(1, self.latent_dim, generator=torch.Generator().manual_seed(0))
        z = start.to(x.device).repeat(len(x), 1)
        of_x = self.network("discriminator", Discriminator).features(x)
        search = Adam([z], lr=self.search_rate)
        course = []
        for _ in range(self.search_steps):
            with torch.enable_grad():
                residual = self._residual(x, of_x, z.requires_grad_(True))
                (z.grad,) = torch.autograd.grad(residual.sum(), z)
            search.step()
            z.requires_grad_(False)
            course.append(residual.detach())
        return z, torch.stack([*course, self._residual(x, of_x, z)])

    def _residual(self, x: Tensor, of_x: Tensor, z: Tensor) -> Tensor:
        """(1 - lambda) || x - G(z) ||_1 + lambda || f(x) - f(G(z)) ||_1, ``(b,)``."""
        x_hat = self._output("generator", z)
        of_x_hat = self.network("discriminator", Discriminator).features(x_hat)
        pixels = (x - x_hat).abs().flatten(1).sum(1)
        features = losses.feature_distance(of_x, of_x_hat)
        return (1 - self.feature_weight) * pixels + self.feature_weight * features

    def _reconstruction(self, x: Tensor) -> Tensor:
        """G of the code that was found."""
        return self._output("generator", self.search(x)[0])

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The residual at the end of the search."""
        return {"residual": self.search(x)[1][-1]}

    def _calibrated(self) -> int:
        return SEARCHED
