"""AMA's R-score, corrected for what it owes to the structure of an image: ours, not the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor

from anomirror import structure
from anomirror.detector.network import ReconstructingDetector
from anomirror.detector.parameters import SCORING, Fraction, declared, fitted
from anomirror.detector.streaming import evenly_spaced
from anomirror.images import ImageSet
from anomirror.scorers import Scores

FITTED_ON = 2048
"""Normal images of which the power is fitted, at most."""


@declared
class StructureCorrected(ReconstructingDetector):
    """A detector whose raw score is R(x) / S(x)^p.

    R(x) = || f(x, x) - f(x, x_hat) ||_1 is the statistic ``r``, and S(x) = || f(x, x) - f(x, reference)
    ||_1 the statistic ``s``, where the reference is x without its structure.

    Notes
    -----
    As reconstructions become good, the critic looks at ever finer detail, and R comes to measure how
    much structure x has, not how wrong its reconstruction is; S is what the critic would say if
    nothing but the mean of x were reconstructed. The fitted p is the slope of log R on log S among
    normal images that are not all but blank: R is compared with what is usual for as much structure
    (docs/references.md).
    """

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

    def _reference(self, x: Tensor) -> Tensor:
        """The reference image of each image: without its structure."""
        if self.reference_image == "median":
            return self.reference_image_.to(x.device).expand_as(x)
        return structure.flat_in_mean_colour(x)

    def _fit_correction(self, normal: ImageSet) -> None:
        """The reference image, and the power of its distance, from the final networks."""
        batches = self._batches(evenly_spaced(normal, 256))
        pixels = torch.cat([x.cpu() for x in batches]).transpose(0, 1).flatten(1)
        self.reference_image_ = pixels.median(1).values[:, None, None]
        measured = self._measured(evenly_spaced(normal, FITTED_ON), ("r", "s"))
        self.sensitivity_floor_ = structure.floor_of(measured["s"])
        self.structure_power_ = structure.usual_power(measured["r"], measured["s"])

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """r, and s where R is corrected for structure."""
        return frozenset({"r", "s"} if self.structure_power else {"r"})

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """R(x), over a power of S(x)."""
        power = self.structure_power
        if not power:
            return statistics["r"]
        power = self.structure_power_ if isinstance(power, str) else power
        return structure.corrected(statistics["r"], statistics["s"], self.sensitivity_floor_, power)

    def _fitted(self) -> dict[str, float]:
        return {
            "sensitivity_floor": self.sensitivity_floor_,
            "structure_power": self.structure_power_,
        }

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | {"reference_image": self.reference_image_}

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        super()._restore(tensors, fitted)
        self.reference_image_ = tensors["reference_image"]
        if self.reference_image_.shape != (self.image_shape_[0], 1, 1):
            shape = tuple(self.reference_image_.shape)
            raise ValueError(f"a reference image of {shape} for images of {self.image_shape_}")
        self.sensitivity_floor_ = fitted["sensitivity_floor"]
        self.structure_power_ = fitted["structure_power"]
        if not self.sensitivity_floor_ > 0:
            raise ValueError(f"a sensitivity that is not positive: {dict(fitted)}")
        if not 0 <= self.structure_power_ <= 1:
            raise ValueError(f"a power outside [0, 1]: {dict(fitted)}")
