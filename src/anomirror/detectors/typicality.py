"""Typicality: whether an image, or a group of images, is about as likely as normal images are; too likely is anomalous, too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adamax, Optimizer

from anomirror import likelihood
from anomirror.detectors.base import Monitor, changed
from anomirror.detectors.calibrating import Calibration
from anomirror.detectors.likelihoods import DEEPEST, LikelihoodDetector
from anomirror.errors import SettingError
from anomirror.images import ImageInput, ImageSet, ImageShape, ImageSize
from anomirror.networks.glow import Glow
from anomirror.networks.starting import starting
from anomirror.scoring import Scorer, Scores
from anomirror.training import Batch, Precision, Run


class Typicality(LikelihoodDetector):
    """|-log2 p(x) - H|: p is a Glow of normal images, H the mean of -log2 p(x) over normal training images.

    Parameters
    ----------
    flow_levels, flow_steps, hidden_width : L, K and the width of the couplings of the Glow.
    plain : score by -log2 p(x) alone. Raw scores follow a change after the fit; scorer and threshold stay as they were fitted.
    learning_rate, betas, lr_decay, lr_warmup : of Adamax; the rate is multiplied by ``lr_decay`` after every step, and rises
        over the first ``lr_warmup``.
    epochs, epoch_steps, max_steps, batch_size, lr_drops, average, precision, scoring_precision, calibration, heldout, scorer,
        contamination, image_size, device, random_state, checkpoint_dir, workers, skip_bad, verbose, monitor : as in
        :class:`AMA`.

    Attributes
    ----------
    entropy_ : H in bits, of at most 4,096 evenly spaced training images.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> typical = Typicality(flow_steps=1, hidden_width=4, epochs=1, epoch_steps=1, batch_size=8).fit(images)
    >>> typical.score_samples(images[:2]).shape, typical.score_groups(images[:6], group_size=2).shape
    ((2,), (3,))

    Notes
    -----
    The detector is the test for one image, M = 1; for M > 1 there is :meth:`score_groups`. The uniform noise that makes grey
    levels continuous is drawn afresh in training; in scoring it is one noise for all images, so that a score depends on nothing
    but its image. Left out of the released Glow: the extra channel that marks the border of convolutions, the factor of 3 on
    the log scales of activation norms, which there makes them learn faster. Activation norms start by one minibatch, there by
    256 images; images are not augmented.

    References
    ----------
    Nalisnick, Matsukawa, Teh, Lakshminarayanan: Detecting Out-of-Distribution Inputs to Deep Generative Models Using Typicality,
    2019, arXiv 1906.02994. Glow: Kingma, Dhariwal, NeurIPS 2018, arXiv 1807.03039.
    """

    method = "typicality"

    entropy_: float

    def __init__(
        self,
        flow_levels: int = 3,
        flow_steps: int = 6,
        hidden_width: int = 64,
        plain: bool = False,
        learning_rate: float = 4e-3,
        betas: Sequence[float] = (0.9, 0.999),
        lr_decay: float = 1.0,
        lr_warmup: int = 192,
        epochs: int = 8,
        epoch_steps: int | None = 192,
        max_steps: int | None = None,
        batch_size: int = 32,
        lr_drops: Sequence[float] = (0.8,),
        average: float | None = 0.98,
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
        self.flow_levels = flow_levels
        self.flow_steps = flow_steps
        self.hidden_width = hidden_width
        self.lr_warmup = lr_warmup
        self._store_common(locals())

    def score_groups(self, X: ImageInput, group_size: int) -> Scores:
        """-|mean of -log2 p(x) - H| of each ``group_size`` consecutive images: the test for M > 1 of one kind.

        Returns
        -------
        ``(n // group_size,)`` float64, high = normal.

        Raises
        ------
        SettingError : the images make no whole groups.
        """
        self._check_fitted()
        images = self._open(X)
        whole = isinstance(group_size, (int, np.integer)) and group_size > 0
        if not whole or len(images) % group_size:
            over = f"; leave out {len(images) % group_size}" if whole else ""
            raise SettingError(f"group_size={group_size!r}: {len(images)} images make no whole groups{over}")
        found = self._stream_by(images, {"bits": changed(self, {"plain": True})})["bits"]
        return -likelihood.deviation_of_groups(found, self.entropy_, group_size)

    def _signed(self) -> bool:
        return False

    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        glow = Glow(image_shape[0], self.flow_levels, self.flow_steps, self.hidden_width)

        def make_optimizers() -> dict[str, Optimizer]:
            return {"glow": Adamax(glow.parameters(), lr=self.learning_rate, betas=(self.betas[0], self.betas[1]))}

        return {"glow": glow}, make_optimizers

    @torch.no_grad()
    def _start(self, batches: Iterable[Batch], run: Run) -> None:
        """Activation norms by the first minibatch."""
        x = next(iter(batches)).normal
        with starting(self.networks_["glow"]):
            self._log_probability_with(x, _noise(x, run.generator))

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """Maximum likelihood."""
        x = batch.normal
        log_p = self._log_probability_with(x, _noise(x, run.generator))
        bits_per_dim = likelihood.bits_per_dim(log_p, x).mean()
        run.update("glow", bits_per_dim)
        return {"bits_per_dim": bits_per_dim.detach()}

    def _log_probability_with(self, x: Tensor, noise: Tensor) -> Tensor:
        latents, log_determinant = self.networks_["glow"](likelihood.dequantized(x, noise))
        log_density = log_determinant + sum(
            likelihood.gaussian_log_density(latent.z, latent.mean, latent.log_deviation) for latent in latents
        )
        return likelihood.flow_log_probability(log_density, x)

    def _log_probability(self, x: Tensor) -> Tensor:
        return self._log_probability_with(x, _noise(x[:1], torch.Generator().manual_seed(0)))

    def _statistic(self, x: Tensor) -> Tensor:
        """|-log2 p(x) - H|, Eq. (5) for M = 1."""
        return (self._bits(x) - self.entropy_).abs()

    def _finish(self, normal: ImageSet) -> None:
        self.entropy_ = float(self._stream_by(normal, {"bits": changed(self, {"plain": True})})["bits"].mean())

    def _fitted(self) -> dict[str, float]:
        return {"entropy": self.entropy_}

    def _noise(self) -> float:
        return 1e-6 * abs(self.entropy_)

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        super()._restore(tensors, fitted)
        self.entropy_ = fitted["entropy"]

    def _validate(self) -> None:
        super()._validate()
        self._validate_counts("flow_levels", "flow_steps", "hidden_width")
        if self.flow_steps > DEEPEST:
            raise SettingError(f"flow_steps={self.flow_steps!r}: expected at most {DEEPEST}")
        if self.flow_levels > 5:
            raise SettingError(f"flow_levels={self.flow_levels!r}: expected at most 5, each halves the sides")


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Of the shape of x, uniform in [0, 1)."""
    return torch.rand(x.shape, generator=generator).to(x.device)
