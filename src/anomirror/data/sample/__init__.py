"""The bundled sample: part of Fashion-MNIST as normal images, 200 MNIST digits as anomalies.

See PROVENANCE.md.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomirror.data.readers import read_idx


class Sample(NamedTuple):
    """All ``(n, 28, 28)`` uint8, light on dark."""

    train: np.ndarray
    normal: np.ndarray
    anomalies: np.ndarray


def load_sample() -> Sample:
    """6,000 training and 1,000 test images of clothes; 200 handwritten digits."""
    root = Path(str(files(__name__)))
    return Sample(
        train=read_idx(root / "fashion-mnist" / "train-images-idx3-ubyte.gz"),
        normal=read_idx(root / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"),
        anomalies=read_idx(root / "mnist-digits" / "t10k-images-idx3-ubyte.gz"),
    )
