"""Runs trainings and writes measured cells: one ``.npz`` of scores, and one JSON for each cell of a table.

One training serves every anomaly column and both ways to read its raw score. What is finished is not computed again, a training
that was interrupted goes on at its last epoch, and several run side by side in processes of their own.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import platform
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomirror.benchmark.protocols import Comparison, Known, Protocol, compare, plain_name, stored_indices
from anomirror.detectors import Detector, load, make_detector
from anomirror.errors import AnomirrorError, InputError, SettingError
from anomirror.metrics import auroc, evaluate
from anomirror.scoring import SIDES, Scores, both_sides, make_scorer, scorer_name
from anomirror.storage import replacing, write_history
from anomirror.training import choose_device, use_bf16

TRAIN_SCORES = 5000
"""Raw scores of training images that are kept, at most."""
PICTURES = 8
"""Reconstructions that are kept of the first normal test images; half as many of each column's first anomalies."""


@dataclass(frozen=True)
class Training:
    """One fit, and everything that is scored with it."""

    method: str
    preset: str
    parameters: Mapping[str, Any]
    """Keyword arguments: the preset's, with the departures of the variant."""
    normal: str
    anomalies: tuple[str, ...]
    seed: int
    variant: str = ""
    """Name of the departures from the method; empty: none."""
    protocol: Protocol = "blind"
    known: Known | None = None
    scorings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further ways to score the same networks: a name, and the parameters that change after the fit."""
    folder_size: int = 64

    @property
    def stem(self) -> str:
        """Begins the names of its files."""
        known = (f"known-{self.known.dataset}-{self.known.count}",) if self.known else ()
        protocol = () if self.protocol == "blind" else (f"protocol-{self.protocol}",)
        return "-".join((self.method, *((self.variant,) if self.variant else ()), *known, *protocol, f"seed{self.seed}"))

    def folder(self, out: Path) -> Path:
        """Where its files lie."""
        return out / plain_name(self.normal).replace(":", "-")

    def comparison(self, data_dir: Path | None = None) -> Comparison:
        """Its images."""
        return compare(
            self.normal,
            self.anomalies,
            seed=self.seed,
            protocol=self.protocol,
            known=self.known,
            data_dir=data_dir,
            folder_size=self.folder_size,
        )

    def detector(self) -> Detector:
        """Not fitted yet."""
        return make_detector(self.method, **self.parameters, random_state=self.seed)

    def cells(self, out: Path) -> dict[tuple[str, str, str], Path]:
        """The file of each cell, by scoring ("": the method's own), column and side."""
        return {
            (scoring, column, side): self.folder(out)
            / f"{'-'.join((self.stem, *((scoring,) if scoring else ()), plain_name(column), side))}.json"
            for scoring in ("", *self.scorings)
            for column in self.anomalies
            for side in SIDES
        }

    def done(self, out: Path) -> bool:
        """Whether every cell is there."""
        return all(file.is_file() for file in self.cells(out).values())

    def __str__(self) -> str:
        return f"{self.method}{f' ({self.variant})' if self.variant else ''} on {self.normal}, seed {self.seed}"


def measure(training: Training, out: Path, data_dir: Path | None = None) -> list[Path]:
    """Train once, score everything, write the cells; returns their files. Cells that are there are left alone."""
    files = training.cells(out)
    if training.done(out):
        return list(files.values())
    comparison = training.comparison(data_dir)
    folder = training.folder(out)
    scratch = folder / f"{training.stem}.partial"
    started = time.perf_counter()
    models = _fitted(training, comparison, scratch)
    fitted = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    keys: dict[tuple[str, str], dict[str, str]] = {}
    for scoring, changes in {"": {}, **training.scorings}.items():
        for column in training.anomalies:
            keys[scoring, column] = _scored(models[column], scoring, changes, column, comparison, arrays)
    last = models[training.anomalies[-1]].detector
    cost: dict[str, Any] = {"fit_seconds": fitted - started, "score_seconds": time.perf_counter() - fitted}
    cost |= {"threads": torch.get_num_threads(), "device": str(choose_device(last.device)), "bf16": _in_bf16(last)}
    pictures = _reconstructions(models[training.anomalies[0]].detector, comparison)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{training.stem}.npz"
    kept = _read_arrays(file)
    with replacing(file) as temporary:
        stored = {name: values.astype(np.float32) for name, values in arrays.items()}
        np.savez_compressed(temporary, **{**kept, **stored, **stored_indices(comparison), **pictures})  # type: ignore[arg-type]
    if last.history_:
        write_history(folder / f"{training.stem}-history.csv", last.history_)
    for (scoring, column, side), cell_file in files.items():
        model = models[column]
        detector = _changed(model.detector, training.scorings.get(scoring, {}))
        scorer = both_sides(make_scorer(detector.scorer))[side]
        names = keys[scoring, column]
        scorer.fit(arrays[names["train"]])
        normal, whole = scorer.normality(arrays[names["normal"]]), scorer.normality(arrays[names["anomalies"]])
        metrics: dict[str, Any] = dict(evaluate(normal, whole[comparison.sampled[column]], resamples=200).as_dict())
        cell = {
            "method": training.method,
            "variant": "-".join(part for part in (training.variant, scoring) if part),
            "side": side,
            "scorer": scorer_name(scorer),
            "scorer_state": scorer.state(),
            "normal": training.normal,
            "anomalies": column,
            "seed": training.seed,
            "protocol": training.protocol,
            "epoch": model.epoch,
            "known_anomalies": {"set": training.known.dataset, "count": training.known.count} if training.known else None,
            "preset": training.preset,
            "parameters": detector.stored_parameters(),
            "preparation": comparison.preparation,
            "split": comparison.hash_of(column),
            "counts": {"train": len(comparison.train), "normal": len(normal), "anomalies": len(comparison.sampled[column])},
            "copies_left_out": {name: comparison.copies[name] for name in ("normal", column)},
            "scores_file": file.name,
            "scores": names,
            "metrics": metrics | {"auroc_whole_set": auroc(normal, whole)},
            "cost": cost,
            "versions": versions(),
            "command": command(),
        }
        with replacing(cell_file) as temporary:
            temporary.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(scratch, ignore_errors=True)
    return list(files.values())


# ---------------------------------------------------------------------- fitting


@dataclass(frozen=True)
class _Model:
    """What scores a column, and after which epoch it was taken."""

    detector: Detector
    epoch: int | None
    name: str
    """Tells its scores in the ``.npz`` from those of another epoch."""


def _fitted(training: Training, comparison: Comparison, scratch: Path) -> dict[str, _Model]:
    """A fitted detector for each column: the same one, or under protocol ``paper`` that of the column's best epoch."""
    detector = training.detector()
    arguments = detector.get_params()
    if "checkpoint_dir" in arguments:
        scratch.mkdir(parents=True, exist_ok=True)
        detector.set_params(checkpoint_dir=str(scratch / "run"))
    choosing = training.protocol == "paper" and "monitor" in arguments
    if choosing:
        detector.set_params(monitor=_Validation(comparison, scratch / "epochs"))
    images, labels = comparison.train, np.ones(len(comparison.train), int)
    if len(comparison.known):
        images = np.concatenate([images, comparison.known])
        labels = np.r_[labels, -np.ones(len(comparison.known), int)]
    detector.fit(images, labels)
    if not choosing:
        epochs = len(detector.history_) or None
        return dict.fromkeys(training.anomalies, _Model(detector, epochs, ""))
    chosen = {}
    taken: dict[int, _Model] = {}
    for column in training.anomalies:
        best = int(np.argmax([row[f"validation {column}"] for row in detector.history_]))
        if best not in taken:
            snapshot = load(scratch / "epochs" / f"{detector.history_[best]['snapshot']:.0f}", device=detector.device)
            snapshot.history_ = detector.history_
            taken[best] = _Model(snapshot, best + 1, f"epoch{best + 1}_")
        chosen[column] = taken[best]
    return chosen


class _Validation:
    """After each epoch: keep the model, and tell the AUROC on the anomalies that protocol ``paper`` may look at."""

    def __init__(self, comparison: Comparison, folder: Path) -> None:
        self._comparison = comparison
        self._folder = folder

    def __call__(self, detector: Detector) -> dict[str, float]:
        normal = detector.score_samples(self._comparison.validation_normal)
        found = {
            f"validation {column}": auroc(normal, detector.score_samples(images))
            for column, images in self._comparison.validation.items()
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        # a run that was killed between its model and its checkpoint comes here again: the history tells which one counts
        number = 1 + max((int(file.name) for file in self._folder.iterdir() if file.name.isdigit()), default=0)
        detector.save(self._folder / str(number))
        return found | {"snapshot": number}


# ---------------------------------------------------------------------- scoring


def _scored(
    model: _Model, scoring: str, changes: Mapping[str, Any], column: str, comparison: Comparison, arrays: dict[str, np.ndarray]
) -> dict[str, str]:
    """Raw scores of the column, and of training and normal images unless they are there; returns their names in ``arrays``."""
    prefix = f"{scoring}_{model.name}" if scoring else model.name
    names = {"train": f"{prefix}raw_train", "normal": f"{prefix}raw_normal", "anomalies": f"{prefix}raw_{plain_name(column)}"}
    detector = _changed(model.detector, changes)
    if names["train"] not in arrays:
        arrays[names["train"]] = _training_scores(detector, scoring, comparison)
        arrays[names["normal"]] = detector.raw_scores(comparison.normal)
    arrays[names["anomalies"]] = detector.raw_scores(comparison.anomalies[column])
    return names


def _training_scores(detector: Detector, scoring: str, comparison: Comparison) -> Scores:
    """Evenly spaced ones of the calibration, if they are at hand and of this scoring, else of the training images."""
    calibration: Scores | None = getattr(detector, "calibration_raw_", None)
    if calibration is None or scoring:
        return detector.raw_scores(comparison.train[_spaced(len(comparison.train))])
    spaced: Scores = calibration[_spaced(len(calibration))]
    return spaced


def _spaced(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(TRAIN_SCORES, count)).astype(int)


def _changed(detector: Detector, changes: Mapping[str, Any]) -> Detector:
    """The same fitted detector with other parameters of scoring."""
    changed: Detector = copy.copy(detector).set_params(**changes)
    return changed


def _in_bf16(detector: Detector) -> bool:
    """Whether it was trained in bf16: with precision "auto" the machine decides."""
    return use_bf16(detector.get_params().get("precision", "float32"), choose_device(detector.device))


def _reconstructions(detector: Detector, comparison: Comparison) -> dict[str, np.ndarray]:
    """Of the first normal test images and the first anomalies of each column, uint8, if the method reconstructs."""
    reconstruct: Callable[[np.ndarray], np.ndarray] | None = getattr(detector, "reconstruct", None)
    if reconstruct is None:
        return {}
    size = comparison.normal.shape[1]
    top, left, _, _ = detector.frame_.inner(size, size)
    return {
        f"reconstructed_{name}": np.rint(reconstruct(images)[:, top : top + size, left : left + size] * 255).astype(np.uint8)
        for name, images in shown(comparison).items()
    }


def shown(comparison: Comparison) -> dict[str, np.ndarray]:
    """The images whose reconstructions are kept."""
    columns = {
        plain_name(column): images[comparison.sampled[column][: PICTURES // 2]] for column, images in comparison.anomalies.items()
    }
    return {"normal": comparison.normal[:PICTURES], **columns}


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    """What an earlier run with other columns stored."""
    if not file.is_file():
        return {}
    with np.load(file) as stored:
        return {name: stored[name] for name in stored.files}


# ---------------------------------------------------------------------- many trainings

Report = Callable[[Training, int, int, float, Exception | None], None]
"""Called when a training ends: it, how many are done, of how many, the seconds left (an estimate), and its error."""


def run(
    trainings: Sequence[Training], out: Path, *, jobs: int = 1, data_dir: Path | None = None, report: Report | None = None
) -> list[tuple[Training, Exception]]:
    """Every training that is not finished, ``jobs`` side by side; returns those that failed, the others are not held up."""
    if jobs < 1:
        raise InputError(f"jobs={jobs}: expected at least 1")
    todo = unfinished(trainings, out)
    failed: list[tuple[Training, Exception]] = []
    started, done = time.perf_counter(), 0

    def ended(training: Training, error: Exception | None) -> None:
        nonlocal done
        done += 1
        if error is not None:
            failed.append((training, error))
        if report is not None:
            report(training, done, len(todo), (time.perf_counter() - started) / done * (len(todo) - done), error)

    if jobs == 1 or len(todo) < 2:
        for training in todo:
            ended(training, _attempt(training, out, data_dir))
        return failed
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(threads,))
    with pool:
        futures: dict[Future[Exception | None], Training] = {
            pool.submit(_attempt, training, out, data_dir): training for training in todo
        }
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    ended(futures.pop(future), _result(future))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _begin_worker(threads: int) -> None:
    """A worker ends with the process that started it, however that ends: the same command again would train beside it."""
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def unfinished(trainings: Sequence[Training], out: Path) -> list[Training]:
    """Each training that lacks a cell, once, with all columns that are wanted of it.

    Raises
    ------
    SettingError : cells that are there were measured with other parameters.
    """
    todo: dict[Path, Training] = {}
    for training in trainings:
        place = training.folder(out) / training.stem
        _refuse_other_parameters(training, out)
        if place in todo:
            training = replace(todo[place], anomalies=tuple(dict.fromkeys([*todo[place].anomalies, *training.anomalies])))
        if not training.done(out):
            todo[place] = training
    return list(todo.values())


def _refuse_other_parameters(training: Training, out: Path) -> None:
    wanted = json.loads(json.dumps(training.detector().stored_parameters()))
    for (scoring, _, _), file in training.cells(out).items():
        if scoring or not file.is_file():
            continue
        found = json.loads(file.read_text(encoding="utf-8"))["parameters"]
        if differing := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            name = differing[0]
            raise SettingError(
                f"{file}: was measured with {name}={found.get(name)!r}, and now it would be {wanted.get(name)!r}; "
                "remove what was measured with other settings, or choose another --out"
            )


def _attempt(training: Training, out: Path, data_dir: Path | None) -> Exception | None:
    """An error of ours as a value: one failed training does not end the others."""
    try:
        measure(training, out, data_dir)
    except AnomirrorError as error:
        return error
    return None


def _result(future: Future[Exception | None]) -> Exception | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return InputError("its process was killed; out of memory? The same command goes on where it stopped")
    except Exception as error:
        return error


def command(module: str | None = None) -> str:
    """The command line that this process, or the one that started it, was called with; of ours, or of a module."""
    return shlex.join([*(["python", "-m", module] if module else ["anomirror"]), *sys.argv[1:]])


def versions() -> dict[str, str]:
    """What a measurement was made with."""
    packages = {name: version(name) for name in ("anomirror", "torch", "numpy", "scikit-learn")}
    return packages | {"python": platform.python_version(), "machine": platform.machine()}
