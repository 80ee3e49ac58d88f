"""The figures of the AMA paper (arXiv 2003.10713), to stand next to ours.

It gives AUROC alone.

Rows and columns of its Table 1 in reading order; of the other systems' rows in Table 1 not every
cell's place is sure.
"""

from __future__ import annotations

from typing import NamedTuple


class PaperRow(NamedTuple):
    """A row of a table of the paper."""

    method: str
    variant: str = ""
    scoring: str = ""
    side: str = ""
    """Where it is not the method's own."""


Figures = dict[tuple[str, str], float]
"""Normal set and anomaly set to AUROC."""

_TABLE1_COLUMNS = (
    ("fashion-mnist", "mnist"),
    ("fashion-mnist", "omniglot"),
    ("cifar10", "svhn"),
    ("cifar10", "imagenet-resize"),
    ("cifar10", "cifar100"),
    ("svhn", "cifar10"),
    ("svhn", "imagenet-resize"),
    ("svhn", "cifar100"),
)
_TABLE1: dict[PaperRow, tuple[float | None, ...]] = {
    PaperRow("waic"): (0.871, 0.832, 0.623, 0.626, None, None, None, None),
    PaperRow("likelihood_ratio"): (0.994, None, 0.931, None, None, None, None, None),
    PaperRow("deep_svdd"): (0.864, 0.999, 0.533, 0.387, 0.478, 0.795, 0.823, 0.819),
    PaperRow("complexity", scoring="flif"): (0.967, 1.000, 0.929, 0.589, 0.535, None, None, None),
    PaperRow("ama", "no-mirrored"): (0.653, 0.899, 0.800, 0.526, 0.510, 0.503, 0.693, 0.592),
    PaperRow("ama", "no-interpolation"): (0.960, 0.998, 0.820, 0.847, 0.537, 0.991, 0.993, 0.987),
    PaperRow("ama", "no-negatives"): (0.894, 0.997, 0.861, 0.812, 0.535, 0.990, 0.991, 0.987),
    PaperRow("ama", side="one-sided"): (0.991, 0.997, 0.442, 0.890, 0.501, 0.993, 1.000, 0.988),
    PaperRow("ama"): (0.987, 0.998, 0.958, 0.911, 0.551, 0.993, 1.000, 0.988),
}
_PAIRS: tuple[float | None, ...] = (0.140, None, 0.420, 0.640, None, 0.980, 1.000, None)
_TABLE2: dict[PaperRow, tuple[tuple[float, ...], tuple[float, ...]]] = {
    PaperRow("fence_gan"): (
        (0.754, 0.307, 0.628, 0.566, 0.390, 0.490, 0.538, 0.313, 0.645, 0.408),
        (0.572, 0.582, 0.505, 0.544, 0.534, 0.535, 0.528, 0.537, 0.664, 0.338),
    ),
    PaperRow("alad"): (
        (0.962, 0.915, 0.794, 0.821, 0.702, 0.79, 0.843, 0.865, 0.771, 0.821),
        (0.679, 0.397, 0.685, 0.652, 0.696, 0.550, 0.704, 0.463, 0.787, 0.391),
    ),
    PaperRow("anogan"): (
        (0.902, 0.869, 0.623, 0.785, 0.827, 0.362, 0.758, 0.789, 0.672, 0.720),
        (0.602, 0.439, 0.637, 0.594, 0.755, 0.604, 0.730, 0.498, 0.675, 0.445),
    ),
    PaperRow("skip_ganomaly"): (
        (0.297, 0.877, 0.393, 0.486, 0.618, 0.540, 0.455, 0.633, 0.426, 0.584),
        (0.655, 0.406, 0.663, 0.598, 0.739, 0.617, 0.638, 0.519, 0.746, 0.387),
    ),
    PaperRow("deep_svdd"): (
        (0.971, 0.995, 0.809, 0.884, 0.920, 0.869, 0.978, 0.940, 0.900, 0.946),
        (0.682, 0.477, 0.679, 0.573, 0.752, 0.628, 0.710, 0.511, 0.733, 0.567),
    ),
    PaperRow("ama"): (
        (0.986, 0.998, 0.882, 0.891, 0.894, 0.938, 0.981, 0.983, 0.876, 0.948),
        (0.752, 0.634, 0.696, 0.603, 0.733, 0.650, 0.658, 0.582, 0.754, 0.632),
    ),
}
_TABLE3: dict[PaperRow, tuple[float, float, float]] = {
    PaperRow("ama", "box-no-interpolation"): (0.778, 0.752, 0.723),
    PaperRow("ama", "no-interpolation"): (0.960, 0.820, 0.991),
    PaperRow("ama", "box"): (0.824, 0.819, 0.896),
    PaperRow("ama"): (0.987, 0.958, 0.993),
}
_TABLE3_COLUMNS = (("fashion-mnist", "mnist"), ("cifar10", "svhn"), ("svhn", "cifar10"))


def _figures(
    rows: dict[PaperRow, tuple[float | None, ...]], columns: tuple[tuple[str, str], ...]
) -> dict[PaperRow, Figures]:
    return {
        row: {
            column: value
            for column, value in zip(columns, values, strict=True)
            if value is not None
        }
        for row, values in rows.items()
    }


_CLASSES = tuple(
    (f"{name}:{label}", "rest") for name in ("mnist", "cifar10") for label in range(10)
)

PUBLISHED: dict[str, dict[PaperRow, Figures]] = {
    "table1": _figures(_TABLE1, _TABLE1_COLUMNS),
    "table2": _figures(
        {row: (*grey, *colour) for row, (grey, colour) in _TABLE2.items()}, _CLASSES
    ),
    "table3": _figures(dict(_TABLE3), _TABLE3_COLUMNS),
}
"""Table, row and column to the paper's AUROC."""

REJECTED_PAIRS: Figures = {
    column: share
    for column, share in zip(_TABLE1_COLUMNS, _PAIRS, strict=True)
    if share is not None
}
"""Typicality's row of Table 1: no AUROC, but the share of pairs of anomalies that are rejected."""

PRINTED_AVERAGES: dict[tuple[PaperRow, str], float] = {
    (PaperRow("fence_gan"), "mnist"): 0.504,
    (PaperRow("fence_gan"), "cifar10"): 0.567,  # its values average to .534: an error of the paper
    (PaperRow("alad"), "mnist"): 0.828,
    (PaperRow("alad"), "cifar10"): 0.601,
    (PaperRow("anogan"), "mnist"): 0.731,
    (PaperRow("anogan"), "cifar10"): 0.598,
    (PaperRow("skip_ganomaly"), "mnist"): 0.531,
    (PaperRow("skip_ganomaly"), "cifar10"): 0.597,
    (PaperRow("deep_svdd"), "mnist"): 0.921,
    (PaperRow("deep_svdd"), "cifar10"): 0.631,
    (PaperRow("ama"), "mnist"): 0.938,
    (PaperRow("ama"), "cifar10"): 0.669,
}
"""The averages over classes that its Table 2 prints."""

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
