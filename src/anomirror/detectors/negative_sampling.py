"""Negative sampling: a classifier of normal codes against points drawn from a box around them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import latent, losses
from anomirror.detectors.base import Monitor, ReconstructingDetector
from anomirror.detectors.calibrating import Calibration
from anomirror.errors import SettingError
from anomirror.images import ImageShape, ImageSize
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.dcgan import Generator
from anomirror.networks.dense import BoxClassifier
from anomirror.scoring import Scorer
from anomirror.training import Batch, Phase, Precision, Run


class NegativeSampling(ReconstructingDetector):
    """1 - P(normal): of the code of an image, by a classifier that was trained against uniform points of a box.

    Parameters
    ----------
    latent_dim : size of the codes of a plain autoencoder.
    encoder_width, generator_width : channels of its first, and of its last but one convolution.
    delta : the box reaches from min - delta * range to max + delta * range of each coordinate of the codes.
    negatives_per_image : points of the box for each image of a minibatch.
    layers, layer_width, dropout : of the classifier.
    autoencoder_epochs, epochs : of the autoencoder, and then of the classifier.
    learning_rate : of Adam.
    epoch_steps, max_steps, batch_size, lr_drops, average, precision, scoring_precision, calibration, heldout, scorer,
        contamination, image_size, device, random_state, checkpoint_dir, workers, skip_bad, verbose, monitor : as in
        :class:`AMA`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> small = {"encoder_width": 4, "generator_width": 4, "autoencoder_epochs": 1, "epochs": 1, "epoch_steps": 1}
    >>> NegativeSampling(**small).fit(images).score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    The paper classifies rows of measurements; for images these are the codes of an autoencoder, encoded in evaluation mode.
    Codes come to the classifier scaled by the box, where the released code takes off their mean and divides by their deviation.
    The box is that of all training images, in the released code that of each minibatch; and normal codes weigh as much as all
    points of the box together, so that P(normal) is one of even odds. Adam in place of RMSProp; no early stopping. With
    averaged weights the classifier learns beside the averaged autoencoder.

    References
    ----------
    Sipple: Interpretable, Multidimensional, Multimodal Anomaly Detection with Negative Sampling for Detection of Device Failure,
    ICML 2020.
    """

    method = "negative_sampling"
    _watched_as = "anomaly_probability"

    def __init__(
        self,
        latent_dim: int = 32,
        encoder_width: int = 16,
        generator_width: int = 16,
        delta: float = 0.05,
        negatives_per_image: int = 4,
        layers: int = 3,
        layer_width: int = 64,
        dropout: float = 0.5,
        autoencoder_epochs: int = 6,
        learning_rate: float = 1e-3,
        epochs: int = 4,
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
        self.latent_dim = latent_dim
        self.encoder_width = encoder_width
        self.generator_width = generator_width
        self.delta = delta
        self.negatives_per_image = negatives_per_image
        self.layers = layers
        self.layer_width = layer_width
        self.dropout = dropout
        self.autoencoder_epochs = autoencoder_epochs
        self.learning_rate = learning_rate
        self._store_common(locals())

    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        channels, size, _ = image_shape
        encoder = Encoder(channels, size, self.latent_dim, self.encoder_width)
        generator = Generator(channels, size, self.latent_dim, self.generator_width)
        classifier = BoxClassifier(self.latent_dim, [self.layer_width] * self.layers, self.dropout)

        def make_optimizers() -> dict[str, Optimizer]:
            return {
                "autoencoder": Adam([*encoder.parameters(), *generator.parameters()], lr=self.learning_rate),
                "classifier": Adam(classifier.parameters(), lr=self.learning_rate),
            }

        return {"encoder": encoder, "generator": generator, "classifier": classifier}, make_optimizers

    def _phases(self) -> list[Phase]:
        return [
            Phase("autoencoder", self._reconstruct, self.autoencoder_epochs),
            Phase("classifier", self._classify, self.epochs, start=self._fit_box),
        ]

    def _reconstruct(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """One minibatch of the autoencoder: the mean squared error."""
        x = batch.normal
        error = (x - self._reconstruction(x)).square().mean()
        run.update("autoencoder", error)
        return {"squared_error": error.detach()}

    @torch.no_grad()
    def _fit_box(self, batches: Iterable[Batch], run: Run) -> None:
        """[min - delta * range, max + delta * range] of each coordinate of the codes of all training images."""
        run.rest("encoder", "generator")
        spans = []
        with run.autocast(), running_statistics(self.networks_["encoder"]):
            for batch in batches:
                spans.append(torch.stack(torch.aminmax(self._encoded(batch.normal), dim=0)))
        low, high = torch.stack(spans)[:, 0].amin(0), torch.stack(spans)[:, 1].amax(0)
        classifier = self._classifier()
        classifier.low.copy_(low - self.delta * (high - low))
        classifier.high.copy_(high + self.delta * (high - low))

    def _classify(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of the classifier: cross-entropy of the codes of normal images against points of the box, each half of it."""
        classifier = self._classifier()
        with torch.no_grad(), running_statistics(self.networks_["encoder"]):
            z = self._encoded(batch.normal)
        negatives = latent.in_box(self.negatives_per_image * len(z), classifier.low, classifier.high, run.generator)
        normal_logit, negative_logit = classifier(torch.cat([z, negatives])).split([len(z), len(negatives)])
        loss = losses.telling_apart(normal_logit, negative_logit)
        run.update("classifier", loss)
        return {"cross_entropy": loss.detach() / 2}

    def _encoded(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.networks_["encoder"](x))

    def _reconstruction(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.networks_["generator"](self._encoded(x)))

    def _classifier(self) -> BoxClassifier:
        return cast(BoxClassifier, self.networks_["classifier"])

    def _raw_score(self, x: Tensor) -> Tensor:
        """1 - P(normal), in float64: close to 1 float32 has no more than 7 digits."""
        return torch.sigmoid(-self._classifier()(self._encoded(x)).double())

    def _validate(self) -> None:
        super()._validate()
        self._validate_counts(
            "latent_dim",
            "encoder_width",
            "generator_width",
            "negatives_per_image",
            "layers",
            "layer_width",
            "autoencoder_epochs",
        )
        self._validate_weights("delta")
        self._validate_dropout()
        if self.layers > 64:
            raise SettingError(f"layers={self.layers!r}: expected at most 64")
