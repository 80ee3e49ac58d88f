"""What detectors share whose networks give every image a likelihood."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from anomirror import likelihood
from anomirror.detectors.base import NetworkDetector
from anomirror.errors import SettingError
from anomirror.images import ImageInput
from anomirror.networks.pixelcnn import Nonlinearity, PixelCNN
from anomirror.networks.starting import starting
from anomirror.training import Batch, Phase, Run

DEEPEST = 256
"""Blocks of a stage, or steps of a level, at most: each is a module, which a model file may not ask for without end."""


class LikelihoodDetector(NetworkDetector):
    """A detector whose statistic rests on log p(x).

    It writes :meth:`_build`, :meth:`_start`, :meth:`_step`, :meth:`_log_probability` and :meth:`_statistic`.
    """

    plain: bool

    _common = (*NetworkDetector._common, "plain", "learning_rate", "betas", "lr_decay")
    _scoring_only = NetworkDetector._scoring_only | {"plain"}
    _watched_as = "bits_per_dim"

    @abstractmethod
    def _log_probability(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``(b,)`` float64."""

    @abstractmethod
    def _statistic(self, x: Tensor) -> Tensor:
        """The method's own raw score, ``(b,)``, in bits."""

    @abstractmethod
    def _start(self, batches: Iterable[Batch], run: Run) -> None:
        """First weights by a minibatch."""

    @abstractmethod
    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Maximum likelihood."""

    def _phases(self) -> list[Phase]:
        return [Phase("likelihood", self._step, self.epochs, start=self._start)]

    def _signed(self) -> bool:
        return not self.plain

    def bits_per_dim(self, X: ImageInput) -> np.ndarray:
        """-log2 p(x) for each channel of each pixel of the network's frame, ``(n,)`` float64; 8 is no knowledge at all.

        A frame is larger than a picture of another size: for 28x28 pictures in a frame of 32x32 multiply by 32 * 32 / (28 * 28).
        The frame's border costs a PixelCNN++ next to nothing; of a Glow it is noise within a grey level, and costs bits.
        """
        bits = self.raw_scores_by(X, {"bits": {"plain": True}})["bits"]
        return np.asarray(bits / math.prod(self.image_shape_))

    def _watched(self, x: Tensor) -> Tensor:
        return likelihood.bits_per_dim(self._log_probability(x), x)

    def _bits(self, x: Tensor) -> Tensor:
        """-log2 p(x)."""
        return self._once("bits", x, lambda x: -likelihood.bits(self._log_probability(x)))

    def _raw_score(self, x: Tensor) -> Tensor:
        """The statistic, or -log2 p(x) alone."""
        return self._bits(x) if self.plain else self._statistic(x)


class PixelCNNDetector(LikelihoodDetector):
    """A detector whose density is a PixelCNN++."""

    filters: int
    blocks: int
    mixtures: int
    levels: int
    nonlinearity: Nonlinearity
    dropout: float

    _common = (*LikelihoodDetector._common, "filters", "blocks", "mixtures", "levels", "nonlinearity", "dropout")

    def _pixelcnn(self, channels: int) -> PixelCNN:
        return PixelCNN(channels, self.filters, self.blocks, self.mixtures, self.levels, self.nonlinearity, self.dropout)

    @torch.no_grad()
    def _start_network(self, network: str, x: Tensor) -> None:
        """Weights by a minibatch (Salimans and Kingma 2016)."""
        with starting(self.networks_[network]):
            self.networks_[network](x)

    def _log_probability_under(self, network: str, x: Tensor) -> Tensor:
        return likelihood.mixture_log_probability(self.networks_[network](x), x)

    def _validate(self) -> None:
        super()._validate()
        self._validate_counts("filters", "blocks", "mixtures", "levels")
        if self.blocks > DEEPEST:
            raise SettingError(f"blocks={self.blocks!r}: expected at most {DEEPEST}")
        if self.levels > 5:
            raise SettingError(f"levels={self.levels!r}: expected at most 5, each but the last halves the sides")
        self._validate_dropout()
