"""What stored likelihoods say beside AUROC: bits per dimension, and typicality of groups of images.

Everything comes from what `anomirror reproduce` and `anomirror benchmark` stored; nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from anomirror.benchmark.experiments import LIKELIHOOD, OUT_OF_DISTRIBUTION
from anomirror.benchmark.published import PUBLISHED_PAIRS
from anomirror.benchmark.runner import folder_name
from anomirror.benchmark.tables import Cell, markdown, mean_and_spread, read_cells
from anomirror.data import DATASETS
from anomirror.detector.network import NetworkDetector
from anomirror.detectors import make_detector
from anomirror.errors import InputError
from anomirror.likelihood import deviation_of_groups
from anomirror.metrics import auroc
from anomirror.storage import read_history
from anomirror.training import History

GROUPS = (1, 2, 10)
"""Images in a group."""

LEVEL = 0.01
"""Share of normal training groups that a rejection rate rejects, too; to our knowledge that of the paper's own tests."""

PUBLISHED_BITS: Mapping[tuple[str, str], tuple[float, str]] = {
    ("complexity", "cifar10"): (2.92, "PixelCNN++, Salimans et al. 2017"),
    ("likelihood_ratio", "cifar10"): (2.92, "PixelCNN++, Salimans et al. 2017"),
    ("typicality", "cifar10"): (3.35, "Glow, Kingma and Dhariwal 2018"),
}
"""Method and normal set to bits per dimension of its network at full size, and who reports it."""

FULL_SIZE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "complexity": ("pixelcnn", {"filters": 160, "blocks": 5, "mixtures": 10, "levels": 3, "nonlinearity": "concat_elu"}),
    "likelihood_ratio": ("foreground", {"filters": 160, "blocks": 5, "mixtures": 10, "levels": 3, "nonlinearity": "concat_elu"}),
    "typicality": ("glow", {"flow_levels": 3, "flow_steps": 32, "hidden_width": 512}),
}
"""Method to its density network, and the size of that network in the report."""


def _of_likelihood(cells: Iterable[Cell], **wanted: str) -> list[Cell]:
    """One cell of each method, normal set, seed and column, scored by likelihood alone."""
    return [
        cell
        for cell in cells
        if cell["variant"] == LIKELIHOOD
        and cell["side"] == "one-sided"
        and all(cell[name] == value for name, value in wanted.items())
    ]


def _bits(cell: Cell, folder: Path, kind: str) -> np.ndarray:
    """-log2 p(x) of stored images; of anomalies the sampled ones."""
    with np.load(folder / folder_name(cell["normal"]) / cell["scores_file"]) as scores:
        values: np.ndarray = scores[cell["scores"][kind]].astype(float)
        return np.take(values, scores[f"sampled_{cell['anomalies']}"]) if kind == "anomalies" else values


def groups_table(folder: Path, normal: str) -> str:
    """Typicality of single images and of groups: AUROC, and the share of groups that is rejected at a level, by column."""
    cells = _of_likelihood(read_cells(folder), method="typicality", normal=normal)
    if not cells:
        raise InputError(f"{folder}: no typicality of {normal} is measured there")
    there = dict.fromkeys(cell["anomalies"] for cell in cells)
    columns = [column for column in dict.fromkeys([*OUT_OF_DISTRIBUTION.get(normal, ()), *there]) if column in there]
    seeds = sorted({cell["seed"] for cell in cells})
    rows = []
    for size in GROUPS:
        aurocs, rejected, of_normal = [], [], ""
        for column in columns:
            found = [_group_metrics(cell, folder, size) for cell in cells if cell["anomalies"] == column]
            # normal images are the same in every column
            area, of_anomalies, of_normal = (mean_and_spread(values) for values in zip(*found, strict=True))
            paper = PUBLISHED_PAIRS["typicality"].get((normal, column)) if size == 2 else None
            aurocs.append(area)
            rejected.append(of_anomalies if paper is None else f"{of_anomalies} (paper {paper:.3f})")
        images = "one image" if size == 1 else f"{size} images of one kind"
        rows.append([f"{images}, AUROC", "-", *aurocs, str(len(seeds))])
        rows.append([f"{images}, rejected at {LEVEL:.0%}", of_normal, *rejected, str(len(seeds))])
    heading = [f"typicality, {normal} is normal", f"{normal}, test", *(f"→ {column}" for column in columns), "seeds"]
    return markdown(heading, rows)


def _group_metrics(cell: Cell, folder: Path, size: int) -> tuple[float, float, float]:
    """Of groups in a random order: AUROC, and the shares of anomalous and of normal ones beyond all but a level of training's."""
    rng = np.random.default_rng(cell["seed"])
    entropy = cell["fitted"]["entropy"]
    train, normal, anomalies = (
        deviation_of_groups(rng.permutation(_bits(cell, folder, kind)), entropy, size)
        for kind in ("train", "normal", "anomalies")
    )
    usual = np.quantile(train, 1 - LEVEL)
    return auroc(-normal, -anomalies), float(np.mean(anomalies > usual)), float(np.mean(normal > usual))


def bits_table(folder: Path) -> str:
    """Bits per dimension of the normal test images, beside those of the same kind of network at full size."""
    cells = _of_likelihood(read_cells(folder))
    rows = []
    for method, normal in sorted({(cell["method"], cell["normal"]) for cell in cells}):
        found = {cell["seed"]: cell for cell in cells if (cell["method"], cell["normal"]) == (method, normal)}
        dims = _own_dims(normal)
        values = [float(_bits(cell, folder, "normal").mean()) / dims for cell in found.values()]
        channels = DATASETS[normal.split(":")[0]].channels
        ours = _parameters(method, next(iter(found.values()))["parameters"], channels)
        full = _parameters(method, FULL_SIZE[method][1], channels)
        published, source = PUBLISHED_BITS.get((method, normal), (None, ""))
        told = "-" if published is None else f"{published:.2f} ({source})"
        rows.append([f"{method}, {normal}", mean_and_spread(values), f"{ours:,}", told, f"{full:,}", str(len(values))])
    heading = ["density network of", "bits/dim", "parameters", "published at full size", "parameters there", "seeds"]
    return markdown(heading, rows)


def _own_dims(normal: str) -> int:
    """Pixels times channels of a set's own pictures."""
    dataset = DATASETS[normal.split(":")[0]]
    return dataset.size**2 * dataset.channels


def _parameters(method: str, settings: Mapping[str, Any], channels: int) -> int:
    """Of a method's density network."""
    detector = make_detector(method).set_params(**settings)
    assert isinstance(detector, NetworkDetector)
    with torch.device("meta"):
        networks: Mapping[str, nn.Module] = detector._build((channels, 32, 32))[0]
    return sum(p.numel() for p in networks[FULL_SIZE[method][0]].parameters())


def lengths_table(normal: str, *folders: Path) -> str:
    """Bits per dimension of held-out images after every epoch of ``complexity``, by number of filters; seed 0."""
    runs: dict[int, tuple[Cell, History]] = {}
    for folder in folders:
        for cell in read_cells(folder):
            if (cell["method"], cell["normal"], cell["seed"]) == ("complexity", normal, 0):
                history = read_history(folder / folder_name(normal) / f"{cell['training']}-history.csv")
                runs[cell["parameters"]["filters"]] = cell, history
    if not runs:
        raise InputError(f"{', '.join(map(str, folders))}: no complexity of {normal}, seed 0")
    lengths = {tuple(int(row["step"]) for row in history) for _, history in runs.values()}
    if len(lengths) > 1:
        raise InputError(f"{', '.join(map(str, folders))}: trainings of different lengths do not stand in one table")
    (steps,) = lengths
    scale = 32 * 32 * DATASETS[normal].channels / _own_dims(normal)
    rows = []
    for filters, (cell, history) in sorted(runs.items()):
        count = _parameters("complexity", cell["parameters"], DATASETS[normal].channels)
        values = [f"{row['bits_per_dim_heldout'] * scale:.3f}" for row in history]
        rows.append([f"{filters} filters", f"{count:,}", *values])
    return markdown([f"PixelCNN++, {normal}", "parameters", *(f"{step} minibatches" for step in steps)], rows)
