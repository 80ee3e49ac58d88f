"""What ``model.json`` says of a model, checked as it is read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from anomirror.images import SIZES, WHITE

Value = bool | int | float | str | None | list[float] | list[int]


class MemberCard(BaseModel):
    """One detector of an ensemble."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    method: str
    parameters: dict[str, Value]
    size: int
    """Side of the square that it sees."""


class TriedCard(BaseModel):
    """One detector that was tried on made-up anomalies before a choice."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    chosen: bool
    auroc: dict[str, FiniteFloat] = Field(min_length=1)
    """By kind of made-up anomaly."""

    @property
    def mean(self) -> float:
        """Over the kinds."""
        return sum(self.auroc.values()) / len(self.auroc)


class ModelCard(BaseModel):
    """Contents of ``model.json``."""

    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1
    library: str
    method: str
    parameters: dict[str, Value]
    scorer: str
    scorer_state: dict[str, FiniteFloat]
    image_shape: list[int] = Field(min_length=3, max_length=3)
    trained_on: int = Field(ge=1)
    copies: int = Field(ge=0, default=0)
    """Training images that are exact copies of another one."""
    skipped: int = Field(ge=0, default=0)
    """Unreadable files that were left out of the training."""
    suspects_dropped: int = Field(ge=0, default=0)
    """Odd images that were left out of the training on request."""
    data_fingerprint: str
    calibration_fingerprint: str = ""
    """Of the images that it was recalibrated on; empty if training images calibrate."""
    fitted: dict[str, FiniteFloat] = {}
    members: list[MemberCard] = []
    tried: list[TriedCard] = []
    categories: list[str] = []
    """Of the images that calibrate, such as cameras, sorted; each is decided by itself."""
    category_pattern: str = ""
    """What the command line finds them with, in names of images."""
    calibrated_on: int = Field(ge=0)
    """Images that scorer, threshold and p-values come from; their raw scores are a tensor."""
    calibrated_images: int = Field(ge=0, default=0)
    """Images of which these are the oddest of each group; 0: as many."""
    calibrated_with: dict[str, Value] = {}
    """Parameters of measuring when they were measured."""
    calibrated_by: Literal["train", "heldout", "folds"]
    """Whether these were fitted as well, held out, or each scored by a fit without it."""
    sizes: tuple[int, int, FiniteFloat, FiniteFloat] | None = None
    """Of the training images: shortest and longest longest side, narrowest and widest width over
    height.
    """
    white: int = Field(gt=0, le=WHITE, default=WHITE)
    """Of pixels with 16 bits."""
    weights_sha256: str = ""
    """Set where the weights are written."""

    @field_validator("sizes", mode="before")
    @classmethod
    def _as_tuple(cls, sizes: object) -> object:
        return tuple(sizes) if isinstance(sizes, list) else sizes

    @field_validator("image_shape")
    @classmethod
    def _shape(cls, shape: list[int]) -> list[int]:
        channels, height, width = shape
        if channels < 1 or height != width or height not in SIZES:
            raise ValueError(f"{shape} is no (channels, size, size) with a size of {SIZES}")
        return shape
