"""Skip-GANomaly: how far a U-Net, trained beside a discriminator, changes an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import losses
from anomirror.detectors.base import Monitor, ReconstructingDetector
from anomirror.detectors.calibrating import Calibration
from anomirror.errors import SettingError
from anomirror.images import ImageShape, ImageSize
from anomirror.networks.dcgan import Discriminator
from anomirror.networks.resting import resting
from anomirror.networks.unet import UNet
from anomirror.scoring import Scorer
from anomirror.training import Batch, Phase, Precision, Run


class SkipGANomaly(ReconstructingDetector):
    """lambda MSE(x, x_hat) + (1 - lambda) MSE(f(x), f(x_hat)): x_hat is a U-Net's, f are features of a discriminator.

    Parameters
    ----------
    generator_width, discriminator_width : channels of the first convolution of the U-Net and of D.
    adversarial_weight, image_weight, feature_weight : of the cross-entropy, of the mean absolute error of pixels, and of the mean
        squared error of features in the loss of the U-Net.
    image_share : lambda, of the pixels in the score. Scores follow a change after the fit; scorer and threshold stay as they were
        fitted.
    learning_rate, betas : of Adam.
    epochs, epoch_steps, max_steps, batch_size, lr_drops, average, precision, scoring_precision, calibration, heldout, scorer,
        contamination, image_size, device, random_state, checkpoint_dir, workers, skip_bad, verbose, monitor : as in
        :class:`AMA`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> skip = SkipGANomaly(generator_width=4, discriminator_width=4, epochs=1, epoch_steps=1).fit(images)
    >>> skip.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    Scores are those of each image alone: batch norms use their running statistics, and nothing is scaled by the range of a test
    set, both unlike the released code, which also chooses its epoch on the test. There the difference of features enters the
    loss of D as well, with its sign, and D begins anew when it is too sure; here, as in the paper, the difference is in the
    loss of the U-Net alone. Features are D's last maps, of 4x4; the released ones are 100 values that one more convolution
    makes of them.

    References
    ----------
    Akcay, Atapour-Abarghouei, Breckon: Skip-GANomaly: Skip Connected and Adversarially Trained Encoder-Decoder Anomaly Detection,
    IJCNN 2019, arXiv 1901.08954.
    """

    method = "skip_ganomaly"
    _watched_as = "score"
    _scoring_only = ReconstructingDetector._scoring_only | {"image_share"}

    def __init__(
        self,
        generator_width: int = 16,
        discriminator_width: int = 16,
        adversarial_weight: float = 1.0,
        image_weight: float = 50.0,
        feature_weight: float = 1.0,
        image_share: float = 0.9,
        learning_rate: float = 5e-4,
        betas: Sequence[float] = (0.5, 0.999),
        epochs: int = 8,
        epoch_steps: int | None = 64,
        max_steps: int | None = None,
        batch_size: int = 64,
        lr_drops: Sequence[float] = (),
        average: float | None = None,
        precision: Precision = "auto",
        scoring_precision: Precision = "auto",
        calibration: Calibration = "auto",
        heldout: float = 0.05,
        scorer: str | Scorer = "negate",
        contamination: float = 0.05,
        image_size: ImageSize = "auto",
        device: str | None = None,
        random_state: int | None = 0,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        workers: int = 0,
        skip_bad: bool = False,
        verbose: bool = False,
        monitor: Monitor | None = None,
    ) -> None:
        self.generator_width = generator_width
        self.discriminator_width = discriminator_width
        self.adversarial_weight = adversarial_weight
        self.image_weight = image_weight
        self.feature_weight = feature_weight
        self.image_share = image_share
        self.learning_rate = learning_rate
        self.betas = betas
        self._store_common(locals())

    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generator": UNet(channels, size, self.generator_width),
            "discriminator": Discriminator(channels, size, self.discriminator_width),
        }

        def make_optimizers() -> dict[str, Optimizer]:
            betas = (self.betas[0], self.betas[1])
            return {name: Adam(network.parameters(), lr=self.learning_rate, betas=betas) for name, network in networks.items()}

        return networks, make_optimizers

    def _phases(self) -> list[Phase]:
        return [Phase("adversarial", self._step, self.epochs)]

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of D, then one of the U-Net: w_adv BCE(D(x_hat), 1) + w_con |x - x_hat| + w_lat |f(x) - f(x_hat)|^2, Eq. (5)."""
        discriminator, x = self._discriminator(), batch.normal
        x_hat = self.networks_["generator"](x)
        loss = losses.telling_apart(discriminator(x), discriminator(x_hat.detach()))
        run.update("discriminator", loss)

        with resting(discriminator):
            f, f_hat = discriminator.features(x), discriminator.features(x_hat)
            adversarial = losses.cross_entropy(discriminator.logit(f_hat), 1.0)
        image, feature = (x - x_hat).abs().mean(), (f - f_hat).square().mean()
        run.update("generator", self.adversarial_weight * adversarial + self.image_weight * image + self.feature_weight * feature)
        told = {"discriminator": loss, "adversarial": adversarial, "image": image, "feature": feature}
        return {name: value.detach() for name, value in told.items()}

    def _discriminator(self) -> Discriminator:
        return cast(Discriminator, self.networks_["discriminator"])

    def _reconstruction(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.networks_["generator"](x))

    def _raw_score(self, x: Tensor) -> Tensor:
        """A(x) = lambda R(x) + (1 - lambda) L(x), Eq. (7), each a mean square."""
        x_hat, features = self._reconstruction(x), self._discriminator().features
        image, feature = losses.mean_square(x, x_hat), losses.mean_square(features(x), features(x_hat))
        return self.image_share * image + (1 - self.image_share) * feature

    def _validate(self) -> None:
        super()._validate()
        self._validate_counts("generator_width", "discriminator_width")
        self._validate_weights("adversarial_weight", "image_weight", "feature_weight")
        if not 0 <= self.image_share <= 1:
            raise SettingError(f"image_share={self.image_share!r}: expected a share in [0, 1]")
