"""The figures of the AMA paper (arXiv 2003.10713), to stand beside ours: AUROC; a cell that is not here, the paper does not give.

Rows and columns of its Table 1 in reading order; of the other systems' rows in Table 1 not every cell's place is sure.
"""

from __future__ import annotations

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
_TABLE1: dict[str, tuple[float | None, ...]] = {
    "waic": (0.871, 0.832, 0.623, 0.626, None, None, None, None),
    "likelihood_ratio": (0.994, None, 0.931, None, None, None, None, None),
    "deep_svdd": (0.864, 0.999, 0.533, 0.387, 0.478, 0.795, 0.823, 0.819),
    "complexity/flif": (0.967, 1.000, 0.929, 0.589, 0.535, None, None, None),
    "ama/no-mirrored": (0.653, 0.899, 0.800, 0.526, 0.510, 0.503, 0.693, 0.592),
    "ama/no-interpolation": (0.960, 0.998, 0.820, 0.847, 0.537, 0.991, 0.993, 0.987),
    "ama/no-negatives": (0.894, 0.997, 0.861, 0.812, 0.535, 0.990, 0.991, 0.987),
    "ama/one-sided": (0.991, 0.997, 0.442, 0.890, 0.501, 0.993, 1.000, 0.988),
    "ama": (0.987, 0.998, 0.958, 0.911, 0.551, 0.993, 1.000, 0.988),
}
_PAIRS: tuple[float | None, ...] = (0.140, None, 0.420, 0.640, None, 0.980, 1.000, None)
"""The row of typicality, for pairs of images; these are shares of rejected pairs rather than AUROC, as in its own paper."""
_TABLE2: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "fence_gan": (
        (0.754, 0.307, 0.628, 0.566, 0.390, 0.490, 0.538, 0.313, 0.645, 0.408),
        (0.572, 0.582, 0.505, 0.544, 0.534, 0.535, 0.528, 0.537, 0.664, 0.338),
    ),
    "alad": (
        (0.962, 0.915, 0.794, 0.821, 0.702, 0.79, 0.843, 0.865, 0.771, 0.821),
        (0.679, 0.397, 0.685, 0.652, 0.696, 0.550, 0.704, 0.463, 0.787, 0.391),
    ),
    "anogan": (
        (0.902, 0.869, 0.623, 0.785, 0.827, 0.362, 0.758, 0.789, 0.672, 0.720),
        (0.602, 0.439, 0.637, 0.594, 0.755, 0.604, 0.730, 0.498, 0.675, 0.445),
    ),
    "skip_ganomaly": (
        (0.297, 0.877, 0.393, 0.486, 0.618, 0.540, 0.455, 0.633, 0.426, 0.584),
        (0.655, 0.406, 0.663, 0.598, 0.739, 0.617, 0.638, 0.519, 0.746, 0.387),
    ),
    "deep_svdd": (
        (0.971, 0.995, 0.809, 0.884, 0.920, 0.869, 0.978, 0.940, 0.900, 0.946),
        (0.682, 0.477, 0.679, 0.573, 0.752, 0.628, 0.710, 0.511, 0.733, 0.567),
    ),
    "ama": (
        (0.986, 0.998, 0.882, 0.891, 0.894, 0.938, 0.981, 0.983, 0.876, 0.948),
        (0.752, 0.634, 0.696, 0.603, 0.733, 0.650, 0.658, 0.582, 0.754, 0.632),
    ),
}
_TABLE3: dict[str, tuple[float, float, float]] = {
    "ama/box-no-interpolation": (0.778, 0.752, 0.723),
    "ama/no-interpolation": (0.960, 0.820, 0.991),
    "ama/box": (0.824, 0.819, 0.896),
    "ama": (0.987, 0.958, 0.993),
}
_TABLE3_COLUMNS = (("fashion-mnist", "mnist"), ("cifar10", "svhn"), ("svhn", "cifar10"))

Figures = dict[str, dict[tuple[str, str], float]]


def _figures(rows: dict[str, tuple[float | None, ...]], columns: tuple[tuple[str, str], ...]) -> Figures:
    return {
        row: {column: value for column, value in zip(columns, values, strict=True) if value is not None}
        for row, values in rows.items()
    }


_CLASSES = tuple((f"{name}:{label}", "rest") for name in ("mnist", "cifar10") for label in range(10))

PUBLISHED: dict[str, Figures] = {
    "table1": _figures(_TABLE1, _TABLE1_COLUMNS),
    "table2": _figures({row: (*grey, *colour) for row, (grey, colour) in _TABLE2.items()}, _CLASSES),
    "table3": _figures(dict(_TABLE3), _TABLE3_COLUMNS),
}
"""Table, row and column (normal set, anomaly set) to the paper's AUROC. A row is ``method``, or ``method/variant``."""

PUBLISHED_PAIRS: Figures = _figures({"typicality": _PAIRS}, _TABLE1_COLUMNS)
"""Of Table 1 what is no AUROC, in the same form: it stands beside rejection rates alone."""

PRINTED_AVERAGES: dict[tuple[str, str], float] = {
    ("fence_gan", "mnist"): 0.504,
    ("fence_gan", "cifar10"): 0.567,  # its values average to .534: an error of the paper
    ("alad", "mnist"): 0.828,
    ("alad", "cifar10"): 0.601,
    ("anogan", "mnist"): 0.731,
    ("anogan", "cifar10"): 0.598,
    ("skip_ganomaly", "mnist"): 0.531,
    ("skip_ganomaly", "cifar10"): 0.597,
    ("deep_svdd", "mnist"): 0.921,
    ("deep_svdd", "cifar10"): 0.631,
    ("ama", "mnist"): 0.938,
    ("ama", "cifar10"): 0.669,
}
"""The averages over classes that its Table 2 prints."""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
