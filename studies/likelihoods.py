"""What stored likelihoods say next to AUROC.

Bits per dimension, and typicality of groups of images.

Everything comes from what `anomirror reproduce` and `anomirror benchmark` stored; nothing is
trained here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomirror.benchmark.cells import Entry, Record, read_entries
from anomirror.benchmark.experiments import OUT_OF_DISTRIBUTION
from anomirror.benchmark.published import REJECTED_PAIRS
from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.benchmark.rows import LIKELIHOOD
from anomirror.data import DATASETS
from anomirror.detector.network import NetworkDetector
from anomirror.detectors import make_detector
from anomirror.errors import InputError
from anomirror.likelihood import deviation_of_groups
from anomirror.metrics import auroc

GROUPS = (1, 2, 10)
"""Images in a group."""

LEVEL = 0.01
"""Share of normal training groups that a rejection rate rejects, too; to our knowledge that of the
paper's own tests.
"""


@dataclass(frozen=True)
class Density:
    """The density network of a method."""

    network: str
    full_size: Mapping[str, Any]
    """The arguments that give it the size of the report."""
    bits: float
    """Bits per dimension that the report gives for CIFAR-10 at full size."""
    source: str


_PIXELCNN = Density(
    "pixelcnn",
    {"filters": 160, "blocks": 5, "mixtures": 10, "levels": 3, "nonlinearity": "concat_elu"},
    2.92,
    "PixelCNN++, Salimans et al. 2017",
)
DENSITIES: Mapping[str, Density] = {
    "complexity": _PIXELCNN,
    "likelihood_ratio": replace(_PIXELCNN, network="foreground"),
    "typicality": Density(
        "glow",
        {"flow_levels": 3, "flow_steps": 32, "hidden_width": 512},
        3.35,
        "Glow, Kingma and Dhariwal 2018",
    ),
}
"""By method."""


def _of_likelihood(entries: Iterable[Entry], **wanted: str) -> list[Entry]:
    """One cell of each method, normal set, seed and column, scored by likelihood alone."""
    return [
        entry
        for entry in entries
        if entry.cell.scoring == LIKELIHOOD
        and entry.cell.side == "one-sided"
        and all(getattr(entry.record, name) == value for name, value in wanted.items())
    ]


def groups_table(folder: Path, normal: str) -> str:
    """Typicality of single images and of groups, by column.

    AUROC, and the share that is rejected.
    """
    entries = _of_likelihood(read_entries(folder), method="typicality", normal=normal)
    if not entries:
        raise InputError(f"{folder}: no typicality of {normal} is measured there")
    measured = dict.fromkeys(entry.cell.anomalies for entry in entries)
    ordered = dict.fromkeys([*OUT_OF_DISTRIBUTION.get(normal, ()), *measured])
    columns = [column for column in ordered if column in measured]
    seeds = str(len({entry.record.seed for entry in entries}))
    rows = []
    for size in GROUPS:
        aurocs, rejected, of_normal = [], [], ""
        for column in columns:
            found = [group_metrics(e, size) for e in entries if e.cell.anomalies == column]
            # normal images are the same in every column
            area, of_column, of_normal = (mean_and_spread(v) for v in zip(*found, strict=True))
            paper = REJECTED_PAIRS.get((normal, column)) if size == 2 else None
            aurocs.append(area)
            rejected.append(of_column if paper is None else f"{of_column} (paper {paper:.3f})")
        images = "one image" if size == 1 else f"{size} images of one kind"
        rows.append([f"{images}, AUROC", "-", *aurocs, seeds])
        rows.append([f"{images}, rejected at {LEVEL:.0%}", of_normal, *rejected, seeds])
    names = [f"→ {column}" for column in columns]
    heading = [f"typicality, {normal} is normal", f"{normal}, test", *names, "seeds"]
    return markdown(heading, rows)


def group_metrics(entry: Entry, size: int) -> tuple[float, float, float]:
    """Of groups in a random order.

    AUROC, and the shares of anomalous and of normal groups that are rejected.

    A group is rejected if it deviates more than all but a level of the training's groups.
    """
    rng = np.random.default_rng(entry.record.seed)
    entropy = entry.cell.fitted["entropy"]
    train, normal, anomalies = (
        deviation_of_groups(rng.permutation(entry.raw_scores(images)), entropy, size)
        for images in ("train", "normal", "anomalies")
    )
    usual = np.quantile(train, 1 - LEVEL)
    area = auroc(-normal, -anomalies)
    return area, float(np.mean(anomalies > usual)), float(np.mean(normal > usual))


def bits_table(folder: Path) -> str:
    """Bits per dimension of the normal test images, next to those of the network at full size."""
    entries = _of_likelihood(read_entries(folder))
    rows = []
    for method, normal in sorted({(e.record.method, e.record.normal) for e in entries}):
        of_method = [e for e in entries if (e.record.method, e.record.normal) == (method, normal)]
        found = {entry.record.seed: entry for entry in of_method}
        dims, density = _own_dims(normal), DENSITIES[method]
        values = [float(entry.raw_scores("normal").mean()) / dims for entry in found.values()]
        channels = DATASETS[normal.split(":")[0]].channels
        ours = _parameters(method, of_method[0].record.parameters, channels)
        full = _parameters(method, density.full_size, channels)
        published = f"{density.bits:.2f} ({density.source})" if normal == "cifar10" else "-"
        numbers = [mean_and_spread(values), f"{ours:,}", published, f"{full:,}", str(len(values))]
        rows.append([f"{method}, {normal}", *numbers])
    heading = ["density network of", "bits/dim", "parameters", "published at full size"]
    return markdown([*heading, "parameters there", "seeds"], rows)


def _own_dims(normal: str) -> int:
    """Pixels times channels of a set's own images."""
    dataset = DATASETS[normal.split(":")[0]]
    return dataset.size**2 * dataset.channels


def _parameters(method: str, settings: Mapping[str, Any], channels: int) -> int:
    """Of a method's density network."""
    detector = make_detector(method).set_params(**settings)
    assert isinstance(detector, NetworkDetector)
    networks = detector.untrained((channels, 32, 32))[0].networks_
    return sum(p.numel() for p in networks[DENSITIES[method].network].parameters())


def lengths_table(normal: str, *folders: Path) -> str:
    """Bits per dimension of held-out images after every epoch of ``complexity``, by filters; seed
    0.
    """
    runs: dict[int, Record] = {}
    for entry in read_entries(*folders):
        record = entry.record
        if (record.method, record.normal, record.seed) == ("complexity", normal, 0):
            runs[record.parameters["filters"]] = record
    named = ", ".join(map(str, folders))
    if not runs:
        raise InputError(f"{named}: no complexity of {normal}, seed 0")
    lengths = {tuple(int(row["step"]) for row in record.history) for record in runs.values()}
    if len(lengths) > 1:
        raise InputError(f"{named}: trainings of different lengths do not stand in one table")
    (steps,) = lengths
    channels = DATASETS[normal].channels
    scale = 32 * 32 * channels / _own_dims(normal)
    rows = []
    for filters, record in sorted(runs.items()):
        count = _parameters("complexity", record.parameters, channels)
        values = [f"{row['bits_per_dim_heldout'] * scale:.3f}" for row in record.history]
        rows.append([f"{filters} filters", f"{count:,}", *values])
    heading = [f"PixelCNN++, {normal}", "parameters", *(f"{step} minibatches" for step in steps)]
    return markdown(heading, rows)
