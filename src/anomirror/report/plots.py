"""The images of the demo and the documentation (needs the extra ``report``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from anomirror.errors import MissingDependencyError

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingDependencyError(
        "plots need matplotlib: pip install 'anomirror[report]'"
    ) from error

mpl.rcParams["svg.hashsalt"] = "anomirror"


def image_rows(rows: Mapping[str, np.ndarray], file: Path) -> None:
    """One labelled row of images for each entry.

    ``(n, h, w)`` or ``(n, h, w, c)``, uint8 or float in [0, 1].
    """
    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(0.75 * columns + 1.6, 0.8 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(False)
        for axis, image in zip(line, images, strict=False):
            picture = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
    figure.savefig(file, dpi=110)


def score_densities(
    groups: Mapping[str, np.ndarray], file: Path, *, label: str, threshold: float | None = None
) -> None:
    """Histograms of several groups of scores over common bins.

    What lies beyond the 10 % quantiles is in the outermost bins.
    """
    low = min(float(np.quantile(scores, 0.1)) for scores in groups.values())
    high = max(float(np.quantile(scores, 0.9)) for scores in groups.values())
    margin = 0.1 * (high - low)
    low, high = low - margin, high + margin
    bins = np.linspace(low, high, 60)
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    axis = figure.subplots()
    for name, scores in groups.items():
        axis.hist(
            np.clip(scores, low, high),
            bins=bins.tolist(),
            density=True,
            alpha=0.5,
            label=f"{name} (n={len(scores)})",
        )
    if threshold is not None:
        axis.axvline(
            threshold, color="black", linestyle="--", linewidth=1, label="decision threshold"
        )
    axis.set_xlabel(label)
    axis.set_ylabel("density")
    # below the axes: it hides nothing, and no best place within them is searched for, which takes
    # long on a busy machine
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(file, dpi=110)


def curves(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    file: Path,
    *,
    xlabel: str,
    ylabel: str,
    **limits: object,
) -> None:
    """One panel for each entry, one colour for each of its groups of lines, all lines against 1, 2,
    3, ...
    """
    figure = Figure(figsize=(3 * len(panels) + 0.6, 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, groups) in zip(axes, panels.items(), strict=True):
        for number, (name, lines) in enumerate(groups.items()):
            for line, values in enumerate(lines):
                label = name if line == 0 else None
                axis.plot(
                    np.arange(1, len(values) + 1),
                    values,
                    marker=".",
                    color=f"C{number}",
                    alpha=0.8,
                    label=label,
                )
        axis.set(title=title, xlabel=xlabel, **limits)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(ylabel)
    axes[0].legend(fontsize="small", loc="lower right")
    figure.savefig(file, dpi=110)
