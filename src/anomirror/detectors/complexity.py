"""S: the likelihood of an image, set against how complex it is for a codec that knows no normal
images.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from anomirror import likelihood
from anomirror.codecs import CODECS, codec_of, compressed_bits, installed, pictures
from anomirror.detector.network import Built, adam_each
from anomirror.detector.parameters import SCORING, UNSTORED, declared
from anomirror.detectors.likelihoods import PixelCNNDetector
from anomirror.images import ImageSet, ImageShape
from anomirror.minibatch import Batch
from anomirror.scorers import Scores
from anomirror.training import Run


@declared
class Complexity(PixelCNNDetector):
    """S(x) = -log2 p(x) - L(x): p is a PixelCNN++ of normal images, L a lossless codec's length.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> s = Complexity(filters=4, mixtures=1, epochs=1, steps_per_epoch=1, batch_size=8).fit(images)
    >>> s.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    Both terms are bits of the image in the network's frame; a codec's header is the same for all
    images. The codec sees 8 bits a channel: images of float pixels are rounded for it.

    References
    ----------
    Serrà, Álvarez, Gómez, Slizovskaia, Núñez, Luque: Input complexity and out-of-distribution
    detection with likelihood-based generative models, ICLR 2020, arXiv 1909.11480.
    """

    method = "complexity"
    statistic_names = ("bits", *(f"{codec}_bits" for codec in CODECS))

    codec: Annotated[str, SCORING] = "webp"
    """"webp", "png" (both come with Pillow), "jpeg-xl" (extra ``codecs``) or "flif" (Node.js, and
    ``npm install flif-wasm`` below a folder that NODE_PATH names). Raw scores follow a change after
    the fit; scorer and threshold stay those of the codec that it was fitted with."""

    cache_dir: Annotated[str | os.PathLike[str] | None, UNSTORED] = None
    """Folder that remembers compressed lengths by the content of images."""

    steps_per_epoch = 480

    def _build(self, image_shape: ImageShape) -> Built:
        networks: dict[str, nn.Module] = {"pixelcnn": self._pixelcnn(image_shape[0])}
        return networks, adam_each(networks, self.learning_rate, self.betas)

    def _start(self, batches: Iterable[Batch], run: Run) -> None:
        self._start_network("pixelcnn", next(iter(batches)).normal)

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Maximum likelihood."""
        x = batch.normal
        log_p = self._log_probability(x)
        run.update("pixelcnn", -log_p.mean())
        return {"bits_per_dim": likelihood.bits_per_dim(log_p.detach(), x).mean()}

    def _log_probability(self, x: Tensor) -> Tensor:
        return self._log_probability_under("pixelcnn", x)

    def available_statistics(self) -> tuple[str, ...]:
        return ("bits", *(f"{codec}_bits" for codec in CODECS if installed(codec)))

    def calibrating_statistics(self) -> Collection[str]:
        """Without the other codecs: each costs as much as the method."""
        return self.scoring_statistics

    def _formula_statistics(self) -> frozenset[str]:
        return frozenset({"bits", f"{self.codec}_bits"})

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """-log2 p(x), and L(x) of every codec that is asked for, as "png_bits"."""
        measured = super()._statistics(x, names) if "bits" in names else {}
        for name in names:
            if name != "bits":
                lengths = compressed_bits(
                    pictures(x), name.removesuffix("_bits"), self._cache_folder()
                )
                measured[name] = torch.from_numpy(lengths)
        return measured

    def _formula(self, statistics: Mapping[str, Scores]) -> Scores:
        """S(x) = -log2 p(x) - L(x), Eq. (1)."""
        return statistics["bits"] - statistics[f"{self.codec}_bits"]

    def _cache_folder(self) -> Path | None:
        return None if self.cache_dir is None else Path(self.cache_dir)

    def programs(self) -> dict[str, str]:
        return {} if self.likelihood_only else {self.codec: codec_of(self.codec).version()}

    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        if not self.likelihood_only:  # fail before a training, not after it
            codec_of(self.codec).require()
            compressed_bits([np.zeros((8, 8), np.uint8)], self.codec, self._cache_folder())
        super()._learn(normal, heldout, anomalies)

    def validate(self) -> None:
        super().validate()
        codec_of(self.codec)
