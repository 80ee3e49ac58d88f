"""Real images for all tests, and one thread each: pytest-xdist uses the cores."""

from __future__ import annotations

import gzip
from pathlib import Path

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


def write_idx(file: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    """500 + 200 clothes of two classes; 60 + 140 digits, of which the last 20 of the test are
    copies of training clothes.
    """
    root = tmp_path_factory.mktemp("data")
    digits = sample.anomalies
    parts = {
        "fashion-mnist/train": sample.train[:500],
        "fashion-mnist/t10k": sample.normal[:200],
        "mnist/train": digits[:60],
        "mnist/t10k": np.concatenate([digits[60:180], sample.train[:20]]),
    }
    for name, images in parts.items():
        write_idx(root / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(root / f"{name}-labels-idx1-ubyte.gz", np.arange(len(images)) % 2)
    return root
