"""Runs a protocol and writes measured cells: one ``.npz`` of scores, and one JSON for each cell of a table.

One training serves every anomaly column and both scorers. A cell that exists already is not computed again.

    python -m anomirror.benchmark.runner --normal fashion-mnist --anomalies mnist --anomalies omniglot --method knn --seed 0
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from anomirror.benchmark.protocols import OutOfDistribution, out_of_distribution
from anomirror.detectors import Detector, make_detector
from anomirror.metrics import auroc, evaluate
from anomirror.presets import preset
from anomirror.scoring import SIDES, Scorer, Scores, both_sides, scorer_name
from anomirror.storage import replacing


def cells(
    method: str,
    parameters: dict[str, Any],
    *,
    normal: str,
    anomalies: list[str],
    seed: int,
    preset_name: str,
    out: Path,
    known: tuple[str, int] | None = None,
    data_dir: Path | None = None,
    note: str = "",
) -> list[Path]:
    """Train once, score everything, write the cells; returns their files."""
    stem = "-".join(str(part) for part in (method, preset_name, *([note] if note else []), *(known or ()), f"seed{seed}"))
    folder = out / normal
    files = {(name, side): folder / f"{stem}-{name}-{side}.json" for name in anomalies for side in SIDES}
    if all(file.is_file() for file in files.values()):
        return list(files.values())
    split = out_of_distribution(normal, anomalies, seed=seed, known=known, data_dir=data_dir)
    detector = make_detector(method, **parameters, random_state=seed)
    started = time.perf_counter()
    _fit(detector, split)
    fitted = time.perf_counter()
    calibration = detector.calibration_raw_
    some = np.linspace(0, len(calibration) - 1, min(5000, len(calibration))).astype(int)
    raw = {"train": calibration[some], "normal": detector.raw_scores(split.normal)}
    raw |= {name: detector.raw_scores(images) for name, images in split.anomalies.items()}
    cost = {"fit_seconds": fitted - started, "score_seconds": time.perf_counter() - fitted, "threads": torch.get_num_threads()}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{stem}.npz") as temporary:
        sampled = {f"sampled_{name}": indices.astype(np.int32) for name, indices in split.sampled.items()}
        scores = {f"raw_{name}": values.astype(np.float32) for name, values in raw.items()}
        arrays: dict[str, Any] = dict(scores)
        arrays |= {f"normality_{name}": detector.normality(values).astype(np.float32) for name, values in raw.items()}
        arrays |= sampled
        np.savez_compressed(temporary, **arrays)
    scorers = both_sides(detector.scorer_)
    for (name, side), file in files.items():
        cell = {
            "method": method,
            "variant": side,
            "scorer": scorer_name(scorers[side]),
            "normal": normal,
            "anomalies": name,
            "seed": seed,
            "protocol": "blind",
            "known_anomalies": {"set": known[0], "count": known[1]} if known else None,
            "preset": preset_name,
            "parameters": detector.stored_parameters(),
            "split": split.split,
            "scores_file": f"{stem}.npz",
            "metrics": _metrics(scorers[side], raw, name, split.sampled[name]),
            "cost": cost,
            "versions": versions(),
            "command": command("anomirror.benchmark.runner"),
        }
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8")
    return list(files.values())


def _fit(detector: Detector, split: OutOfDistribution) -> None:
    if split.known is None:
        detector.fit(split.train)
        return
    labels = np.r_[np.ones(len(split.train), int), -np.ones(len(split.known), int)]
    detector.fit(np.concatenate([split.train, split.known]), labels)


def _metrics(scorer: Scorer, raw: dict[str, Scores], name: str, sampled: np.ndarray) -> dict[str, Any]:
    scorer.fit(raw["train"])
    normal, whole = scorer.normality(raw["normal"]), scorer.normality(raw[name])
    metrics: dict[str, Any] = dict(evaluate(normal, whole[sampled], resamples=200).as_dict())
    return metrics | {"auroc_whole_set": auroc(normal, whole)}


def command(module: str) -> str:
    """The command line that a benchmark of ours was started with."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """What a measurement was made with."""
    packages = {name: version(name) for name in ("anomirror", "torch", "numpy", "scikit-learn")}
    return packages | {"python": platform.python_version(), "machine": platform.machine()}


def main(
    normal: Annotated[str, typer.Option(help="data set whose train split is trained on")],
    anomalies: Annotated[list[str], typer.Option(help="data sets whose test splits are the columns")],
    method: Annotated[str, typer.Option()] = "ama",
    preset_name: Annotated[str, typer.Option("--preset")] = "cpu",
    seed: Annotated[int, typer.Option()] = 0,
    known: Annotated[str | None, typer.Option(help="NAME:COUNT known anomalies, from the set's train split")] = None,
    out: Annotated[Path, typer.Option()] = Path("results/ood"),
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure one method with one seed."""
    pair = None
    if known is not None:
        name, _, count = known.partition(":")
        pair = (name, int(count))
    written = cells(
        method,
        preset(method, preset_name),
        normal=normal,
        anomalies=anomalies,
        seed=seed,
        preset_name=preset_name,
        out=out,
        known=pair,
        data_dir=data_dir,
    )
    for file in written:
        cell = json.loads(file.read_text(encoding="utf-8"))
        print(f"{file.name}: AUROC {cell['metrics']['auroc']:.4f} (whole set {cell['metrics']['auroc_whole_set']:.4f})")


if __name__ == "__main__":
    typer.run(main)
