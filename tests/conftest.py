"""Real images for all tests, and one thread each: pytest-xdist uses the cores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomirror.data.sample import Sample, load_sample

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sample() -> Sample:
    """The bundled Fashion-MNIST and MNIST images."""
    return load_sample()


@pytest.fixture(scope="session")
def clothes(sample: Sample) -> np.ndarray:
    """256 normal images, ``(n, 28, 28)`` uint8."""
    return sample.train[:256]


@pytest.fixture(scope="session")
def digits(sample: Sample) -> np.ndarray:
    """100 anomalies, ``(n, 28, 28)`` uint8."""
    return sample.anomalies[:100]
