"""AMA's R-score, corrected for what it owes to the structure of an image: ours, not the paper's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from torch import Tensor

from anomirror import losses, structure
from anomirror.detector.network import ReconstructingDetector
from anomirror.detector.parameters import SCORING, Fraction, declared, fitted
from anomirror.detector.streaming import evenly_spaced
from anomirror.detectors.density import Density
from anomirror.errors import SettingError
from anomirror.images import ImageSet
from anomirror.networks.residual import Critic
from anomirror.networks.spectral import cached_weights
from anomirror.scorers import Domain, Scores

FITTED_ON = 2048
"""Normal images of which the power and the density are fitted, at most."""

TOGETHER = frozenset({"r", "s", "code_norm", "code_cycle", "residual", "contrast"})
"""Statistics that have a density: all that are at least 0."""


@declared
class StructureCorrected(ReconstructingDetector):
    """Scores of an autoencoder and its critic: what they say of an image, and R(x) / S(x)^p.

    The statistic ``r`` is R(x) = || f(x, x) - f(x, x_hat) ||_1, and ``s`` is
    S(x) = || f(x, x) - f(x, reference) ||_1, where the reference is x without its structure.

    Notes
    -----
    As reconstructions become good, the critic looks at ever finer detail, and R comes to measure
    how much structure x has, not how wrong its reconstruction is; S is what the critic would say if
    nothing but the mean of x were reconstructed. The fitted p is the slope of log R on log S among
    normal images that are not all but blank: R is compared with what is usual for as much structure
    (docs/references.md).
    """

    statistic_names = ("r", "s", "gap", "code_norm", "code_cycle", "residual", "contrast")

    score: Annotated[Literal["r", "density"], SCORING] = "r"
    """"r": R(x) / S(x)^p; "density": how unusual that is, or all statistics together, one-sided and
    with the fitted power (docs/decisions/0026-density.md)."""

    structure_power: Annotated[Fraction | Literal["fitted"], SCORING] = "fitted"
    """Power p of how far the critic puts x from a reference image, by which R(x) is divided (see
    Notes): "fitted" is the one that the normal images show (1/2 if fewer than 32 do); 0 is Eq. (5)
    as it stands."""

    reference_image: Literal["mean", "median"] = "mean"
    """The reference image: flat in the "mean" colour of x within its black border, or in the
    "median" training pixel. The power is fitted to it: another one needs another fit."""

    reference_image_: Tensor = fitted()
    sensitivity_floor_: float = fitted()
    structure_power_: float = fitted()
    """Slope of log R on log S."""
    density_: Density | None = fitted(default=None)
    """Of the statistics of normal images; None in models that were saved before there was one."""

    def validate(self) -> None:
        super().validate()
        if self.score == "density" and self.structure_power != "fitted":
            raise SettingError(
                f"structure_power={self.structure_power!r}: score='density' takes the fitted "
                "power; leave structure_power as it is, or score='r'"
            )

    def _reference(self, x: Tensor) -> Tensor:
        """The reference image of each image: without its structure."""
        if self.reference_image == "median":
            return self.reference_image_.to(x.device).expand_as(x)
        return structure.flat_in_mean_colour(x)

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """As in every detector with networks, the critic's spectral norms computed once for all
        batches.
        """
        with super()._scoring(), cached_weights(self.networks_["critic"]):
            yield

    @abstractmethod
    def _pair(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """What the critic sees of x and x_hat."""

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """r and s, which scores are made of; and what a person may want to know of an image.

        * r: the R-score, Eq. (5): R(x) = || f(x, x) - f(x, x_hat) ||_1
        * s: S(x) = || f(x, x) - f(x, reference) ||_1, what R(x) would be if no structure of x were
          reconstructed
        * gap: D(x, x) - D(x, x_hat)
        * code_norm, code_cycle: || E(x) ||_2 and || E(x) - E(x_hat) ||_2
        * residual, contrast: || x - x_hat ||_2 and || x - reference ||_2 in pixels
        """
        encoder, critic = self.networks_["encoder"], self.network("critic", Critic)
        wanted, measured = frozenset(names), {}
        if wanted - {"s", "contrast"}:
            z = encoder(x)
            x_hat = self.networks_["generator"](z)
        if wanted & {"r", "s", "gap"}:
            f_same = critic.features(self._pair(x, x))
        if wanted & {"r", "gap"}:
            f_other = critic.features(self._pair(x, x_hat))
            measured["r"] = losses.feature_distance(f_same, f_other)
        if "gap" in wanted:
            measured["gap"] = critic.value(f_same) - critic.value(f_other)
        if wanted & {"s", "contrast"}:
            reference = self._reference(x)
            measured["contrast"] = losses.euclidean_norm(x - reference)
        if "s" in wanted:
            measured["s"] = losses.feature_distance(
                f_same, critic.features(self._pair(x, reference))
            )
        if "code_cycle" in wanted:
            measured["code_cycle"] = losses.euclidean_norm(z - encoder(x_hat))
        if wanted & {"code_norm", "residual"}:
            measured |= {
                "code_norm": losses.euclidean_norm(z),
                "residual": losses.euclidean_norm(x - x_hat),
            }
        return measured

    def _fit_correction(self, normal: ImageSet) -> None:
        """The reference image, the power of its distance and the density, of the final networks."""
        batches = self._batches(evenly_spaced(normal, 256))
        pixels = torch.cat([x.cpu() for x in batches]).transpose(0, 1).flatten(1)
        self.reference_image_ = pixels.median(1).values[:, None, None]
        measured = self.measure(evenly_spaced(normal, FITTED_ON), TOGETHER)
        self.sensitivity_floor_ = structure.floor_of(measured["s"])
        self.structure_power_ = structure.usual_power(measured["r"], measured["s"])
        self.density_ = Density.of(self._corrected(measured, self.structure_power_), measured)

    @property
    def raw_domain(self) -> Domain:
        """Deviations of a density may be negative."""
        return "real" if self.score == "density" else "nonnegative"

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """r, and s where R is corrected for structure; all that have a density."""
        if self.score == "density":
            return TOGETHER
        return frozenset({"r", "s"} if self.structure_power else {"r"})

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """R(x), over a power of S(x); or the deviation of the density."""
        if self.score == "density":
            if self.density_ is None:
                raise SettingError(
                    "score='density': this model was saved before there was one; fit again, or "
                    "score='r'"
                )
            raw = self._corrected(statistics, self.structure_power_)
            return self.density_.deviation(raw, {name: statistics[name] for name in TOGETHER})
        power = self.structure_power
        if not power:
            return statistics["r"]
        return self._corrected(statistics, self.structure_power_ if power == "fitted" else power)

    def _corrected(self, statistics: Mapping[str, Scores], power: float) -> Scores:
        return structure.corrected(statistics["r"], statistics["s"], self.sensitivity_floor_, power)

    def fitted_numbers(self) -> dict[str, float]:
        return {
            "residual_scale": self.map_scale_,
            "sensitivity_floor": self.sensitivity_floor_,
            "structure_power": self.structure_power_,
        }

    def _tensors(self) -> dict[str, Tensor]:
        density = {} if self.density_ is None else self.density_.tensors()
        return super()._tensors() | {"reference_image": self.reference_image_} | density

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        super()._restore(tensors, fitted)
        self.reference_image_ = tensors["reference_image"]
        if self.reference_image_.shape != (self.image_shape_[0], 1, 1):
            shape = tuple(self.reference_image_.shape)
            raise ValueError(f"a reference image of {shape} for images of {self.image_shape_}")
        # a model that was saved before there were densities has none
        known = any(name.startswith("density.") for name in tensors)
        self.density_ = Density.restored(tensors, len(TOGETHER)) if known else None
        self.map_scale_ = fitted["residual_scale"]
        self.sensitivity_floor_ = fitted["sensitivity_floor"]
        self.structure_power_ = fitted["structure_power"]
        if not (self.map_scale_ > 0 and self.sensitivity_floor_ > 0):
            raise ValueError(f"scales that are not positive: {dict(fitted)}")
        if not 0 <= self.structure_power_ <= 1:
            raise ValueError(f"a power outside [0, 1]: {dict(fitted)}")

    def _map(self, x: Tensor) -> Tensor:
        """|x - x_hat| as the mean over channels, ``(b, size, size)``, in [0, 2]."""
        return (x - self._reconstruction(x)).abs().mean(1)

    def _watches(self) -> frozenset[str]:
        return frozenset({"r"})

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        return statistics["r"]

    def _largest_watched(self) -> float:
        return 1e9
