"""ALAD: a bidirectional GAN whose cycles, from images and from codes, have discriminators of their
own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import losses
from anomirror.detector.adversarial import AdversarialDetector
from anomirror.detector.network import Built, ReconstructingDetector
from anomirror.detector.parameters import Count, Probability, declared
from anomirror.images import ImageSet, ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.batch_norm import without_updating_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.dcgan import Discriminator, Generator, JointDiscriminator
from anomirror.networks.dense import PairDiscriminator
from anomirror.networks.freezing import frozen
from anomirror.networks.spectral import cached_weights, converge_sigma
from anomirror.schedule import Phase
from anomirror.scorers import Scores
from anomirror.training import Run

CODE_WIDTHS = (64, 32)
"""Dense layers of the discriminator of pairs of codes."""


@declared
class ALAD(AdversarialDetector, ReconstructingDetector):
    """|| f(x, x) - f(x, G(E(x))) ||_1: f are the features of the discriminator that tells images
    from their reconstructions.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> ALAD(encoder_width=4, epochs=1, steps_per_epoch=1).fit(images).predict(images[:2]).shape
    (2,)

    Notes
    -----
    Pairs of images are stacked on the channels; the released code sets them one above the other.
    Weights are those after the epoch whose reconstructions of held-out normal images were closest.
    The released code looks for its best epoch by its score, and never goes back to it; a distance
    in features of a discriminator that still learns is no measure over epochs. Without held-out
    images the last weights stay. E and G enter the batch-norm statistics with what scoring shows
    them, x and E(x). Averaged weights are scored with the last batch-norm statistics of those that
    learn, as in the released code. The discriminator of pairs of images has three convolutions of
    4x4 down to 4x4, as the others in this package, the released one two of 5x5 with 64 and 128
    channels. One minibatch serves both kinds of step.

    References
    ----------
    Zenati, Romain, Foo, Lecouat, Chandrasekhar: Adversarially Learned Anomaly Detection, ICDM 2018,
    arXiv 1812.02288.
    """

    method = "alad"
    statistic_names = ("feature_distance", "reconstruction")
    _watched_as = "reconstruction"
    _best_by = "reconstruction_heldout"

    latent_dim: Count = 32
    """Size of the codes, which are standard normal."""

    encoder_width: Count = 16
    """Channels of the encoder's first convolution."""

    dropout: Probability = 0.2
    """Dropout in the discriminators."""

    batch_size = 32

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """As in every detector with networks, spectral norms computed once for all batches."""
        with super()._scoring(), cached_weights(self.networks_):
            yield

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        width, dropout = self.discriminator_width, self.dropout
        networks: dict[str, nn.Module] = {
            "encoder": Encoder(channels, size, self.latent_dim, self.encoder_width, spectral=True),
            "generator": Generator(channels, size, self.latent_dim, self.generator_width),
            "d_xz": JointDiscriminator(channels, size, self.latent_dim, width, dropout=dropout),
            "d_xx": Discriminator(2 * channels, size, width, norm="spectral", dropout=dropout),
            "d_zz": PairDiscriminator(self.latent_dim, CODE_WIDTHS, dropout=dropout),
        }

        def make_optimizers() -> dict[str, Optimizer]:
            betas = (self.betas[0], self.betas[1])
            players = {
                "autoencoder": ("encoder", "generator"),
                "discriminators": ("d_xz", "d_xx", "d_zz"),
            }
            return {
                player: Adam(
                    [p for name in names for p in networks[name].parameters()],
                    lr=self.learning_rate,
                    betas=betas,
                )
                for player, names in players.items()
            }

        return networks, make_optimizers

    def _phases(self) -> list[Phase]:
        return [Phase("adversarial", self._step, self.epochs)]

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """One minibatch of Eq. (6): min over E and G, max over D_xz, D_xx, D_zz, each by the loss
        that does not saturate.
        """
        encoder, generator, d_xz, d_zz = (
            self.networks_[name] for name in ("encoder", "generator", "d_xz", "d_zz")
        )
        x = batch.normal
        z = torch.randn(len(x), self.latent_dim, generator=run.generator).to(run.device)
        z_x = encoder(x)
        x_hat = generator(z_x)
        with without_updating_statistics(encoder, generator):
            x_z = generator(z)
            z_hat = encoder(x_z)

        z_x_now, x_hat_now, x_z_now, z_hat_now = (t.detach() for t in (z_x, x_hat, x_z, z_hat))
        joint = losses.discriminator_loss(d_xz(x, z_x_now), d_xz(x_z_now, z))
        images = losses.discriminator_loss(self._d_xx(x, x), self._d_xx(x, x_hat_now))
        codes = losses.discriminator_loss(d_zz(z, z), d_zz(z, z_hat_now))
        run.update("discriminators", joint + images + codes)

        with frozen(d_xz, self.networks_["d_xx"], d_zz):
            fooled = losses.cross_entropy(d_xz(x, z_x), 0.0) + losses.cross_entropy(
                d_xz(x_z, z), 1.0
            )
            cycles = losses.cross_entropy(self._d_xx(x, x_hat), 1.0) + losses.cross_entropy(
                d_zz(z, z_hat), 1.0
            )
            run.update("autoencoder", fooled + cycles)
        logged = {"d_xz": joint, "d_xx": images, "d_zz": codes, "autoencoder": fooled + cycles}
        return {name: loss.detach() for name, loss in logged.items()}

    def _d_xx(self, x: Tensor, other: Tensor) -> Tensor:
        return self._output("d_xx", torch.cat([x, other], dim=1))

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Distance in features, and mean absolute error of the reconstruction, in [0, 2]."""
        x_hat = self._reconstruction(x)
        measured = {"reconstruction": (x - x_hat).abs().flatten(1).mean(1)}
        if "feature_distance" in names:
            f_xx = self.network("d_xx", Discriminator).features
            same, other = f_xx(torch.cat([x, x], 1)), f_xx(torch.cat([x, x_hat], 1))
            measured["feature_distance"] = losses.feature_distance(same, other)
        return measured

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """A(x) = || f_xx(x, x) - f_xx(x, G(E(x))) ||_1 alone."""
        return frozenset({"feature_distance"})

    def _watches(self) -> frozenset[str]:
        return frozenset({"reconstruction"})

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        return statistics["reconstruction"]

    def finish(self, normal: ImageSet) -> None:
        converge_sigma(self.networks_)
