"""What detectors share whose networks give every image a likelihood."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from anomirror import likelihood
from anomirror.detector.network import NetworkDetector
from anomirror.detector.parameters import SCORING, Betas, Count, Probability, declared, within
from anomirror.images import ImageInput
from anomirror.minibatch import Batch
from anomirror.networks.data_dependent import data_dependent_init
from anomirror.networks.pixelcnn import Nonlinearity, PixelCNN
from anomirror.schedule import Phase
from anomirror.scorers import Domain, Scores
from anomirror.training import Run


@declared
class LikelihoodDetector(NetworkDetector):
    """A detector whose statistic rests on log p(x).

    It writes :meth:`_build`, :meth:`_start`, :meth:`_step`, :meth:`_log_probability` and
    :meth:`_formula`.
    """

    likelihood_only: Annotated[bool, SCORING] = False
    """Score by -log2 p(x) alone. Raw scores follow a change after the fit; scorer and threshold
    stay as they were fitted."""

    learning_rate = 3e-3
    betas: Betas = (0.95, 0.9995)
    """Adam's decay rates."""

    lr_milestones = (0.8,)
    epochs = 5
    batch_size = 8
    ema_decay = 0.98

    _watched_as = "bits_per_dim"

    @abstractmethod
    def _log_probability(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``(b,)`` float64."""

    @abstractmethod
    def _formula(self, statistics: Mapping[str, Scores]) -> Scores:
        """The method's own raw score, ``(n,)``, in bits."""

    @abstractmethod
    def _start(self, batches: Iterable[Batch], run: Run) -> None:
        """First weights by a minibatch."""

    @abstractmethod
    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Maximum likelihood."""

    def _phases(self) -> list[Phase]:
        return [Phase("likelihood", self._step, self.epochs, start=self._start)]

    def _noise(self) -> float:
        """Formulas are differences of lengths, and float32 rounds these."""
        lengths = self.calibrating_.statistics.get("bits")
        return 0.0 if lengths is None else 1e-6 * float(np.abs(lengths).max())

    @property
    def raw_domain(self) -> Domain:
        """Bits are at least 0; what a formula makes of them may not be."""
        return "nonnegative" if self.likelihood_only else "real"

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """-log2 p(x), and what else the method's own formula reads."""
        return frozenset({"bits"}) if self.likelihood_only else self._formula_statistics()

    def _formula_statistics(self) -> frozenset[str]:
        return frozenset(self.statistic_names)

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """The method's own formula, or -log2 p(x) alone."""
        return statistics["bits"] if self.likelihood_only else self._formula(statistics)

    def bits_per_dim(self, X: ImageInput) -> np.ndarray:
        """-log2 p(x) for each channel of each pixel of the network's frame, ``(n,)`` float64; 8 is
        no knowledge at all.

        A frame is larger than an image of another size: for 28x28 images in a frame of 32x32
        multiply by 32 * 32 / (28 * 28). The frame's border costs a PixelCNN++ next to nothing; of a
        Glow it is noise within a grey level, and costs bits.
        """
        return self._watched(self.statistics(X, self._watches()))

    def _watches(self) -> frozenset[str]:
        return frozenset({"bits"})

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        return statistics["bits"] / math.prod(self.image_shape_)

    def _bits(self, x: Tensor) -> Tensor:
        """-log2 p(x)."""
        return -likelihood.bits(self._log_probability(x))

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return {"bits": self._bits(x)}


@declared
class PixelCNNDetector(LikelihoodDetector):
    """A detector whose density is a PixelCNN++."""

    filters: Count = 32
    """Channels of the PixelCNN++."""

    blocks: Annotated[int, within("[1, 256]")] = 1
    """Pairs of gated blocks in each stage."""

    mixtures: Count = 5
    """Logistics in each pixel's mixture."""

    levels: Annotated[int, within("[1, 5]")] = 3
    """Stages down; each but the last halves the sides."""

    nonlinearity: Nonlinearity = "relu"
    """"concat_elu" or "relu"."""

    dropout: Probability = 0.0
    """Dropout in the gated blocks."""

    def _pixelcnn(self, channels: int) -> PixelCNN:
        return PixelCNN(
            channels,
            self.filters,
            self.blocks,
            self.mixtures,
            self.levels,
            self.nonlinearity,
            self.dropout,
        )

    @torch.no_grad()
    def _start_network(self, network: str, x: Tensor) -> None:
        """Weights by a minibatch (Salimans and Kingma 2016)."""
        with data_dependent_init(self.networks_[network]):
            self.networks_[network](x)

    def _log_probability_under(self, network: str, x: Tensor) -> Tensor:
        return likelihood.mixture_log_probability(self.networks_[network](x), x)
