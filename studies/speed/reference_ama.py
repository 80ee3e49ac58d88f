"""AMA written down as the paper states it, in float32, nothing reused.

What every speed-up is measured and checked against.

Several critic steps for each step of the autoencoder, E and G run again in every one of them, D(x,
x) computed again for each term, an interpolation in every critic step; scoring computes D(x, x), E,
G and D(x, x_hat), the spectral norm each time. Networks are the package's, their blocks written out
as in the paper's figure; weights, names and shapes are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from anomirror.networks.batch_norm import running_statistics, without_updating_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.residual import Critic, CriticBlock, Generator, UpBlock


class WrittenUpBlock(UpBlock):
    """BN-ReLU-double-conv3-BN-ReLU-conv3, plus double-conv1."""

    def forward(self, h: Tensor) -> Tensor:
        out = self.conv1(F.interpolate(F.relu(self.norm1(h)), scale_factor=2))
        out = self.conv2(F.relu(self.norm2(out)))
        return cast(Tensor, out + self.shortcut(F.interpolate(h, scale_factor=2)))


class WrittenCriticBlock(CriticBlock):
    """(ReLU-)conv3-ReLU-conv3-halve, plus conv1-halve; or without halving and shortcut."""

    def forward(self, h: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(h if self.first else F.relu(h))))
        if self.shortcut is None:
            return cast(Tensor, out + h)
        return F.avg_pool2d(out, 2) + F.avg_pool2d(self.shortcut(h), 2)


def written_out(network: nn.Module) -> nn.Module:
    """``network`` with its blocks as the paper writes them, in place."""
    for module in network.modules():
        if isinstance(module, UpBlock):
            module.__class__ = WrittenUpBlock
        elif isinstance(module, CriticBlock):
            module.__class__ = WrittenCriticBlock
    return network


@dataclass(frozen=True)
class Draws:
    """The random choices of one evaluation of the objective.

    ``endpoints`` (b, k) are mixed with ``weights`` (b, k); ``beside``, (b, k) or fewer columns,
    stand next to the mixture; ``z_negative`` is (m, d).
    """

    endpoints: Tensor
    beside: Tensor
    weights: Tensor
    z_negative: Tensor


@dataclass
class ReferenceAMA:
    """Networks, weights of the terms, optimisers, and the paper's loop over one minibatch."""

    encoder: Encoder
    generator: Generator
    critic: Critic
    interpolation_weight: float
    negatives_weight: float
    latent_weight: float
    critic_steps: int = 5
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        for network in (self.generator, self.critic):
            written_out(network)
        autoencoder: list[dict[str, Any]] = [
            {"params": list(self.generator.parameters())},
            {"params": list(self.encoder.parameters()), "betas": (0.5, 0.9)},
        ]
        self.critic_optimizer: Optimizer = Adam(
            self.critic.parameters(), self.learning_rate, (0.0, 0.9)
        )
        self.autoencoder_optimizer: Optimizer = Adam(autoencoder, self.learning_rate, (0.0, 0.9))

    def d(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """D(x, x_hat), the mean over the batch."""
        return cast(Tensor, self.critic(torch.cat([x, x_hat], dim=1))).mean()

    def objective(self, x: Tensor, draws: Draws, *, for_critic: bool) -> tuple[Tensor, Tensor]:
        """The weighted gaps of Eq. (2) to (4), and E ||E(x)||.

        For the critic, reconstructions are constants.
        """
        encoder, generator = self.encoder, self.generator
        with torch.set_grad_enabled(not for_critic):
            z = encoder(x)
            x_hat = generator(z)
            with without_updating_statistics(generator):
                x_inter = generator((draws.weights[..., None] * z[draws.endpoints]).sum(1))
            with running_statistics(encoder, generator):
                with torch.no_grad():
                    x_negative = generator(draws.z_negative)
                x_negative_hat = generator(encoder(x_negative))
        columns = [x[column] for column in draws.beside.T]
        normal = self.d(x, x) - self.d(x, x_hat)
        interpolated = torch.stack(
            [self.d(x_i, x_i) - self.d(x_i, x_inter) for x_i in columns]
        ).mean()
        negative = self.d(x_negative, x_negative) - self.d(x_negative, x_negative_hat)
        total = normal + self.interpolation_weight * interpolated - self.negatives_weight * negative
        return total, z.norm(dim=1).mean()

    def step(self, x: Tensor, draw: Callable[[], Draws]) -> None:
        """One minibatch: the critic goes up, ``critic_steps`` times, then encoder and generator go
        down.
        """
        self.critic.requires_grad_(True)
        for _ in range(self.critic_steps):
            gaps, _ = self.objective(x, draw(), for_critic=True)
            self.critic_optimizer.zero_grad()
            (-gaps).backward()  # type: ignore[no-untyped-call]
            self.critic_optimizer.step()
        self.critic.requires_grad_(False)
        gaps, norm = self.objective(x, draw(), for_critic=False)
        self.autoencoder_optimizer.zero_grad()
        (gaps + self.latent_weight * norm).backward()  # type: ignore[no-untyped-call]
        self.autoencoder_optimizer.step()

    @torch.no_grad()
    def raw_scores(self, x: Tensor) -> Tensor:
        """R(x), Eq. (5), ``(b,)``."""
        f_same = self.critic.features(torch.cat([x, x], dim=1))
        x_hat = self.generator(self.encoder(x))
        return (f_same - self.critic.features(torch.cat([x, x_hat], dim=1))).abs().sum(1)
