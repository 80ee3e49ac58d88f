"""f-AnoGAN: how well a generator of normal images makes an image from its encoder's code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from anomirror import losses
from anomirror.detector.adversarial import AdversarialDetector
from anomirror.detector.network import Built, ReconstructingDetector, adam_each
from anomirror.detector.parameters import Count, Weight, declared
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.dcgan import Discriminator, Generator
from anomirror.networks.freezing import frozen
from anomirror.schedule import Phase
from anomirror.training import Run


@declared
class FAnoGAN(AdversarialDetector, ReconstructingDetector):
    """How far G(E(x)) is from x, in pixels and in features of the critic.

    A WGAN-GP, then an encoder E that finds the code of an image at once, where AnoGAN searches.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> fast = FAnoGAN(epochs=1, encoder_epochs=1, steps_per_epoch=1).fit(images)
    >>> fast.reconstruct(images[:2]).shape
    (2, 32, 32, 1)

    Notes
    -----
    The critic has no normalisation (in the paper that of layers), and no network has residual
    blocks, as those of the released code for images of 64x64 have; rate, betas and ``latent_dim``
    of preset ``paper`` are AnoGAN's (that code has 1e-4, (0, .9) and 128, and RMSProp at 5e-5 for
    E). With averaged weights E learns next to the averaged G and D, which rest.

    References
    ----------
    Schlegl, Seeboeck, Waldstein, Langs, Schmidt-Erfurth: f-AnoGAN: Fast unsupervised anomaly
    detection with generative adversarial networks, Medical Image Analysis 54, 2019.
    """

    method = "fanogan"
    statistic_names = ("residual",)
    _watched_as = "residual"

    latent_dim: Count = 32
    """Size of the codes, which are standard normal."""

    encoder_width: Count = 16
    """Channels of the encoder's first convolution."""

    encoder_epochs: Count = 4
    """Epochs of E, after those of G and D."""

    encoder_feature_weight: Weight = 1.0
    """kappa, weight of the features next to the pixels."""

    critic_steps: Count = 1
    """Critic steps for each step of the generator; each is a minibatch."""

    gradient_penalty: Weight = 10.0
    """Weight of the gradient penalty."""

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generator": Generator(channels, size, self.latent_dim, self.generator_width),
            "discriminator": Discriminator(channels, size, self.discriminator_width, norm=None),
            "encoder": Encoder(channels, size, self.latent_dim, self.encoder_width),
        }

        return networks, adam_each(networks, self.learning_rate, self.betas)

    def _phases(self) -> list[Phase]:
        return [
            Phase("wgan", self._play, self.epochs),
            Phase("encoder", self._encode, self.encoder_epochs, start=self._rest_gan),
        ]

    def _play(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
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

    def _generated(self, count: int, run: Run) -> Tensor:
        z = torch.randn(count, self.latent_dim, generator=run.generator).to(run.device)
        return self._output("generator", z)

    def _rest_gan(self, batches: Iterable[Batch], run: Run) -> None:
        """G and D stay what they are."""
        run.rest("generator", "discriminator")

    def _encode(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of E alone: || x - G(E(x)) ||^2 / n + kappa || f(x) - f(G(E(x))) ||^2 / n_f."""
        others = self.networks_["generator"], self.networks_["discriminator"]
        with frozen(*others), running_statistics(*others):
            loss = self._residual(batch.normal).mean()
            run.update("encoder", loss)
        return {"encoder": loss.detach()}

    def _residual(self, x: Tensor) -> Tensor:
        """A(x): mean squared error of pixels, and kappa times that of features, ``(b,)``."""
        features = self.network("discriminator", Discriminator).features
        x_hat = self._reconstruction(x)
        of_features = losses.mean_square(features(x), features(x_hat))
        return losses.mean_square(x, x_hat) + self.encoder_feature_weight * of_features

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return {"residual": self._residual(x)}
