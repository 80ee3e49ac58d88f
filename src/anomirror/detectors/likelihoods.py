"""What detectors share whose networks give every image a likelihood."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from anomirror import likelihood
from anomirror.detectors.base import NetworkDetector
from anomirror.errors import SettingError
from anomirror.images import ImageInput


class LikelihoodDetector(NetworkDetector):
    """A detector whose statistic rests on log p(x): it writes :meth:`_log_probability` and :meth:`_statistic`."""

    plain: bool

    _scoring_only = NetworkDetector._scoring_only | {"plain"}
    _watched_as = "bits_per_dim"

    @abstractmethod
    def _log_probability(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``(b,)`` float64."""

    @abstractmethod
    def _statistic(self, x: Tensor) -> Tensor:
        """The method's own raw score, ``(b,)``, in bits."""

    def _validate_pixelcnn(self) -> None:
        """The size of a PixelCNN++, for detectors that have one."""
        self._validate_counts("filters", "blocks", "mixtures", "levels")
        if self.get_params()["levels"] > 5:
            raise SettingError(f"levels={self.get_params()['levels']!r}: expected at most 5, each but the last halves the sides")
        if not 0 <= self.get_params()["dropout"] < 1:
            raise SettingError(f"dropout={self.get_params()['dropout']!r}: expected a probability in [0, 1)")

    def bits_per_dim(self, X: ImageInput) -> np.ndarray:
        """-log2 p(x) for each channel of each pixel of the network's frame, ``(n,)`` float64; 8 is no knowledge at all.

        A frame is larger than a picture of another size: for 28x28 pictures in a frame of 32x32, whose border costs next to
        nothing, multiply by 32 * 32 / (28 * 28).
        """
        images = self._open(X)
        with self._scoring():
            return torch.cat([self._watched(x).double().cpu() for x in self._batches(images)]).numpy()

    def _watched(self, x: Tensor) -> Tensor:
        return likelihood.bits_per_dim(self._log_probability(x), x)

    def _bits(self, x: Tensor) -> Tensor:
        """-log2 p(x)."""
        return self._once("bits", x, lambda x: -likelihood.bits(self._log_probability(x)))

    def _raw_score(self, x: Tensor) -> Tensor:
        """The statistic, or -log2 p(x) alone."""
        return self._bits(x) if self.plain else self._statistic(x)
