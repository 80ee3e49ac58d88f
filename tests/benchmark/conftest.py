"""Small data sets in the official formats."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from anomirror.data.sample import Sample


def write_idx(file: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    """500 + 200 clothes of two classes; 60 + 140 digits, of which the last 20 of the test are copies of training clothes."""
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
