"""Negative sampling: a classifier of normal codes against points drawn from a box around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.optim import Adam, Optimizer

from anomirror import latent, losses
from anomirror.detector.network import Built, ReconstructingDetector
from anomirror.detector.parameters import Count, Probability, Weight, declared, within
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.dcgan import Generator
from anomirror.networks.dense import BoxClassifier
from anomirror.schedule import Phase
from anomirror.scorers import Scores
from anomirror.training import Run


@declared
class NegativeSampling(ReconstructingDetector):
    """1 - P(normal): of the code of an image, by a classifier that was trained against uniform
    points of a box.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> boxed = NegativeSampling(autoencoder_epochs=1, epochs=1, steps_per_epoch=1).fit(images)
    >>> boxed.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    The paper classifies rows of measurements; for images these are the codes of an autoencoder,
    encoded in evaluation mode. Codes come to the classifier scaled by the box, where the released
    code takes off their mean and divides by their deviation. The box is that of all training
    images, in the released code that of each minibatch; and normal codes weigh as much as all
    points of the box together, so that P(normal) is one of even odds. Adam in place of RMSProp; no
    early stopping. With averaged weights the classifier learns next to the averaged autoencoder.

    References
    ----------
    Sipple: Interpretable, Multidimensional, Multimodal Anomaly Detection with Negative Sampling for
    Detection of Device Failure, ICML 2020.
    """

    method = "negative_sampling"
    statistic_names = ("logit",)
    _watched_as = "anomaly_probability"

    latent_dim: Count = 32
    """Size of the codes of a plain autoencoder."""

    encoder_width: Count = 16
    """Channels of the encoder's first convolution."""

    generator_width: Count = 16
    """Channels of the generator's last but one convolution."""

    delta: Weight = 0.05
    """Margin of the box: it reaches from min - delta * range to max + delta * range of each
    coordinate of the codes."""

    negatives_per_image: Count = 4
    """Points of the box for each image of a minibatch."""

    layers: Annotated[int, within("[1, 64]")] = 3
    """Hidden layers of the classifier."""

    layer_width: Count = 64
    """Units of each layer."""

    dropout: Probability = 0.5
    """Dropout in the classifier."""

    autoencoder_epochs: Count = 6
    """Epochs of the autoencoder, before those of the classifier."""

    epochs = 4
    ema_decay = None

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        encoder = Encoder(channels, size, self.latent_dim, self.encoder_width)
        generator = Generator(channels, size, self.latent_dim, self.generator_width)
        classifier = BoxClassifier(self.latent_dim, [self.layer_width] * self.layers, self.dropout)

        def make_optimizers() -> dict[str, Optimizer]:
            return {
                "autoencoder": Adam(
                    [*encoder.parameters(), *generator.parameters()], lr=self.learning_rate
                ),
                "classifier": Adam(classifier.parameters(), lr=self.learning_rate),
            }

        return {
            "encoder": encoder,
            "generator": generator,
            "classifier": classifier,
        }, make_optimizers

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
        """[min - delta * range, max + delta * range] of each coordinate of the codes of all
        training images.
        """
        run.rest("encoder", "generator")
        spans = []
        with run.autocast(), running_statistics(self.networks_["encoder"]):
            for batch in batches:
                codes = self._output("encoder", batch.normal)
                spans.append(torch.stack(torch.aminmax(codes, dim=0)))
        low, high = torch.stack(spans)[:, 0].amin(0), torch.stack(spans)[:, 1].amax(0)
        classifier = self.network("classifier", BoxClassifier)
        classifier.low.copy_(low - self.delta * (high - low))
        classifier.high.copy_(high + self.delta * (high - low))

    def _classify(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of the classifier: cross-entropy of the codes of normal images against points of
        the box, each half of it.
        """
        classifier = self.network("classifier", BoxClassifier)
        with torch.no_grad(), running_statistics(self.networks_["encoder"]):
            z = self._output("encoder", batch.normal)
        negatives = latent.in_box(
            self.negatives_per_image * len(z), classifier.low, classifier.high, run.generator
        )
        normal_logit, negative_logit = classifier(torch.cat([z, negatives])).split(
            [len(z), len(negatives)]
        )
        loss = losses.discriminator_loss(normal_logit, negative_logit)
        run.update("classifier", loss)
        return {"cross_entropy": loss.detach() / 2}

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The logit of P(normal)."""
        return {"logit": self.network("classifier", BoxClassifier)(self._output("encoder", x))}

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """1 - P(normal), in float64: close to 1 float32 has no more than 7 digits."""
        return np.asarray(expit(-statistics["logit"]))
