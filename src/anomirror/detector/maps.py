"""Maps: where an image deviates from normal ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from anomirror.errors import SettingError
from anomirror.images import ArrayImages, Frame, ImageInput, ImageSet


class Explaining(ABC):
    """The part of every detector that can say where, if its method can: it writes :meth:`_map`."""

    method: ClassVar[str]
    explains: ClassVar[bool] = False
    """Whether it can say where an image deviates from normal ones."""

    map_scale_: float

    @property
    @abstractmethod
    def frame_(self) -> Frame: ...

    @abstractmethod
    def open_to_score(self, X: ImageInput) -> ImageSet: ...

    @abstractmethod
    def _batches(self, images: ImageSet, batch_size: int | None = None) -> Iterator[Tensor]: ...

    @abstractmethod
    def _frame(self) -> Frame: ...

    @abstractmethod
    def _scoring(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def _check_fitted(self) -> None: ...

    def explain(self, X: ImageInput) -> np.ndarray:
        """Where images deviate from normal ones: one map for each, float32, >= 0.

        The deviation of each pixel (the method says from what) above the 99 % quantile of those of
        normal pixels, in units of that quantile: 0 for 99 % of the pixels of normal images, 1 for a
        deviation twice as large.

        Returns
        -------
        ``(n, h, w)`` in the height and width of the input for arrays; ``(n, size, size)`` for files
        and datasets, whose sizes may differ (``frame_.take_out`` brings one map into the size of
        its image).

        Raises
        ------
        SettingError : the method cannot say where, or this model was fitted before it could.
        """
        images = self.open_to_score(X)
        maps = self.framed_maps(images)
        if isinstance(images, ArrayImages) and images.one_size:
            maps = self.frame_.take_out(maps, *images.native_size(0))
        return maps.numpy()

    def framed_maps(self, images: ImageSet) -> Tensor:
        """The maps of :meth:`explain` as the method sees the images, ``(n, size, size)``."""
        self.refuse_without_maps()
        maps = self.unscaled_maps(images)
        return (maps / self.map_scale_ - 1.0).clamp_min(0.0)

    def refuse_without_maps(self) -> None:
        """Raise a :class:`SettingError` where :meth:`explain` has nothing to show."""
        if not self.explains:
            raise SettingError(f"{self.method} cannot say where an image is odd, so it has no maps")
        self._check_fitted()

    def unscaled_maps(self, images: ImageSet) -> Tensor:
        """The deviation of each pixel, ``(n, size, size)``, in the method's own units."""
        return torch.cat([self._mapped(x).cpu() for x in self._batches(images)])

    def _map(self, x: Tensor) -> Tensor:
        """``(b, c, size, size)`` to the deviation of each pixel, ``(b, size, size)``, >= 0."""
        raise NotImplementedError

    def _mapped(self, x: Tensor) -> Tensor:
        with self._scoring():
            return self._map(x).float()

    def _map_scale(self, images: ImageSet) -> float:
        """The 99 % quantile over the pixels of images, without the padding."""
        parts = []
        maps = self.unscaled_maps(images)
        for index, one in enumerate(maps):
            top, left, height, width = self._frame().inner(*images.native_size(index))
            parts.append(one[top : top + height, left : left + width].flatten())
        return max(float(np.quantile(torch.cat(parts).numpy(), 0.99)), 1e-6)
