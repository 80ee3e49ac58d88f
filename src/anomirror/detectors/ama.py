"""AMA, the Adversarial Mirrored AutoEncoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import latent, losses
from anomirror.detector.network import Built
from anomirror.detector.parameters import Betas, Count, Fraction, Rate, Weight, declared, within
from anomirror.detector.streaming import evenly_spaced, shuffled_whole_batches
from anomirror.detectors.structure_corrected import StructureCorrected
from anomirror.errors import SettingError, warn
from anomirror.images import ImageSet, ImageShape
from anomirror.losses import Term
from anomirror.minibatch import Batch
from anomirror.networks.batch_norm import recompute, running_statistics, without_updating_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.residual import Critic, Generator
from anomirror.networks.spectral import converge_sigma
from anomirror.schedule import Phase
from anomirror.training import Run

LEAST_STEPS = 128
"""Of a training before it is judged: a critic that has hardly learnt tells nothing apart."""


@declared
class AMA(StructureCorrected):
    """Adversarial Mirrored AutoEncoder: fitted on normal images, scores how a critic tells them
    from their reconstruction.

    Examples
    --------
    >>> from anomirror.data.sample import load_sample
    >>> images = load_sample().train[:64]
    >>> ama = AMA(critic_width=4, epochs=1, steps_per_epoch=1).fit(images)
    >>> sorted(ama.statistics(images[:2]))
    ['code_cycle', 'code_norm', 'contrast', 'gap', 'r', 'residual', 's']

    Notes
    -----
    Departures from the paper, each switched off by the argument in brackets. Scoring with averaged
    weights (``ema_decay=None``) and recomputed batch-norm statistics
    (``recompute_statistics=False``). R corrected for structure (``structure_power=0``; see
    :class:`StructureCorrected`). A training that begins badly is begun again (``restart=False``).
    The A-score as a density of log R around its median
    (``scorer="gaussian"``): R has a long tail.

    Where the paper is silent: one endpoint of an interpolation stands next to it, or all; negatives
    pass through E and G with the running batch-norm statistics, as they will in scoring, and
    neither they nor interpolations enter those statistics.

    References
    ----------
    Somepalli, Wu, Balaji, Vinzamuri, Feizi: Unsupervised Anomaly Detection with Adversarial
    Mirrored AutoEncoders, UAI 2021, arXiv 2003.10713.
    """

    method = "ama"
    _way_out = "lower the learning rate, or turn the critic's normalisation on"
    learns_from_anomalies = True
    explains = True

    latent_dim: Count = 16
    """Size of the latent code, n_z."""

    encoder_width: Count = 32
    """Channels of the encoder; the paper's are 64."""

    generator_width: Count = 32
    """Channels of the generator; the paper's are 256."""

    critic_width: Count = 32
    """Channels of the critic; the paper's are 128."""

    mirrored: bool = True
    """The critic sees pairs (x, x) and (x, x_hat); False is the ordinary critic on single images.
    """

    interpolation: Count | None = 3
    """k, images whose codes are mixed in the simplex interpolation, at most ``batch_size``; None
    leaves it out."""

    interpolation_weight: Weight = 0.5
    """lambda_inter."""

    interpolation_endpoints: Literal["all", "one"] = "one"
    """Images that the mixture is paired with: the mean over all k, or one."""

    negatives: latent.NegativeKind | None = "inward"
    """Synthetic negatives: "inward" or "outward" (atypical selection on a shell) or "box". Labelled
    anomalies replace them."""

    negatives_weight: Weight = 0.1
    """lambda_neg of synthetic negatives; L_neg is a mean over them."""

    anomalies_weight: Weight = 0.1
    """lambda_neg of labelled anomalies; L_neg is a mean over them."""

    negatives_fraction: Annotated[float, within("(0, 1]")] = 0.1
    """Negatives as a fraction of the minibatch."""

    negatives_start: Fraction = 0.1
    """Fraction of the run after which negatives start (the paper: 10 of 100 epochs)."""

    restart: bool = True
    """Begin the training again, with negatives from its first step, where after a quarter of it
    they are reconstructed better than normal images."""

    negatives_literal: bool = False
    """L_neg = D(x, x) - D(x, G(z_neg)) with a normal x, instead of the negatives' own
    reconstruction.
    """

    delta: Rate = 2.0
    """Thickness of the shell, or margin of the box."""

    latent_weight: Weight = 1.0
    """lambda_reg, weight of the (unsquared) norm of the codes."""

    spectral: bool = True
    """Spectral normalisation of the critic."""

    gradient_penalty: Weight = 0.0
    """Weight of the per-sample penalty; 0 leaves it out."""

    critic_steps: Count = 1
    """Critic updates for each update of the autoencoder, all on one reconstruction."""

    learning_rate = 3e-4
    betas: Betas = (0.0, 0.9)
    """Adam's decay rates for generator and critic."""

    encoder_betas: Betas = (0.5, 0.9)
    """Adam's decay rates for the encoder."""

    recompute_statistics: bool = True
    """After training, compute batch-norm statistics again on normal images."""

    lr_milestones = (0.3, 0.6, 0.9)

    def _build(self, image_shape: ImageShape) -> Built:
        channels, size, _ = image_shape
        encoder = Encoder(channels, size, self.latent_dim, self.encoder_width)
        generator = Generator(channels, size, self.latent_dim, self.generator_width)
        seen = 2 * channels if self.mirrored else channels
        critic = Critic(seen, size, self.critic_width, spectral=self.spectral)

        def make_optimizers() -> dict[str, Optimizer]:
            betas = (self.betas[0], self.betas[1])
            autoencoder: list[dict[str, object]] = [
                {"params": list(generator.parameters())},
                {"params": list(encoder.parameters()), "betas": tuple(self.encoder_betas)},
            ]
            return {
                "critic": Adam(critic.parameters(), lr=self.learning_rate, betas=betas),
                "autoencoder": Adam(autoencoder, lr=self.learning_rate, betas=betas),
            }

        return {"encoder": encoder, "generator": generator, "critic": critic}, make_optimizers

    def _phases(self) -> list[Phase]:
        return [Phase("adversarial", self._step, self.epochs)]

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        """The objective, Eq. (2) to (4): min over E and G, max over D of sum_t w_t gap_t + reg."""
        encoder, generator, critic = (
            self.networks_[name] for name in ("encoder", "generator", "critic")
        )
        x = batch.normal
        z = encoder(x)
        terms = [Term("gap", 1.0, x, generator(z))]
        if self.interpolation is not None:
            terms += self._interpolations(x, z, run)
        if run.attempt or run.progress >= self.negatives_start:
            terms += self._negatives(batch, z, run)

        critic.requires_grad_(True).train()
        for _ in range(self.critic_steps):
            gaps = losses.gaps(critic, self._pair, terms)
            penalty = self._penalty(terms[0], run)
            gain = losses.weighted_sum(terms, gaps)
            run.update("critic", self.gradient_penalty * penalty - gain)

        critic.requires_grad_(False).eval()  # in eval mode the spectral norm does not iterate
        pairs = [self._pair(term.x, term.x_hat) for term in terms]
        values = torch.split(critic(torch.cat(pairs)), [len(pair) for pair in pairs])
        fooling = losses.weighted_sum(terms, [value.mean() for value in values])
        norm = losses.latent_norm(z)
        # D(x, x) does not depend on E and G
        run.update("autoencoder", self.latent_weight * norm - fooling)

        # the paper claims that this settles near 1
        against_root = norm.detach() / math.sqrt(self.latent_dim)
        logged = {
            "latent_norm": norm.detach(),
            "latent_norm_over_sqrt_d": against_root,
            "penalty": penalty.detach(),
        }
        for term, gap in zip(terms, gaps, strict=True):
            logged[term.name] = logged.get(term.name, 0.0) + gap.detach() / sum(
                t.name == term.name for t in terms
            )
        return logged

    def _gives_up(self, run: Run, row: Mapping[str, float]) -> bool:
        """Whether D tells negatives from their reconstruction less than normal images from theirs.

        Looked at once: after the first epoch that had negatives throughout and ends beyond a
        quarter of the run and 128 steps, in its first half. What it means: docs/stability.md.
        """
        if not (self.restart and self.mirrored) or 0.0 in (
            self.negatives_start,
            self.negatives_weight,
        ):
            return False
        steps = run.step / row["epoch"]
        negatives_from = 0 if run.attempt else math.ceil(self.negatives_start * run.total_steps)
        first = max(run.total_steps / 4, LEAST_STEPS, negatives_from + steps)
        looked_at = run.step - steps < first <= run.step <= run.total_steps / 2
        missed = looked_at and row.get("gap_negative", math.inf) < row.get("gap", 0.0)
        if missed and run.attempt:
            warn(
                "negatives are reconstructed better than normal images, at the second attempt too: "
                "they teach this training little; another random_state may do better"
            )
        return missed and not run.attempt

    def _penalty(self, term: Term, run: Run) -> Tensor:
        """The gradient penalty between (x, x) and (x, x_hat); 0 if it has no weight."""
        if self.gradient_penalty == 0:
            return torch.zeros((), device=term.x.device)
        real, fake = self._pair(term.x, term.x), self._pair(term.x, term.x_hat.detach())
        return losses.gradient_penalty(self.networks_["critic"], real, fake, run.generator)

    def _interpolations(self, x: Tensor, z: Tensor, run: Run) -> list[Term]:
        """D(x, x) - D(x, x_inter) for mixtures of k codes; the gradient reaches E and G."""
        k = cast(int, self.interpolation)
        chosen = latent.endpoints(len(z), k, run.generator).to(z.device)
        weights = latent.simplex_weights(len(z), k, run.generator).to(z.device)
        generator = self.networks_["generator"]
        with without_updating_statistics(generator):
            x_inter = generator(latent.interpolate(z, chosen, weights))
        beside = k if self.mirrored and self.interpolation_endpoints == "all" else 1
        weight = self.interpolation_weight / beside
        # every column of chosen is a permutation of the batch, so the mean of D(x, x) over it is
        # that of the batch
        return [
            Term("gap_interpolation", weight, x[chosen[:, i]], x_inter, own_source=x)
            for i in range(beside)
        ]

    def _negatives(self, batch: Batch, z: Tensor, run: Run) -> list[Term]:
        """L_neg: labelled anomalies, or synthetic ones as images, next to their own
        reconstruction.
        """
        encoder, generator = self.networks_["encoder"], self.networks_["generator"]
        labelled = batch.anomalies
        if len(labelled):
            with running_statistics(encoder, generator):
                x_hat = generator(encoder(labelled))
            return [Term("gap_negative", -self.anomalies_weight, labelled, x_hat)]
        if self.negatives is None:
            return []
        count = self.anomalies_per_batch(len(z))
        if self.negatives == "box":
            z_negative = latent.box(count, z, self.delta, run.generator)
        else:
            shape = count, self.latent_dim
            z_negative = latent.shell(*shape, self.delta, self.negatives, run.generator)
        z_negative = z_negative.to(z.device)
        with running_statistics(encoder, generator):
            if self.negatives_literal:
                x, x_hat = batch.normal[:count], generator(z_negative)
            else:
                with torch.no_grad():
                    x = generator(z_negative)
                x_hat = generator(encoder(x))
        return [Term("gap_negative", -self.negatives_weight, x, x_hat)]

    def _pair(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """What the critic sees: (x, x_hat) stacked on the channels, or x_hat alone."""
        return torch.cat([x, x_hat], dim=1) if self.mirrored else x_hat

    def finish(self, normal: ImageSet) -> None:
        converge_sigma(self.networks_["critic"])
        with self._scoring():
            self._measure(normal)

    def _measure(self, normal: ImageSet) -> None:
        """Everything that scoring needs to know next to the weights."""
        if self.recompute_statistics:
            autoencoder = nn.Sequential(self.networks_["encoder"], self.networks_["generator"])
            # large images are scored a few at a time; their statistics want as many at once as
            # training saw
            batch_size = max(self.batch_size, self._scoring_batch())
            recompute(
                autoencoder, self._batches(shuffled_whole_batches(normal, batch_size), batch_size)
            )
        self._fit_correction(normal)
        self.map_scale_ = self._map_scale(evenly_spaced(normal, 256))

    def anomalies_per_batch(self, batch_size: int) -> int:
        return max(1, round(self.negatives_fraction * batch_size))

    def validate(self) -> None:
        super().validate()
        if self.interpolation is not None and self.interpolation > self.batch_size:
            raise SettingError(
                f"interpolation={self.interpolation!r}: expected at most "
                f"batch_size={self.batch_size}"
            )
