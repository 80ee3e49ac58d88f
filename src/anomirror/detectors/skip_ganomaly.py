"""Skip-GANomaly: how far a U-Net, trained next to a discriminator, changes an image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated

from torch import Tensor, nn

from anomirror import losses
from anomirror.detector.adversarial import AdversarialDetector
from anomirror.detector.network import Built, ReconstructingDetector, adam_each
from anomirror.detector.parameters import SCORING, Fraction, Weight, declared
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.dcgan import Discriminator
from anomirror.networks.freezing import frozen
from anomirror.networks.unet import UNet
from anomirror.schedule import Phase
from anomirror.scorers import Scores
from anomirror.training import Run


@declared
class SkipGANomaly(AdversarialDetector, ReconstructingDetector):
    """lambda MSE(x, x_hat) + (1 - lambda) MSE(f(x), f(x_hat)): a U-Net, and features of its critic.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> skip = SkipGANomaly(generator_width=4, epochs=1, steps_per_epoch=1).fit(images)
    >>> skip.reconstruct(images[:2]).shape
    (2, 32, 32, 1)

    Notes
    -----
    Scores are those of each image alone: batch norms use their running statistics, and nothing is
    scaled by the range of a test set, both unlike the released code, which also chooses its epoch
    on the test. There the difference of features enters the loss of D as well, with its sign, and D
    begins again when it is too sure; here, as in the paper, the difference is in the loss of the
    U-Net alone. Features are D's last maps, of 4x4; the released ones are 100 values that one more
    convolution makes of them.

    References
    ----------
    Akcay, Atapour-Abarghouei, Breckon: Skip-GANomaly: Skip Connected and Adversarially Trained
    Encoder-Decoder Anomaly Detection, IJCNN 2019, arXiv 1901.08954.
    """

    method = "skip_ganomaly"
    statistic_names = ("image_error", "feature_error")
    _watched_as = "score"

    generator_width = 16
    """Channels of the U-Net's first convolution."""

    adversarial_weight: Weight = 1.0
    """Weight of the cross-entropy in the loss of the U-Net."""

    image_weight: Weight = 50.0
    """Weight of the mean absolute error of pixels in that loss."""

    feature_weight: Weight = 1.0
    """Weight of the mean squared error of features in that loss."""

    image_share: Annotated[Fraction, SCORING] = 0.9
    """lambda, weight of the pixels in the score. Raw scores follow a change after the fit; scorer
    and threshold stay as they were fitted."""

    learning_rate = 5e-4
    ema_decay = None

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generator": UNet(channels, size, self.generator_width),
            "discriminator": Discriminator(channels, size, self.discriminator_width),
        }

        return networks, adam_each(networks, self.learning_rate, self.betas)

    def _phases(self) -> list[Phase]:
        return [Phase("adversarial", self._step, self.epochs)]

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of D, then one of the U-Net: w_adv BCE(D(x_hat), 1) + w_con |x - x_hat| + w_lat
        |f(x) - f(x_hat)|^2, Eq. (5).
        """
        discriminator, x = self.network("discriminator", Discriminator), batch.normal
        x_hat = self.networks_["generator"](x)
        loss = losses.discriminator_loss(discriminator(x), discriminator(x_hat.detach()))
        run.update("discriminator", loss)

        with frozen(discriminator):
            f, f_hat = discriminator.features(x), discriminator.features(x_hat)
            adversarial = losses.cross_entropy(discriminator.logit(f_hat), 1.0)
        image, feature = (x - x_hat).abs().mean(), (f - f_hat).square().mean()
        run.update(
            "generator",
            self.adversarial_weight * adversarial
            + self.image_weight * image
            + self.feature_weight * feature,
        )
        logged = {
            "discriminator": loss,
            "adversarial": adversarial,
            "image": image,
            "feature": feature,
        }
        return {name: value.detach() for name, value in logged.items()}

    def _reconstruction(self, x: Tensor) -> Tensor:
        return self._output("generator", x)

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """R(x) and L(x), mean squares in pixels and in features of D."""
        x_hat = self._reconstruction(x)
        features = self.network("discriminator", Discriminator).features
        return {
            "image_error": losses.mean_square(x, x_hat),
            "feature_error": losses.mean_square(features(x), features(x_hat)),
        }

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """A(x) = lambda R(x) + (1 - lambda) L(x), Eq. (7)."""
        return (
            self.image_share * statistics["image_error"]
            + (1 - self.image_share) * statistics["feature_error"]
        )
