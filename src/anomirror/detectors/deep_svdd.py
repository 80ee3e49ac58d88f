"""Deep SVDD: a network that maps normal images close to one point."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Adam, Optimizer

from anomirror.detector.network import Built, NetworkDetector
from anomirror.detector.parameters import Count, CountOrZero, Milestones, Weight, declared
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.lenet import Hypersphere, LeNetDecoder
from anomirror.schedule import Phase
from anomirror.training import Run

LEAST_COORDINATE = 0.1
"""No coordinate of the centre lies closer to 0: weights of 0 would reach it, whatever the image."""


@declared
class DeepSVDD(NetworkDetector):
    """|| phi(x) - c ||^2: phi is trained to map normal images close to the centre c, the one-class
    objective.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> svdd = DeepSVDD(widths=(4, 4), pretrain_epochs=1, epochs=1, steps_per_epoch=1).fit(images)
    >>> svdd.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    c is the mean of phi over the training images after pretraining, in evaluation mode; coordinates
    closer to 0 than 0.1 are pushed to +-0.1, one that is exactly 0 to +0.1 (in the released code it
    stays 0). Images of 28x28 lie in a frame of 32x32, which the normalisation of contrast sees
    whole; with two widths the last maps are of 8x8, the paper's of 7x7, and the decoder begins with
    a convolution of 4x4 maps, which the paper's for MNIST doubles first. The AMA paper leaves the
    normalisation of contrast out. The released network for CIFAR-10 normalises codes by their
    minibatch on the way into the decoder, and begins by Xavier's rule; that for MNIST, and this
    one, do not.

    References
    ----------
    Ruff, Vandermeulen, Goernitz, Deecke, Siddiqui, Binder, Mueller, Kloft: Deep One-Class
    Classification, ICML 2018.
    """

    method = "deep_svdd"
    statistic_names = ("distance",)
    _watched_as = "distance"

    widths: Annotated[Sequence[Count], Field(min_length=1, max_length=3)] = (16, 32, 32)
    """Channels of the convolutions of phi, each halves the sides; (8, 4) and (32, 64, 128) are the
    paper's for MNIST and CIFAR-10."""

    latent_dim: Annotated[
        int, Field(ge=1, multiple_of=16, description="that is a multiple of 16")
    ] = 64
    """Size of phi(x), of which the decoder makes maps of 4x4; the paper's are 32 and 128."""

    pretrain_epochs: CountOrZero = 4
    """Epochs of phi as the encoder of an autoencoder, before c is chosen; 0 leaves it as it began.
    """

    contrast_normalization: bool = False
    """Normalise each image by itself: less its mean, over its mean absolute deviation; all images
    are then scaled by what the normal training images span. The paper does."""

    weight_decay: Weight = 5e-7
    """L2 penalty of Adam."""

    pretrain_weight_decay: Weight = 5e-7
    """L2 penalty of Adam in pretraining."""

    learning_rate = 3e-4
    lr_milestones = (0.75,)
    pretrain_lr_milestones: Milestones = (0.75,)
    """Fractions of the pretraining after which its learning rate is divided by 10."""

    epochs = 4
    ema_decay = None

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        hypersphere = Hypersphere(channels, size, self.latent_dim, self.widths)
        decoder = LeNetDecoder(channels, size, self.latent_dim, self.widths)

        def make_optimizers() -> dict[str, Optimizer]:
            parameters = [*hypersphere.parameters(), *decoder.parameters()]
            return {
                "autoencoder": Adam(
                    parameters, lr=self.learning_rate, weight_decay=self.pretrain_weight_decay
                ),
                "phi": Adam(
                    hypersphere.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
                ),
            }

        return {"hypersphere": hypersphere, "decoder": decoder}, make_optimizers

    def _phases(self) -> list[Phase]:
        return [
            Phase(
                "pretrain",
                self._reconstruct,
                self.pretrain_epochs,
                self._measure_contrast,
                tuple(self.pretrain_lr_milestones),
            ),
            Phase(
                "svdd", self._contract, self.epochs, self._choose_centre, tuple(self.lr_milestones)
            ),
        ]

    @torch.no_grad()
    def _measure_contrast(self, batches: Iterable[Batch], run: Run) -> None:
        """The span of all normal pixels, once the contrast of each image is normalised."""
        if not self.contrast_normalization:
            return
        spans = [torch.stack(torch.aminmax(contrast_normalized(batch.normal))) for batch in batches]
        hypersphere = self.network("hypersphere", Hypersphere)
        hypersphere.lowest.copy_(torch.stack(spans)[:, 0].min())
        hypersphere.highest.copy_(torch.stack(spans)[:, 1].max())

    def _reconstruct(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """One minibatch of the autoencoder: the squared error of an image."""
        x = self.seen(batch.normal)
        x_hat = self.networks_["decoder"](self.network("hypersphere", Hypersphere).phi(x))
        error = (x_hat - x).square().flatten(1).sum(1).mean()
        run.update("autoencoder", error)
        return {"squared_error": error.detach()}

    @torch.no_grad()
    def _choose_centre(self, batches: Iterable[Batch], run: Run) -> None:
        """c: the mean of phi, away from 0."""
        hypersphere = self.network("hypersphere", Hypersphere)
        with running_statistics(hypersphere):
            total, count = torch.zeros_like(hypersphere.centre), 0
            for batch in batches:
                total += hypersphere.phi(self.seen(batch.normal)).sum(0)
                count += len(batch.normal)
        hypersphere.centre.copy_(away_from_zero(total / count))

    def _contract(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """One minibatch of the one-class objective, Eq. (4): the mean of || phi(x) - c ||^2."""
        loss = self.network("hypersphere", Hypersphere)(self.seen(batch.normal)).mean()
        run.update("phi", loss)
        return {"loss": loss.detach()}

    def seen(self, x: Tensor) -> Tensor:
        """Images as phi sees them, normal ones in [0, 1]."""
        if not self.contrast_normalization:
            return x * 0.5 + 0.5
        sphere = self.network("hypersphere", Hypersphere)
        low, high = sphere.lowest, sphere.highest
        return (contrast_normalized(x) - low) / (high - low).clamp_min(1e-6)

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """|| phi(x) - c ||^2."""
        return {"distance": self.network("hypersphere", Hypersphere)(self.seen(x))}


def contrast_normalized(x: Tensor) -> Tensor:
    """Each image less its mean, over its mean absolute deviation from it; a flat one becomes 0.

    >>> contrast_normalized(torch.tensor([0.0, 0.0, 0.5, 1.5]).view(1, 1, 2, 2)).flatten().tolist()
    [-1.0, -1.0, 0.0, 2.0]
    """
    centred = x - x.mean((1, 2, 3), keepdim=True)
    return centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-6)


def away_from_zero(centre: Tensor) -> Tensor:
    """Coordinates closer to 0 than 0.1 as +-0.1.

    >>> away_from_zero(torch.tensor([0.5, -0.01, 0.0])).tolist()
    [0.5, -0.10000000149011612, 0.10000000149011612]
    """
    pushed = torch.where(centre < 0, -LEAST_COORDINATE, LEAST_COORDINATE)
    return torch.where(centre.abs() < LEAST_COORDINATE, pushed, centre)
