"""The demo: what `anomirror fit` takes on a bundled real sample, AMA, and what else one would reach
for.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from anomirror.data.sample import Sample, load_sample
from anomirror.detectors import AMA, KNN, PCA, Auto, Detector
from anomirror.errors import InputError
from anomirror.metrics import Metrics, evaluate
from anomirror.presets import as_published
from anomirror.report.console import metrics_table
from anomirror.report.plots import image_rows, score_densities
from anomirror.scorers import Scorer, Scores, both_sides
from anomirror.storage import CARD, replacing

WRITTEN = ("results.json", "reconstructions.png", "scores.png", "model")


def run_demo(out: Path, console: Console, *, seed: int = 0) -> dict[str, Metrics]:
    """Train on clothes, test on clothes against handwritten digits.

    Write ``results.json``, two images and the model.
    """
    sample = load_sample()
    out = out.resolve()
    others = [name for name in WRITTEN if (out / name).exists()]
    if others and not ((out / "results.json").is_file() and (out / "model" / CARD).is_file()):
        raise InputError(
            f"{out}: holds {others[0]}, and is no folder of an earlier demo; choose another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    console.print(
        f"normal: {len(sample.train)} Fashion-MNIST images to train on, {len(sample.normal)} to "
        "test; "
        f"anomalies: {len(sample.anomalies)} handwritten digits, never seen in training"
    )
    rows: dict[str, Metrics] = {}
    seconds: dict[str, float] = {}
    # auto as a user has it; the others as the tables are measured: scores of training images
    # calibrate, and AMA decides by its A-score
    auto = Auto(random_state=seed)
    ama = AMA(random_state=seed, verbose=True, **as_published("ama"))
    for detector in (
        auto,
        ama,
        PCA(random_state=seed, **as_published("pca")),
        KNN(random_state=seed, **as_published("knn")),
    ):
        started = time.perf_counter()
        detector.fit(sample.train)
        seconds[detector.method] = time.perf_counter() - started
        rows |= _both_sides(detector, sample)
    console.print(metrics_table("clothes against digits (95 % intervals)", "detector", rows))
    console.print(f"auto took {' and '.join(auto.members_)}, by made-up anomalies")
    console.print(", ".join(f"{name} fitted in {value:.0f} s" for name, value in seconds.items()))
    with replacing(out / "results.json") as file:
        results = {name: metrics.as_dict() for name, metrics in rows.items()}
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _pictures(ama, sample, out)
    ama.save(out / "model", overwrite=True)
    console.print(
        f"written to {out}/: results.json, reconstructions.png, scores.png, and the model in model/"
    )
    return rows


def _both_sides(detector: Detector, sample: Sample) -> dict[str, Metrics]:
    """Metrics of the detector's own scorer under its name, and of the other one.

    One fit serves both.
    """
    raw = (
        detector.calibration_raw_,
        detector.raw_scores(sample.normal),
        detector.raw_scores(sample.anomalies),
    )
    own = detector.scorer_
    rows = {detector.method: _metrics(copy.deepcopy(own), *raw)}
    others = {side: scorer for side, scorer in both_sides(own).items() if scorer.sided != own.sided}
    return rows | {
        f"{detector.method} {side}": _metrics(scorer, *raw) for side, scorer in others.items()
    }


def _metrics(scorer: Scorer, train: Scores, normal: Scores, anomalies: Scores) -> Metrics:
    scorer.fit(train)
    return evaluate(scorer.normality(normal), scorer.normality(anomalies))


def _pictures(ama: AMA, sample: Sample, out: Path) -> None:
    normal, anomalies = sample.normal[:10], sample.anomalies[:10]
    inner = slice(2, 30)  # 28 pixels are padded to 32
    pictures = {
        "normal": normal,
        "reconstruction": ama.reconstruct(normal)[:, inner, inner, 0],
        "anomaly": anomalies,
        "its reconstruction": ama.reconstruct(anomalies)[:, inner, inner, 0],
        "explanation": np.clip(ama.explain(anomalies), 0, 1),
    }
    image_rows(pictures, out / "reconstructions.png")
    groups = {
        "training": ama.score_samples(sample.train[:1000]),
        "normal test": ama.score_samples(sample.normal),
        "anomalies": ama.score_samples(sample.anomalies),
    }
    score_densities(
        groups,
        out / "scores.png",
        label="A-score (log density, high = normal)",
        threshold=ama.offset_,
    )
