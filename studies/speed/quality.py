"""Does speed cost quality? Preset `cpu` trained by AMA's step and by the paper's loop, scored in
float32 and as shipped.

    python -m studies.speed.quality fast --seed 0
    python -m studies.speed.quality reference --seed 0

Everything but the step and its precision is the same: images, schedule, averaged weights,
recomputed statistics. The reference draws again for every update, as its loop does, so the two are
no pair: compare them as seeds are compared. Both are scored in float32; ours as shipped, too, with
everything that scoring rests on measured in that precision again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from anomirror import AMA, load
from anomirror.benchmark.cells import write_json
from anomirror.benchmark.protocols import Comparison, compare
from anomirror.benchmark.provenance import command, versions
from anomirror.detector.streaming import evenly_spaced
from anomirror.devices import Precision
from anomirror.images import open_images
from anomirror.metrics import auroc
from anomirror.minibatch import Batch
from anomirror.presets import as_published
from anomirror.scorers import Scores, both_sides
from anomirror.training import Run
from studies.speed.train_step import draws_like, reference_like

NORMAL, ANOMALIES = "fashion-mnist", ["mnist", "omniglot"]


class Way(StrEnum):
    """How the networks are trained."""

    FAST = "fast"
    REFERENCE = "reference"


class TrainedByReference(AMA):
    """AMA whose minibatches are the literal loop, in float32 and the default memory format."""

    def begin_run(self, seed: int) -> Run:
        run = super().begin_run(seed)
        self.networks_.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return run

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        reference = reference_like(self, run.modules)
        reference.critic_optimizer, reference.autoencoder_optimizer = (
            run.optimizers["critic"],
            run.optimizers["autoencoder"],
        )
        if run.progress < self.negatives_start:
            reference.negatives_weight = 0.0
        reference.step(
            batch.normal.contiguous(),
            draws_like(self, len(batch.normal), run.device, run.generator),
        )
        return {}


def trained(way: Way, split: Comparison, seed: int, **more: Any) -> tuple[AMA, float]:
    """AMA with its own step again, and the seconds that its fit took."""
    settings = as_published("ama") | more | {"random_state": seed, "scoring_precision": "float32"}
    settings |= {"restart": False}  # one training is compared with one
    ama = (
        AMA(**settings) if way is Way.FAST else TrainedByReference(**settings, precision="float32")
    )
    started = time.perf_counter()
    ama.fit(split.train)
    seconds = time.perf_counter() - started
    with TemporaryDirectory() as folder:
        ama.save(f"{folder}/model")
        fresh = load(f"{folder}/model")
    assert isinstance(fresh, AMA)
    return fresh, seconds


def scored(ama: AMA, split: Comparison, precision: Precision) -> dict[str, Scores]:
    """Raw scores of training images, normal ones and the samples of the protocol, in ``precision``
    throughout.
    """
    ama.set_params(scoring_precision=precision)
    kept, _ = ama.split(open_images(split.train), ama.calibration_fraction)
    ama.finish(evenly_spaced(kept, 4096))
    raw = {"train": ama.raw_scores(split.train[:5000]), "normal": ama.raw_scores(split.normal)}
    return raw | {
        name: ama.raw_scores(images[split.sampled[name]])
        for name, images in split.anomalies.items()
    }


def aurocs(ama: AMA, raw: Mapping[str, Scores]) -> dict[str, float]:
    """One- and two-sided, calibrated on training images."""
    found = {}
    for name in raw.keys() - {"train", "normal"}:
        for side, scorer in both_sides(ama.scorer_).items():
            scorer.fit(raw["train"])
            found[f"{name} {side}"] = auroc(
                scorer.normality(raw["normal"]), scorer.normality(raw[name])
            )
    return dict(sorted(found.items()))


def change(before: Scores, after: Scores) -> dict[str, float]:
    """Of R from one precision to another, as a share of it.

    Median and 99 % quantile over images.
    """
    median, high = np.quantile(np.abs(after / before - 1.0), [0.5, 0.99])
    return {"median": float(median), "99 %": float(high)}


def main(
    way: Annotated[Way, typer.Argument()],
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path, typer.Option()] = Path("results/quality"),
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Train and score once; a file that exists already is not computed again."""
    file = out / f"{way}-seed{seed}.json"
    if file.is_file():
        return
    split = compare(NORMAL, ANOMALIES, seed=seed, data_dir=data_dir)
    ama, seconds = trained(way, split, seed)
    cell: dict[str, Any] = {
        "training": way,
        "seed": seed,
        "split": {name: split.hash_of(name) for name in ANOMALIES},
        "fit_seconds": seconds,
    }
    exact = scored(ama, split, "float32")
    cell |= {"parameters": ama.stored_parameters(), "auroc": {"float32": aurocs(ama, exact)}}
    if way is Way.FAST:
        shipped = scored(ama, split, "auto")
        cell["auroc"]["auto"] = aurocs(ama, shipped)
        cell["change_of_r"] = change(exact["normal"], shipped["normal"])
    cell |= {
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": command("studies.speed.quality"),
    }
    write_json(file, cell)


if __name__ == "__main__":
    typer.run(main)
