"""How images of any size come into the square that a detector sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from anomirror.images import (
    Frame,
    ImageInput,
    ImageSet,
    ImageShape,
    ImageSize,
    SizeRange,
    open_images,
)


class Framing(ABC):
    """The part of every detector that opens images."""

    auto_size: ClassVar[int]
    image_size: ImageSize
    image_shape_: ImageShape
    sizes_: SizeRange | None
    white_: int

    @abstractmethod
    def _check_fitted(self) -> None: ...

    def open(self, X: ImageInput) -> ImageSet:
        """Images to fit on, as this detector would see them.

        Of a folder with ``train`` and ``test`` the first.
        """
        return open_images(X, image_size=self.image_size, most=self.auto_size, part="train")

    def open_to_score(self, X: ImageInput) -> ImageSet:
        """Images to score, as this fitted detector sees them.

        Of a folder with ``train`` and ``test`` the second.
        """
        self._check_fitted()
        return open_images(X, shape=self.image_shape_, frame=self._frame(), part="test")

    @property
    def frame_(self) -> Frame:
        """How images of any size come into the square that the detector sees."""
        self._check_fitted()
        return self._frame()

    def _frame(self) -> Frame:
        size = self.image_shape_[1]
        sizes = self.sizes_
        # as it was fitted: another size that is set later does not move the images
        asked = self.__dict__.get("fitted_with_", {}).get("image_size", self.image_size)
        shrunk = asked == "auto" and sizes is not None and sizes.longest > size
        scaled = shrunk or isinstance(asked, (int, np.integer))
        frame = replace(Frame.scaled(size) if scaled else Frame(size, 1, size), white=self.white_)
        return frame if sizes is None else frame.as_seen(sizes)
