"""Named data sets, read from their official files below a data directory; and proxy anomalies, which need no file.

>>> sorted(DATASETS)[:3]
['cifar10', 'cifar100', 'fashion-mnist']
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from anomirror.data.readers import DATASETS, DataSet, Split
from anomirror.errors import InputError, SettingError

__all__ = ["DATASETS", "DataSet", "Split", "data_directory", "load_dataset"]


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """``data_dir``, or the environment variable ``ANOMIRROR_DATA``."""
    chosen = data_dir or os.environ.get("ANOMIRROR_DATA")
    if not chosen:
        raise InputError("named data sets need --data-dir, or the environment variable ANOMIRROR_DATA")
    return Path(chosen)


def load_dataset(
    name: str, split: Literal["train", "test"] = "test", data_dir: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, h, w)`` or ``(n, h, w, 3)`` uint8, and labels ``(n,)`` int (-1 where the set has none).

    Raises
    ------
    SettingError : the name is unknown, or the set has no such split.
    InputError : its files are not there (the message names the expected one), or are damaged.
    """
    if name not in DATASETS:
        raise SettingError(f"no data set named {name!r}: choose one of {', '.join(sorted(DATASETS))}")
    dataset = DATASETS[name]
    if split not in dataset.splits:
        raise SettingError(f"{name} has no {split} split here (it has {', '.join(dataset.splits)})")
    return dataset.read(data_directory(data_dir), split)
