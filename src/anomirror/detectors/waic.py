"""WAIC: an ensemble of Wasserstein GANs, whose critics are then trained to classify, and how far
they disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer, RMSprop

from anomirror import losses
from anomirror.detector.network import Built, NetworkDetector
from anomirror.detector.parameters import Count, Weight, declared
from anomirror.images import ImageShape
from anomirror.minibatch import Batch
from anomirror.networks.batch_norm import running_statistics
from anomirror.networks.dcgan import Generator, WideCritic
from anomirror.networks.freezing import frozen
from anomirror.schedule import Phase
from anomirror.scorers import Domain, Scores
from anomirror.training import Run

FIRST, EVERY = 25, 500
"""The first generator steps, and later every so manieth, come after ``critic_warmup`` critic steps.
"""


@declared
class WAIC(NetworkDetector):
    """Variance minus mean of the logits of an ensemble of critics: the Watanabe-Akaike information
    criterion, negative.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> waic = WAIC(members=3, epochs=1, cross_entropy_epochs=1, steps_per_epoch=1).fit(images)
    >>> waic.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    The paper's generator is not described; this is DCGAN's. All members are one network of grouped
    convolutions, which draws their noise in one go. RMSProp is torch's (squares decay by .99), and
    goes on through both phases.

    References
    ----------
    Choi, Jang, Alemi: WAIC, but Why? Generative Ensembles for Robust Anomaly Detection, 2018, arXiv
    1810.01392. WGAN-GP: Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, NeurIPS 2017, arXiv
    1704.00028.
    """

    method = "waic"
    statistic_names = ("mean", "variance")
    _watched_as = "waic"

    members: Count = 5
    """Size of the ensemble, M."""

    latent_dim: Count = 128
    """Size of each generator's codes."""

    critic_width: Count = 8
    """Channels of each critic's first convolution."""

    generator_width: Count = 32
    """Channels of each generator's last but one convolution."""

    critic_steps: Count = 1
    """Critic steps, each on a minibatch of its own, for one generator step."""

    critic_warmup: Count = 1
    """The same before each of the first 25 generator steps and every 500th."""

    gradient_penalty: Weight = 10.0
    """Weight of the gradient penalty of the WGAN-GP."""

    cross_entropy_epochs: Count = 4
    """Epochs of the critics as classifiers, after the WGAN-GP."""

    batch_size = 32
    ema_decay = None

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        networks: dict[str, nn.Module] = {
            "generators": Generator(
                channels, size, self.latent_dim, self.generator_width, self.members
            ),
            "critics": WideCritic(channels, size, self.critic_width, self.members),
        }

        def make_optimizers() -> dict[str, Optimizer]:
            return {
                name: RMSprop(network.parameters(), lr=self.learning_rate)
                for name, network in networks.items()
            }

        return networks, make_optimizers

    def _phases(self) -> list[Phase]:
        return [
            Phase("wgan", self._play, self.epochs),
            Phase("cross_entropy", self._classify, self.cross_entropy_epochs),
        ]

    def _play(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A critic step of WGAN-GP for every member, and when it is their turn, a step of the
        generators.
        """
        critics, generators = self.networks_["critics"], self.networks_["generators"]
        x = self._for_all(batch.normal)
        with torch.no_grad():
            fake = generators(self._codes(len(x), run))
        real_value, fake_value = critics(torch.cat([x, fake])).split(len(x))
        penalty = losses.gradient_penalty(critics, x, fake, run.generator, self.members)
        gap = (real_value - fake_value).mean(0).sum()
        run.update("critics", self.gradient_penalty * penalty - gap)
        logged = {"gap": gap.detach() / self.members, "penalty": penalty.detach() / self.members}
        if run.step in generator_turns(run.total_steps, self.critic_steps, self.critic_warmup):
            with frozen(critics):
                run.update(
                    "generators", -critics(generators(self._codes(len(x), run))).mean(0).sum()
                )
        return logged

    def _classify(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """A step of every critic as a classifier of real images and those of its own generator,
        whose weights rest.
        """
        x = self._for_all(batch.normal)
        with torch.no_grad(), running_statistics(self.networks_["generators"]):
            fake = self.networks_["generators"](self._codes(len(x), run))
        real_logit, fake_logit = self.networks_["critics"](torch.cat([x, fake])).split(len(x))
        loss = F.softplus(-real_logit).mean(0) + F.softplus(fake_logit).mean(0)
        run.update("critics", loss.sum())
        return {"cross_entropy": loss.detach().mean()}

    def _codes(self, count: int, run: Run) -> Tensor:
        """Standard normal codes of all members, ``(count, members * latent_dim)``."""
        return torch.randn(count, self.members * self.latent_dim, generator=run.generator).to(
            run.device
        )

    def _for_all(self, x: Tensor) -> Tensor:
        """The same images for every member, ``(b, members * c, h, w)``."""
        return x.repeat(1, self.members, 1, 1).contiguous(memory_format=torch.channels_last)

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Mean and variance of the logits over the members of the ensemble."""
        logits = self.networks_["critics"](self._for_all(x))
        return {"mean": logits.mean(1), "variance": logits.var(1, correction=0)}

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """-WAIC(x) = Var_m[logit_m(x)] - E_m[logit_m(x)]."""
        return statistics["variance"] - statistics["mean"]

    @property
    def raw_domain(self) -> Domain:
        """Logits have either sign."""
        return "real"

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        return -self._raw(statistics)


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
