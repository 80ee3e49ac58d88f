"""AMA, the Adversarial Mirrored AutoEncoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror import latent, losses, structure
from anomirror.detector.network import ReconstructingDetector
from anomirror.detector.parameters import SCORING, Betas, Count, Fraction, Rate, Weight, declared, fitted, within
from anomirror.detector.streaming import evenly_spaced
from anomirror.errors import SettingError
from anomirror.images import ImageSet, ImageShape, Subset
from anomirror.networks.batch_norm import recompute, running_statistics, without_updating_statistics
from anomirror.networks.convolutional import Encoder
from anomirror.networks.residual import Critic, Generator
from anomirror.networks.spectral import cached_weights, converge_sigma
from anomirror.schedule import Phase
from anomirror.scorers import Scores
from anomirror.storage import Value
from anomirror.training import Batch, Run


@declared
class AMA(ReconstructingDetector):
    """Adversarial Mirrored AutoEncoder: fitted on normal images, scores how a critic tells them from their reconstruction.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 255, (64, 32, 32), dtype=np.uint8)
    >>> ama = AMA(epochs=1, steps_per_epoch=1, encoder_width=4, generator_width=4, critic_width=4).fit(images)
    >>> ama.score_samples(images[:2]).shape
    (2,)

    Notes
    -----
    Departures from the paper, each switched off by the argument in brackets. Scoring with averaged weights (``ema_decay=None``)
    and recomputed batch-norm statistics (``recompute_statistics=False``). The relative R-score (``structure_power=0``):
    R(x) / S(x)^p with S(x) = || f(x, x) - f(x, blank) ||_1, where blank is flat in the mean colour of x. As reconstructions
    become good, the critic looks at ever finer detail, and R comes to measure how much structure x has, not how wrong its
    reconstruction is; S is what the critic would say if nothing but the mean of x were reconstructed. The fitted p is the slope
    of log R on log S among normal images that are not all but blank: R is compared with what is usual for as much structure
    (docs/references.md). The A-score as a density of log R around its median (``scorer="gaussian"``): R has a long tail.

    Where the paper is silent: one endpoint of an interpolation stands beside it, or all; negatives pass through E and G with
    the running batch-norm statistics, as they will in scoring, and neither they nor interpolations enter those statistics.

    References
    ----------
    Somepalli, Wu, Balaji, Vinzamuri, Feizi: Unsupervised Anomaly Detection with Adversarial Mirrored AutoEncoders,
    UAI 2021, arXiv 2003.10713.
    """

    method = "ama"
    _way_out = "lower the learning rate, or turn the critic's normalisation on"
    learns_from_anomalies = True
    explains = True
    statistic_names = ("r", "s", "gap", "code_norm", "code_cycle", "residual", "contrast")

    latent_dim: Count = 16
    """Size of the latent code, n_z."""

    encoder_width: Count = 32
    """Channels of the encoder; the paper's are 64."""

    generator_width: Count = 32
    """Channels of the generator; the paper's are 256."""

    critic_width: Count = 32
    """Channels of the critic; the paper's are 128."""

    mirrored: bool = True
    """The critic sees pairs (x, x) and (x, x_hat); False is the ordinary critic on single images."""

    interpolation: Count | None = 3
    """k, images whose codes are mixed in the simplex interpolation, at most ``batch_size``; None leaves
    it out."""

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

    negatives_literal: bool = False
    """L_neg = D(x, x) - D(x, G(z_neg)) with a normal x, instead of the negatives' own reconstruction."""

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

    structure_power: Annotated[Fraction | Literal["fitted"], SCORING] = "fitted"
    """Power p of how far the critic puts x from a reference image, by which R(x) is divided (see Notes):
    "fitted" is the one that the normal images show (1/2 if fewer than 32 do); 0 is Eq. (5) as it
    stands."""

    reference_image: Literal["mean", "median"] = "mean"
    """The reference image: flat in the "mean" colour of x within its black border, or in the "median"
    training pixel. The power is fitted to it: another one needs another fit."""

    recompute_statistics: bool = True
    """After training, compute batch-norm statistics anew on normal images."""

    lr_milestones = (0.3, 0.6, 0.9)

    reference_image_: Tensor = fitted()
    sensitivity_floor_: float = fitted()
    structure_power_: float | None = fitted()
    """Slope of log R on log S; None in models that were written before it was fitted."""

    @classmethod
    def brought_up_to_date(cls, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """Known anomalies weighed as much as synthetic ones before they had a weight of their own; R was relative or not."""
        upgraded = super().brought_up_to_date(parameters)
        if "negatives_weight" in upgraded:
            upgraded.setdefault("anomalies_weight", upgraded["negatives_weight"])
        if "structure_power" in upgraded and "reference_image" not in upgraded:
            upgraded |= {"structure_power": 1.0 if upgraded["structure_power"] else 0.0, "reference_image": "median"}
        return upgraded

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """As in every detector with networks, the critic's spectral norms computed once for all batches."""
        with super()._scoring(), cached_weights(self.networks_["critic"]):
            yield

    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        channels, size, _ = image_shape
        encoder = Encoder(channels, size, self.latent_dim, self.encoder_width)
        generator = Generator(channels, size, self.latent_dim, self.generator_width)
        seen = 2 * channels if self.mirrored else channels
        critic = Critic(seen, size, self.critic_width, spectral=self.spectral)

        def make_optimizers() -> dict[str, Optimizer]:
            betas = (self.betas[0], self.betas[1])
            autoencoder: list[dict[str, Any]] = [
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
        """One minibatch of the whole objective, Eq. (2) to (4): min over E and G, max over D of sum_t w_t gap_t + reg."""
        encoder, generator, critic = (self.networks_[name] for name in ("encoder", "generator", "critic"))
        x = batch.normal
        z = encoder(x)
        terms = [_Term("gap", 1.0, x, generator(z))]
        if self.interpolation is not None:
            terms += self._interpolations(x, z, run)
        if run.progress >= self.negatives_start:
            terms += self._negatives(batch, z, run)

        critic.requires_grad_(True).train()
        for _ in range(self.critic_steps):
            gaps, penalty = self._gaps(terms, run)
            gain = torch.stack([term.weight * gap for term, gap in zip(terms, gaps, strict=True)]).sum()
            run.update("critic", self.gradient_penalty * penalty - gain)

        critic.requires_grad_(False).eval()  # in eval mode the spectral norm does not iterate
        values = critic(torch.cat([self._pair(term.x, term.x_hat) for term in terms])).split([len(t.x) for t in terms])
        fooling = torch.stack([term.weight * value.mean() for term, value in zip(terms, values, strict=True)]).sum()
        norm = losses.latent_norm(z)
        run.update("autoencoder", self.latent_weight * norm - fooling)  # D(x, x) does not depend on E and G

        against_root = norm.detach() / math.sqrt(self.latent_dim)  # the paper claims that this settles near 1
        logged = {"latent_norm": norm.detach(), "latent_norm_over_sqrt_d": against_root, "penalty": penalty.detach()}
        for term, gap in zip(terms, gaps, strict=True):
            logged[term.name] = logged.get(term.name, 0.0) + gap.detach() / sum(t.name == term.name for t in terms)
        return logged

    def _gaps(self, terms: Sequence[_Term], run: Run) -> tuple[list[Tensor], Tensor]:
        """D(x, x) - D(x, x_hat) of every term as a mean, for the critic alone, and the gradient penalty."""
        critic = self.networks_["critic"]
        sources: list[Tensor] = []  # images whose D(x, x) is needed, each once
        for term in terms:
            if not any(term.source is seen for seen in sources):
                sources.append(term.source)
        pairs = [self._pair(s, s) for s in sources] + [self._pair(t.x, t.x_hat.detach()) for t in terms]
        values = critic(torch.cat(pairs)).split([len(pair) for pair in pairs])
        same = values[: len(sources)]
        gaps = [
            losses.wasserstein_gap(next(d for s, d in zip(sources, same, strict=True) if s is term.source), other)
            for term, other in zip(terms, values[len(sources) :], strict=True)
        ]
        penalty = torch.zeros((), device=gaps[0].device)
        if self.gradient_penalty > 0:
            first = terms[0]
            real, fake = self._pair(first.x, first.x), self._pair(first.x, first.x_hat.detach())
            penalty = losses.gradient_penalty(critic, real, fake, run.generator)
        return gaps, penalty

    def _interpolations(self, x: Tensor, z: Tensor, run: Run) -> list[_Term]:
        """D(x, x) - D(x, x_inter) for mixtures of k codes; the gradient reaches E through z, and G."""
        k = cast(int, self.interpolation)
        chosen = latent.endpoints(len(z), k, run.generator).to(z.device)
        weights = latent.simplex_weights(len(z), k, run.generator).to(z.device)
        generator = self.networks_["generator"]
        with without_updating_statistics(generator):
            x_inter = generator(latent.interpolate(z, chosen, weights))
        beside = k if self.mirrored and self.interpolation_endpoints == "all" else 1
        weight = self.interpolation_weight / beside
        # every column of chosen is a permutation of the batch, so the mean of D(x, x) over it is that of the batch
        return [_Term("gap_interpolation", weight, x[chosen[:, i]], x_inter, own_source=x) for i in range(beside)]

    def _negatives(self, batch: Batch, z: Tensor, run: Run) -> list[_Term]:
        """L_neg: known anomalies, or synthetic ones as images, beside their own reconstruction."""
        encoder, generator = self.networks_["encoder"], self.networks_["generator"]
        known = batch.anomalies
        if len(known):
            with running_statistics(encoder, generator):
                return [_Term("gap_negative", -self.anomalies_weight, known, generator(encoder(known)))]
        if self.negatives is None:
            return []
        count = self._share_of(len(z))
        if self.negatives == "box":
            z_negative = latent.box(count, z, self.delta, run.generator)
        else:
            z_negative = latent.shell(count, self.latent_dim, self.delta, self.negatives, run.generator)
        z_negative = z_negative.to(z.device)
        with running_statistics(encoder, generator):
            if self.negatives_literal:
                x = batch.normal[:count]
                return [_Term("gap_negative", -self.negatives_weight, x, generator(z_negative))]
            with torch.no_grad():
                x_negative = generator(z_negative)
            return [_Term("gap_negative", -self.negatives_weight, x_negative, generator(encoder(x_negative)))]

    def _pair(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """What the critic sees: (x, x_hat) stacked on the channels, or x_hat alone."""
        return torch.cat([x, x_hat], dim=1) if self.mirrored else x_hat

    def _reconstruction(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.networks_["generator"](self.networks_["encoder"](x)))

    def _reference(self, x: Tensor) -> Tensor:
        """The reference image of each image: without its structure."""
        if self.reference_image == "median":
            return self.reference_image_.to(x.device).expand_as(x)
        return structure.flat_in_mean_colour(x)

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """r and s, which scores are made of; and what a person may want to know of an image.

        * r: the R-score, Eq. (5): R(x) = || f(x, x) - f(x, x_hat) ||_1
        * s: S(x) = || f(x, x) - f(x, reference) ||_1, what R(x) would be if no structure of x were reconstructed
        * gap: D(x, x) - D(x, x_hat)
        * code_norm, code_cycle: || E(x) ||_2 and || E(x) - E(x_hat) ||_2
        * residual, contrast: || x - x_hat ||_2 and || x - reference ||_2 in pixels
        """
        encoder, critic = self.networks_["encoder"], cast(Critic, self.networks_["critic"])
        wanted, found = frozenset(names), {}
        if wanted - {"s", "contrast"}:
            z = encoder(x)
            x_hat = self.networks_["generator"](z)
        if wanted & {"r", "s", "gap"}:
            f_same = critic.features(self._pair(x, x))
        if wanted & {"r", "gap"}:
            f_other = critic.features(self._pair(x, x_hat))
            found["r"] = losses.feature_distance(f_same, f_other)
        if "gap" in wanted:
            found["gap"] = critic.value(f_same) - critic.value(f_other)
        if wanted & {"s", "contrast"}:
            reference = self._reference(x)
            found["contrast"] = _norm(x - reference)
        if "s" in wanted:
            found["s"] = losses.feature_distance(f_same, critic.features(self._pair(x, reference)))
        if "code_cycle" in wanted:
            found["code_cycle"] = _norm(z - encoder(x_hat))
        if wanted & {"code_norm", "residual"}:
            found |= {"code_norm": _norm(z), "residual": _norm(x - x_hat)}
        return found

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """r, and s where R is corrected for structure."""
        return frozenset({"r", "s"} if self.structure_power else {"r"})

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """R(x), over a power of S(x)."""
        if not self.structure_power:
            return statistics["r"]
        return structure.corrected(statistics["r"], statistics["s"], self.sensitivity_floor_, self._power())

    def _watches(self) -> frozenset[str]:
        return frozenset({"r"})

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        return statistics["r"]

    def _power(self) -> float:
        if not isinstance(self.structure_power, str):
            return self.structure_power
        if self.structure_power_ is None:
            raise SettingError(
                "structure_power='fitted': this model is from before the power was fitted; fit it again, or give a number"
            )
        return self.structure_power_

    def _finish(self, normal: ImageSet) -> None:
        converge_sigma(self.networks_["critic"])
        with self._scoring():
            self._measure(normal)

    def _measure(self, normal: ImageSet) -> None:
        """Everything that scoring needs to know beside the weights."""
        some = evenly_spaced(normal, 256)
        pixels = torch.cat([x.cpu() for x in self._batches(some)]).transpose(0, 1).flatten(1)
        self.reference_image_ = pixels.median(1).values[:, None, None]
        if self.recompute_statistics:
            autoencoder = nn.Sequential(self.networks_["encoder"], self.networks_["generator"])
            # large images are scored a few at a time; their statistics want as many at once as training saw
            batch_size = max(self.batch_size, self._scoring_batch())
            recompute(autoencoder, self._batches(_shuffled_whole_batches(normal, batch_size), batch_size))
        measured = self._measured(evenly_spaced(normal, 2048), ("r", "s"))
        self.sensitivity_floor_ = structure.floor_of(measured["s"])
        self.structure_power_ = structure.usual_power(measured["r"], measured["s"])
        self.map_scale_ = self._map_scale(some)

    def _map(self, x: Tensor) -> Tensor:
        """|x - x_hat| as the mean over channels, ``(b, size, size)``, in [0, 2]."""
        return (x - self._reconstruction(x)).abs().mean(1)

    def _fitted(self) -> dict[str, float]:
        fitted = {"residual_scale": cast(float, self.map_scale_), "sensitivity_floor": self.sensitivity_floor_}
        return fitted if self.structure_power_ is None else fitted | {"structure_power": self.structure_power_}

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | {"blank": self.reference_image_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        super()._restore(tensors, fitted)
        self.reference_image_ = tensors["blank"]
        if self.reference_image_.shape != (self.image_shape_[0], 1, 1):
            raise ValueError(f"a blank image of {tuple(self.reference_image_.shape)} for images of {self.image_shape_}")
        self.map_scale_ = fitted["residual_scale"]
        self.sensitivity_floor_ = fitted["sensitivity_floor"]
        self.structure_power_ = fitted.get("structure_power")
        if not (self.map_scale_ > 0 and self.sensitivity_floor_ > 0):
            raise ValueError(f"scales that are not positive: {dict(fitted)}")
        if self.structure_power_ is None and self.structure_power == "fitted":
            raise ValueError("structure_power is 'fitted', and none is there")
        if not 0 <= (self.structure_power_ or 0.0) <= 1:
            raise ValueError(f"a power outside [0, 1]: {dict(fitted)}")

    def _anomalies_per_batch(self, batch_size: int) -> int:
        return self._share_of(batch_size)

    def _share_of(self, batch_size: int) -> int:
        return max(1, round(self.negatives_fraction * batch_size))

    def _largest_watched(self) -> float:
        return 1e9

    def _validate(self) -> None:
        super()._validate()
        if self.interpolation is not None and self.interpolation > self.batch_size:
            raise SettingError(f"interpolation={self.interpolation!r}: expected at most batch_size={self.batch_size}")


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each of the batch, ``(b,)`` float32."""
    norm: Tensor = torch.linalg.vector_norm(x.float().flatten(1), dim=1)
    return norm


def _shuffled_whole_batches(images: ImageSet, batch_size: int) -> ImageSet:
    """In an order that mixes what a folder sorts, without an incomplete batch: each batch counts alike in the statistics."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    return Subset(images, order[: max(1, len(order) // batch_size) * batch_size])


@dataclass(frozen=True)
class _Term:
    """A weighted gap D(source, source) - D(x, x_hat) of the objective."""

    name: str
    weight: float
    x: Tensor
    x_hat: Tensor
    own_source: Tensor | None = None

    @property
    def source(self) -> Tensor:
        """The images of D(x, x): ``x``, unless another order of the same ones is at hand."""
        return self.x if self.own_source is None else self.own_source
