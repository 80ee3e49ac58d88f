"""Exact copies of images that a method was shown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np


class Seen:
    """Images that were shown to a method, and how many copies of them were left out of what it is
    tested on.
    """

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._digests = set(map(_digest, images))
        self.copies: Counter[str] = Counter()

    def add(self, images: Iterable[np.ndarray]) -> None:
        self._digests.update(map(_digest, images))

    def without_copies(
        self, part: str, images: np.ndarray, at: np.ndarray, also: Iterable[np.ndarray] = ()
    ) -> np.ndarray:
        """Indices of images that do not duplicate one that was shown, or ``also``.

        The others are counted under ``part``.
        """
        shown = self._digests.union(map(_digest, also))
        left = np.array([place for place in at if _digest(images[place]) not in shown], int)
        self.copies[part] += len(at) - len(left)
        return left


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
