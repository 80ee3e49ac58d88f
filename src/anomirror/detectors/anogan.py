"""AnoGAN and its fast form: how well a generator of normal images can make an image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import losses
from anomirror.detector.contract import CALIBRATION
from anomirror.detector.network import ReconstructingDetector
from anomirror.detector.parameters import MEASURING, Betas, Count, Fraction, Rate, Weight, declared
from anomirror.images import ImageShape
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.dcgan import Discriminator, Generator
from anomirror.networks.freezing import frozen
from anomirror.schedule import Phase
from anomirror.training import Batch, Run

SEARCHED = 256
"""Training images that calibrate the scorer where each costs a search."""


@declared
class AnoGAN(ReconstructingDetector):
    """How far the nearest image that G makes is from x, in pixels and in features of the discriminator.

    Without ``fast``, AnoGAN: a GAN, and for each image that is scored a search for its code by gradient descent. With it,
    f-AnoGAN: a WGAN-GP, and an encoder that finds the code at once.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> small = {"generator_width": 4, "discriminator_width": 4, "encoder_width": 4, "epochs": 1, "steps_per_epoch": 1}
    >>> AnoGAN(search_steps=2, **small).fit(images).score_samples(images[:2]).shape
    (2,)
    >>> AnoGAN(fast=True, encoder_epochs=1, **small).fit(images).score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    The search begins at one code for all images, where the paper draws one for each: a score depends on nothing but its image.
    At the paper's rate a coordinate of a code moves by .5 at most in 500 steps, so that what is found stays close to that
    beginning. Real and generated images enter D as one minibatch, in DCGAN as two: its batch norms then have the same
    statistics in scoring as in training. Averaged weights are scored with the last statistics of those that learn. Where each
    image costs a search, 256 training images calibrate the scorer, and 16 of each kind are watched in the history. The critic
    of the WGAN-GP has no normalisation (in the paper that of layers), and no network has residual blocks, as those of f-AnoGAN's
    released code for pictures of 64x64 have; rate, betas and ``latent_dim`` of preset ``paper`` are AnoGAN's in both forms
    (that code has 1e-4, (0, .9) and 128, and RMSProp at 5e-5 for E). With averaged weights E learns beside the averaged G and D,
    which rest.

    References
    ----------
    Schlegl, Seeboeck, Waldstein, Schmidt-Erfurth, Langs: Unsupervised Anomaly Detection with Generative Adversarial Networks to
    Guide Marker Discovery, IPMI 2017, arXiv 1703.05921. f-AnoGAN: Schlegl, Seeboeck, Waldstein, Langs, Schmidt-Erfurth, Medical
    Image Analysis 54, 2019.
    """

    method = "anogan"
    statistic_names = ("residual",)
    _watched_as = "residual"

    fast: bool = False
    """f-AnoGAN instead of AnoGAN."""

    latent_dim: Count = 32
    """Size of the codes, which are standard normal."""

    generator_width: Count = 16
    """Channels of the generator's last but one convolution."""

    discriminator_width: Count = 16
    """Channels of the discriminator's first convolution."""

    encoder_width: Count = 16
    """Channels of the encoder's first convolution."""

    search_steps: Annotated[Count, MEASURING] = 60
    """Steps of the search, all from one code. Raw scores follow a change of the three parameters of the
    search after the fit; scorer and threshold stay as they were fitted."""

    search_rate: Annotated[Rate, MEASURING] = 0.1
    """Adam's learning rate in the search."""

    feature_weight: Annotated[Fraction, MEASURING] = 0.1
    """lambda of AnoGAN: the residual is (1 - lambda) pixels + lambda features."""

    encoder_epochs: Count = 4
    """Epochs of E, after those of G and D (``fast``)."""

    encoder_feature_weight: Weight = 1.0
    """kappa of f-AnoGAN, weight of the features next to the pixels."""

    critic_steps: Count = 1
    """Critic steps for each step of the WGAN-GP's generator; each is a minibatch."""

    gradient_penalty: Weight = 10.0
    """Weight of the gradient penalty of the WGAN-GP."""

    betas: Betas = (0.5, 0.999)
    """Adam's decay rates."""

    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generator": Generator(channels, size, self.latent_dim, self.generator_width),
            "discriminator": Discriminator(channels, size, self.discriminator_width, norm=None if self.fast else "batch"),
        }
        if self.fast:
            networks["encoder"] = Encoder(channels, size, self.latent_dim, self.encoder_width)

        def make_optimizers() -> dict[str, Optimizer]:
            betas = (self.betas[0], self.betas[1])
            return {name: Adam(network.parameters(), lr=self.learning_rate, betas=betas) for name, network in networks.items()}

        return networks, make_optimizers

    def _phases(self) -> list[Phase]:
        if not self.fast:
            return [Phase("gan", self._play, self.epochs)]
        return [
            Phase("wgan", self._play_wasserstein, self.epochs),
            Phase("encoder", self._encode, self.encoder_epochs, start=self._let_rest),
        ]

    def _play(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of D, then one of G by the loss that does not saturate."""
        discriminator, x = self.networks_["discriminator"], batch.normal
        fake = self._generated(len(x), run)
        real_logit, fake_logit = discriminator(torch.cat([x, fake.detach()])).split(len(x))
        loss = losses.discriminator_loss(real_logit, fake_logit)
        run.update("discriminator", loss)
        with frozen(discriminator):
            fooled = losses.cross_entropy(discriminator(torch.cat([x, fake]))[len(x) :], 1.0)
            run.update("generator", fooled)
        return {"discriminator": loss.detach(), "generator": fooled.detach()}

    def _play_wasserstein(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A critic step of WGAN-GP; after every ``critic_steps`` of them a step of G."""
        critic, x = self.networks_["discriminator"], batch.normal
        with torch.no_grad():
            fake = self._generated(len(x), run)
        real_value, fake_value = critic(torch.cat([x, fake])).split(len(x))
        gap = losses.wasserstein_gap(real_value, fake_value)
        penalty = losses.gradient_penalty(critic, x, fake, run.generator)
        run.update("discriminator", self.gradient_penalty * penalty - gap)
        if run.step % self.critic_steps == self.critic_steps - 1:
            with frozen(critic):
                run.update("generator", -critic(self._generated(len(x), run)).mean())
        return {"gap": gap.detach(), "penalty": penalty.detach()}

    def _let_rest(self, batches: Iterable[Batch], run: Run) -> None:
        """G and D are what they will be."""
        run.rest("generator", "discriminator")

    def _encode(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of E alone: || x - G(E(x)) ||^2 / n + kappa || f(x) - f(G(E(x))) ||^2 / n_f."""
        others = self.networks_["generator"], self.networks_["discriminator"]
        with frozen(*others), running_statistics(*others):
            loss = self._encoded_residual(batch.normal).mean()
            run.update("encoder", loss)
        return {"encoder": loss.detach()}

    def _generated(self, count: int, run: Run) -> Tensor:
        z = torch.randn(count, self.latent_dim, generator=run.generator).to(run.device)
        return cast(Tensor, self.networks_["generator"](z))

    def _encoded_residual(self, x: Tensor) -> Tensor:
        """A(x) of f-AnoGAN: mean squared error of pixels, and kappa times that of features, ``(b,)``."""
        features = cast(Discriminator, self.networks_["discriminator"]).features
        x_hat = self._reconstruction(x)
        return losses.mean_square(x, x_hat) + self.encoder_feature_weight * losses.mean_square(features(x), features(x_hat))

    @torch.no_grad()
    def _search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes ``(b, latent_dim)`` of all images at once, and their residuals ``(b,)``: before each step, and at the end.

        Only the codes have gradients. The sum over images is minimised, so that none of them matters to another.
        """
        z = torch.randn(1, self.latent_dim, generator=torch.Generator().manual_seed(0)).to(x.device).repeat(len(x), 1)
        of_x = cast(Discriminator, self.networks_["discriminator"]).features(x)
        search = Adam([z], lr=self.search_rate)
        course = []
        for _ in range(self.search_steps):
            with torch.enable_grad():
                found = self._residual(x, of_x, z.requires_grad_(True))
                (z.grad,) = torch.autograd.grad(found.sum(), z)
            search.step()
            z.requires_grad_(False)
            course.append(found.detach())
        return z, torch.stack([*course, self._residual(x, of_x, z)])

    def _residual(self, x: Tensor, of_x: Tensor, z: Tensor) -> Tensor:
        """(1 - lambda) || x - G(z) ||_1 + lambda || f(x) - f(G(z)) ||_1, ``(b,)``."""
        x_hat = cast(Tensor, self.networks_["generator"](z))
        of_x_hat = cast(Discriminator, self.networks_["discriminator"]).features(x_hat)
        pixels = (x - x_hat).abs().flatten(1).sum(1)
        return (1 - self.feature_weight) * pixels + self.feature_weight * losses.feature_distance(of_x, of_x_hat)

    def _reconstruction(self, x: Tensor) -> Tensor:
        """G of the code that was found by the search, or by the encoder."""
        z = self.networks_["encoder"](x) if self._encodes() else self._search(x)[0]
        return cast(Tensor, self.networks_["generator"](z))

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The residual at the end of the search, or of the encoder's code."""
        return {"residual": self._encoded_residual(x) if self._encodes() else self._search(x)[1][-1]}

    def _encodes(self) -> bool:
        """Whether it was fitted as f-AnoGAN."""
        return "encoder" in self.networks_

    @property
    def _monitored(self) -> int:  # type: ignore[override]
        return super()._monitored if self.fast else 16

    def _calibrated(self) -> int:
        return CALIBRATION if self.fast else SEARCHED
