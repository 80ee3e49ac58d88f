"""WAIC: an ensemble of Wasserstein GANs, whose critics are then trained to classify, and how far they disagree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer, RMSprop

from anomirror import losses
from anomirror.detectors.base import Monitor, NetworkDetector
from anomirror.detectors.calibrating import Calibration
from anomirror.images import ImageShape, ImageSize
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.dcgan import Generator, WideCritic
from anomirror.networks.resting import resting
from anomirror.scoring import Scorer
from anomirror.training import Batch, Phase, Precision, Run

FIRST, EVERY = 25, 500
"""The first generator steps, and later every so manieth, come after ``critic_warmup`` critic steps."""


class WAIC(NetworkDetector):
    """Variance minus mean of the logits of an ensemble of critics: the Watanabe-Akaike information criterion, negative.

    Parameters
    ----------
    members : GANs in the ensemble, each with its own first weights and noise; they see the same minibatches.
    latent_dim : size of the generators' codes.
    critic_width, generator_width : channels; 32 is the paper's critic.
    critic_steps : critic steps, each on a minibatch of its own, for one generator step.
    critic_warmup : the same before each of the first 25 generator steps and every 500th.
    gradient_penalty : weight of the penalty of WGAN-GP.
    epochs, cross_entropy_epochs : of the GANs, and then of the critics alone as classifiers of real and generated images.
    learning_rate : of RMSProp.
    epoch_steps : minibatches in an epoch, each for one critic step; None is a pass over the data.
    max_steps, batch_size, lr_drops, average, precision, scoring_precision, calibration, heldout, scorer, contamination,
        image_size, device, random_state, checkpoint_dir, workers, skip_bad, verbose, monitor : as in :class:`AMA`.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> waic = WAIC(critic_width=2, generator_width=2, epochs=1, cross_entropy_epochs=1, epoch_steps=1, batch_size=8)
    >>> waic.fit(images).score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    The paper's generator is not described; this is DCGAN's. All members are one network of grouped convolutions, which draws
    their noise in one go. RMSProp is torch's (squares decay by .99), and goes on through both phases.

    References
    ----------
    Choi, Jang, Alemi: WAIC, but Why? Generative Ensembles for Robust Anomaly Detection, 2018, arXiv 1810.01392.
    WGAN-GP: Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, NeurIPS 2017, arXiv 1704.00028.
    """

    method = "waic"
    _watched_as = "waic"

    def __init__(
        self,
        members: int = 5,
        latent_dim: int = 128,
        critic_width: int = 8,
        generator_width: int = 32,
        critic_steps: int = 1,
        critic_warmup: int = 1,
        gradient_penalty: float = 10.0,
        cross_entropy_epochs: int = 4,
        learning_rate: float = 1e-3,
        epochs: int = 8,
        epoch_steps: int | None = 64,
        max_steps: int | None = None,
        batch_size: int = 32,
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
        self.members = members
        self.latent_dim = latent_dim
        self.critic_width = critic_width
        self.generator_width = generator_width
        self.critic_steps = critic_steps
        self.critic_warmup = critic_warmup
        self.gradient_penalty = gradient_penalty
        self.cross_entropy_epochs = cross_entropy_epochs
        self.learning_rate = learning_rate
        self._store_common(locals())

    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generators": Generator(channels, size, self.latent_dim, self.generator_width, self.members),
            "critics": WideCritic(channels, size, self.critic_width, self.members),
        }

        def make_optimizers() -> dict[str, Optimizer]:
            return {name: RMSprop(network.parameters(), lr=self.learning_rate) for name, network in networks.items()}

        return networks, make_optimizers

    def _phases(self) -> list[Phase]:
        return [
            Phase("wgan", self._play, self.epochs),
            Phase("cross_entropy", self._classify, self.cross_entropy_epochs),
        ]

    def _play(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A critic step of WGAN-GP for every member, and when it is their turn, a step of the generators."""
        critics, generators = self.networks_["critics"], self.networks_["generators"]
        x = self._for_all(batch.normal)
        with torch.no_grad():
            fake = generators(self._codes(len(x), run))
        real_value, fake_value = critics(torch.cat([x, fake])).split(len(x))
        penalty = losses.gradient_penalty(critics, x, fake, run.generator, self.members)
        gap = (real_value - fake_value).mean(0).sum()
        run.update("critics", self.gradient_penalty * penalty - gap)
        told = {"gap": gap.detach() / self.members, "penalty": penalty.detach() / self.members}
        if run.step in generator_turns(run.total_steps, self.critic_steps, self.critic_warmup):
            with resting(critics):
                run.update("generators", -critics(generators(self._codes(len(x), run))).mean(0).sum())
        return told

    def _classify(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of every critic as a classifier of real images and those of its own generator, whose weights rest."""
        x = self._for_all(batch.normal)
        with torch.no_grad(), running_statistics(self.networks_["generators"]):
            fake = self.networks_["generators"](self._codes(len(x), run))
        real_logit, fake_logit = self.networks_["critics"](torch.cat([x, fake])).split(len(x))
        loss = F.softplus(-real_logit).mean(0) + F.softplus(fake_logit).mean(0)
        run.update("critics", loss.sum())
        return {"cross_entropy": loss.detach().mean()}

    def _codes(self, count: int, run: Run) -> Tensor:
        """Standard normal codes of all members, ``(count, members * latent_dim)``."""
        return torch.randn(count, self.members * self.latent_dim, generator=run.generator).to(run.device)

    def _for_all(self, x: Tensor) -> Tensor:
        """The same images for every member, ``(b, members * c, h, w)``."""
        return x.repeat(1, self.members, 1, 1).contiguous(memory_format=torch.channels_last)

    def _raw_score(self, x: Tensor) -> Tensor:
        """-WAIC(x) = Var_m[logit_m(x)] - E_m[logit_m(x)]."""
        logits = self.networks_["critics"](self._for_all(x))
        return cast(Tensor, logits.var(1, correction=0) - logits.mean(1))

    def _signed(self) -> bool:
        return True

    def _watched(self, x: Tensor) -> Tensor:
        return -self._raw_score(x)

    def _validate(self) -> None:
        super()._validate()
        self._validate_counts(
            "members",
            "latent_dim",
            "critic_width",
            "generator_width",
            "critic_steps",
            "critic_warmup",
            "cross_entropy_epochs",
        )
        self._validate_weights("gradient_penalty")


@lru_cache(maxsize=8)
def generator_turns(steps: int, usual: int, warmup: int) -> frozenset[int]:
    """The critic steps, counted from 0, that a generator step follows.

    >>> sorted(generator_turns(60, usual=5, warmup=2))[-3:]
    [49, 54, 59]
    """
    turns: list[int] = []
    step, generator_steps = -1, 0
    while True:
        step += warmup if generator_steps < FIRST or generator_steps % EVERY == 0 else usual
        if step >= steps:
            return frozenset(turns)
        turns.append(step)
        generator_steps += 1
