"""The stability study: AUROC by epoch and seed on proxies and on the tested sets, before and after our departures.

    python -m anomirror.benchmark.stability --seed 0 --variant after
    python -m anomirror.benchmark.stability --seed 0 --variant after --weight 2

``before``: last weights, their running batch-norm statistics, R as in Eq. (5), the paper's interpolation weight. ``after``: the
defaults. Each training also
reports the R-score that the other scoring rule (``relative``) would give. The choice was made on the proxies alone.
"""

from __future__ import annotations

import copy
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror.data import load_dataset
from anomirror.data.proxies import noises, shapes
from anomirror.detectors import AMA
from anomirror.metrics import auroc
from anomirror.storage import replacing


class Variant(StrEnum):
    """Which departures are on."""

    BEFORE = "before"
    AFTER = "after"


VARIANTS: dict[Variant, dict[str, Any]] = {
    Variant.BEFORE: {"average": None, "recompute_statistics": False, "relative": False, "interpolation_weight": 0.5},
    Variant.AFTER: {},
}
TRAIN, TEST = 6000, 500


def _sets(data_dir: Path | None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    omniglot = load_dataset("omniglot", "train", data_dir)[0]
    sets = {
        "omniglot-background": omniglot[rng.permutation(len(omniglot))[:TEST]],
        "shapes": shapes(TEST)[..., 0],
        "noises": noises(TEST)[..., 0],
    }
    for name in ("mnist", "omniglot"):
        images = load_dataset(name, "test", data_dir)[0]
        sets[name] = images[rng.permutation(len(images))[:TEST]]
    return sets


def study(seed: int, variant: Variant, weight: float, data_dir: Path | None) -> dict[str, Any]:
    """Train once on 6,000 Fashion-MNIST images; AUROC after every epoch."""
    images = load_dataset("fashion-mnist", "train", data_dir)[0]
    images = images[np.random.default_rng(seed).permutation(len(images))]
    train, normal = images[:TRAIN], images[TRAIN : TRAIN + TEST]
    sets = _sets(data_dir)

    kept: dict[int, Any] = {}

    def monitor(ama: Any) -> dict[str, float]:
        row: dict[str, float] = {}
        kept[len(kept) + 1] = copy.deepcopy(ama.networks_)
        own = ama.relative
        try:
            for relative in (False, True):
                ama.relative = relative
                raw_normal = ama.raw_scores(normal)
                ama._calibrate(ama.raw_scores(train[:TEST]))
                for name, anomalies in sets.items():
                    raw = ama.raw_scores(anomalies)
                    label = "relative" if relative else "plain"
                    row[f"R {label} {name}"] = auroc(-raw_normal, -raw)
                    row[f"A {label} {name}"] = auroc(ama.normality(raw_normal), ama.normality(raw))
        finally:
            ama.relative = own
        residual = _residual(ama, normal)
        return row | {f"residual {name}": auroc(-residual, -_residual(ama, x)) for name, x in sets.items()}

    ama = AMA(random_state=seed, negatives_weight=weight, monitor=monitor, **VARIANTS[variant]).fit(train)
    return {
        "seed": seed,
        "variant": variant.value,
        "weight": weight,
        "parameters": ama.stored_parameters(),
        "history": ama.history_,
        "crossed": _crossed(ama, kept, normal, sets),
    }


def _crossed(ama: AMA, kept: dict[int, Any], normal: np.ndarray, sets: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Plain R-score AUROC with the autoencoder of one epoch and the critic of another: which of them forgets?"""
    rows = []
    ama.relative = False
    early, late = 3, max(kept)
    for autoencoder in (early, late):
        for critic in (early, late):
            for name in ("encoder", "generator"):
                ama.networks_[name] = kept[autoencoder][name]
            ama.networks_["critic"] = kept[critic]["critic"]
            raw = ama.raw_scores(normal)
            found = {name: auroc(-raw, -ama.raw_scores(images)) for name, images in sets.items()}
            rows.append({"autoencoder_epoch": autoencoder, "critic_epoch": critic, **found})
    return rows


def _residual(ama: AMA, images: np.ndarray) -> np.ndarray:
    inner = slice(2, 30)  # 28 pixels are padded to 32
    departure: np.ndarray = np.abs(ama.reconstruct(images)[:, inner, inner, 0] - images / 255.0).mean((1, 2))
    return departure


SHOWN = ("omniglot-background", "shapes", "noises", "mnist", "omniglot")
SCORES = {Variant.BEFORE: "A plain", Variant.AFTER: "A relative"}
"""The A-score that each variant would give its user."""


def page_table(folder: Path) -> str:
    """AUROC of the A-score by epoch: one row for each variant, seed and set."""
    lines: list[str] = []
    epochs = 0
    for cell in map(_read, sorted(folder.glob("*-weight0.5-*.json"))):
        for name in SHOWN:
            values = [row[f"{SCORES[Variant(cell['variant'])]} {name}"] for row in cell["history"]]
            epochs = len(values)
            lines.append(f"| {cell['variant']} | {cell['seed']} | {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
    head = "| variant | seed | anomalies | " + " | ".join(f"epoch {e}" for e in range(1, epochs + 1)) + " |"
    return "\n".join([head, "|---|---|---|" + "---|" * epochs, *lines])


def figure(folder: Path, file: Path) -> None:
    """The same as curves, one panel for each set."""
    from anomirror.report.plots import curves  # needs the extra `report`

    cells = [_read(f) for f in sorted(folder.glob("*-weight0.5-*.json"))]
    panels = {
        name: {
            f"{c['variant']}, seed {c['seed']}": [row[f"{SCORES[Variant(c['variant'])]} {name}"] for row in c["history"]]
            for c in cells
        }
        for name in SHOWN
    }
    curves(panels, file, xlabel="epoch", ylabel="AUROC of the A-score", ylim=(0.4, 1.0))


def _read(file: Path) -> dict[str, Any]:
    cell: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return cell


def main(
    seed: Annotated[int, typer.Option()] = 0,
    variant: Annotated[Variant, typer.Option()] = Variant.AFTER,
    weight: Annotated[float, typer.Option(help="negatives_weight")] = 0.5,
    out: Annotated[Path, typer.Option()] = Path("results/stability"),
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure one training."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{variant.value}-weight{weight:g}-seed{seed}.json"
    if file.is_file():
        return
    cell = study(seed, variant, weight, data_dir)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
