"""Runs trainings and writes measured cells: one ``.npz`` of scores, and one JSON for each cell of a table.

One training serves every anomaly column and both ways to read its raw score. What is finished is not computed again, a training
that was interrupted goes on at its last epoch, and several run side by side in processes of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomirror.benchmark.protocols import (
    Comparison,
    Known,
    Protocol,
    compare,
    described_parts,
    parse_normal,
    plain_name,
    stored_indices,
)
from anomirror.data import FOLDER_SIZE, is_folder
from anomirror.detector.parameters import MEASURING, SCORING, marked, renamed
from anomirror.detector.streaming import spaced
from anomirror.detector.variants import raw_scores_under, with_params
from anomirror.detectors import Detector, load, make_detector
from anomirror.devices import choose_device, use_bf16
from anomirror.errors import InputError, SettingError
from anomirror.images import fingerprint, open_images
from anomirror.metrics import auroc, evaluate
from anomirror.presets import as_published
from anomirror.scorers import SIDES, Scorer, both_sides, make_scorer, scorer_name
from anomirror.storage import remove_ours, replacing, write_history

try:
    import fcntl
except ImportError:  # not on Windows: two commands at once are then the user's own care
    fcntl = None  # type: ignore[assignment]

TRAIN_SCORES = 5000
"""Raw scores of training images that are kept, at most."""
CACHE = "compressed"
"""Folder below the results that remembers what takes long and depends on images alone."""
PICTURES = 8
"""Reconstructions that are kept of the first normal test images; half as many of each column's first anomalies."""


@dataclass(frozen=True)
class Training:
    """One fit, and everything that is scored with it. Folders stand by their whole path."""

    method: str
    preset: str
    parameters: Mapping[str, Any]
    """Keyword arguments: the preset's, with the departures of the variant."""
    normal: str
    anomalies: tuple[str, ...]
    seed: int
    group: str = "cpu"
    """The preset that was asked for: of all methods that stand in one table."""
    variant: str = ""
    """Name of the departures from the method; empty: none."""
    protocol: Protocol = "blind"
    known: Known | None = None
    scorings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further ways to score the same networks: a name, and the parameters that change after the fit."""
    own: str = ""
    """What cells call the method's own scoring, where it has to be told."""
    folder_size: int = FOLDER_SIZE
    tested: int | None = None
    """Of the test a fixed sample of this size is scored, as :func:`compare` says; None: all."""

    @property
    def stem(self) -> str:
        """Begins the names of its files."""
        known = f"known-{plain_name(self.known.dataset)}-{self.known.count}" if self.known else ""
        protocol = "" if self.protocol == "blind" else f"protocol-{self.protocol}"
        size = f"{self.folder_size}px" if is_folder(self.normal) else ""
        return joined(self.method, self.variant, known, protocol, size, f"seed{self.seed}")

    def folder(self, out: Path) -> Path:
        """Where its files lie."""
        return out / folder_name(self.normal)

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
            tested=self.tested,
        )

    def detector(self) -> Detector:
        """Not fitted yet."""
        settings = {**protocol_settings(self.method, self.normal), **self.parameters}
        return make_detector(self.method, **settings, random_state=self.seed)

    def all_scorings(self) -> dict[str, Mapping[str, Any]]:
        """The method's own scoring, and the further ones."""
        return {self.own: {}, **self.scorings}

    def row(self, scoring: str) -> str:
        """What a cell of this scoring calls its variant."""
        return joined(self.variant, scoring)

    def cells(self, out: Path) -> dict[tuple[str, str, str], Path]:
        """The file of each cell, by scoring, column and side."""
        return {
            (scoring, column, side): self.folder(out) / f"{joined(self.stem, scoring, plain_name(column), side)}.json"
            for scoring in self.all_scorings()
            for column in self.anomalies
            for side in SIDES
        }

    def done(self, out: Path) -> bool:
        """Whether every cell is there."""
        return all(file.is_file() for file in self.cells(out).values())

    def __str__(self) -> str:
        return f"{self.method}{f' ({self.variant})' if self.variant else ''} on {self.normal}, seed {self.seed}"


def protocol_settings(method: str, normal: str) -> dict[str, Any]:
    """Where the protocol departs from a method's defaults: named sets are measured as the tables were.

    A folder is as in ``anomirror fit``, but that its images come at the size that they are compared at.
    """
    return {"image_size": None} if is_folder(normal) else as_published(method)


def folder_name(normal: str) -> str:
    """Of the folder of all results of a normal set.

    >>> folder_name("mnist:3")
    'mnist-3'
    """
    return plain_name(normal).replace(":", "-")


def joined(*parts: str) -> str:
    """Those that are not empty, with hyphens between."""
    return "-".join(part for part in parts if part)


def measure(training: Training, out: Path, data_dir: Path | None = None, *, keep_model: bool = False) -> list[Path]:
    """Train once, score what is missing, write its cells; returns the files of all. Cells that are there are left alone.

    With ``keep_model`` a trained detector lies beside them as ``STEM.model``, to be loaded as any other; and one that lies
    there is scored, not trained again, if a column or a scoring was added; its cost is that of its own epochs. Under
    protocol ``paper``, where columns choose epochs, none is kept.

    Raises
    ------
    SettingError : cells of this training that are there were measured otherwise.
    InputError : another process measures it at this moment; its data are missing or damaged.
    """
    files = training.cells(out)
    if training.done(out):
        return list(files.values())
    comparison = training.comparison(data_dir)  # what cannot be read leaves no trace
    folder = training.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{training.stem}.lock"):
        refuse_other_settings(training, out)
        missing = {place: file for place, file in files.items() if not file.is_file()}
        columns = ",".join(sorted(training.anomalies)) if training.protocol == "paper" else ""  # those that choose its epochs
        scratch = folder / f"{training.stem}{hashlib.sha256(columns.encode()).hexdigest()[:6] if columns else ''}.partial"
        started = time.perf_counter()
        kept = folder / f"{training.stem}.model" if keep_model else None
        models = _fitted(training, comparison, scratch, kept)
        fitted = time.perf_counter()
        splits = {column: comparison.hash_of(column) for _, column, _ in missing}
        arrays = _scores(training, {place: models[place] for place in missing}, comparison)
        cells = {place: _cell(training, place, models[place], comparison, arrays) for place in missing}
        model = next(reversed(models.values()))
        last = model.detector
        fit_seconds = sum(row["seconds"] for row in last.history_) if model.kept else fitted - started
        cost: dict[str, Any] = {
            "fit_seconds": fit_seconds,
            "score_seconds": time.perf_counter() - fitted,
            "kept_model": model.kept,
        }
        cost |= {"threads": torch.get_num_threads(), "device": str(choose_device(last.device)), "bf16": _in_bf16(last)}
        scores_file = _free_name(folder, training.stem)
        with replacing(scores_file) as temporary:
            stored: dict[str, Any] = {name: values.astype(np.float32) for name, values in arrays.items()}
            stored |= stored_indices(comparison) | _reconstructions(last, comparison)
            np.savez_compressed(temporary, **stored)
        if last.history_:
            write_history(folder / f"{training.stem}-history.csv", last.history_)
        for place, file in missing.items():
            cell = cells[place] | {"split": splits[place[1]], "scores_file": scores_file.name, "cost": cost}
            cell |= {"versions": versions(), "command": command()}
            write_cell(file, cell)
        remove_ours(scratch)
    return list(files.values())


def _cell(
    training: Training, place: tuple[str, str, str], model: _Model, comparison: Comparison, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """One cell without what is known only when all are done."""
    scoring, column, side = place
    detector = with_params(model.detector, training.all_scorings()[scoring])
    prefix = _prefix(scoring, model.name)
    names = {"train": f"{prefix}raw_train", "normal": f"{prefix}raw_normal", "anomalies": f"{prefix}raw_{plain_name(column)}"}
    scorer = both_sides(make_scorer(detector.scorer))[side].fit(arrays[names["train"]])
    normal, whole = scorer.normality(arrays[names["normal"]]), scorer.normality(arrays[names["anomalies"]])
    sampled, compared = comparison.sampled[column], (parse_normal(training.normal)[0], column)
    metrics: dict[str, Any] = dict(evaluate(normal, whole[sampled]).as_dict())
    return {
        "method": training.method,
        "variant": training.row(scoring),
        "side": side,
        "scorer": scorer_name(scorer),
        "scorer_state": scorer.state(),
        "normal": training.normal,
        "anomalies": column,
        "seed": training.seed,
        "protocol": training.protocol,
        "epoch": model.epoch,
        "known_anomalies": {"set": training.known.dataset, "count": training.known.count} if training.known else None,
        "group": training.group,
        "preset": training.preset,
        "training": training.stem,
        "parameters": detector.stored_parameters(),
        "fitted": detector._fitted(),
        "programs": detector._programs(),
        "preparation": {name: how for name, how in comparison.preparation.items() if name in compared},
        "parts": described_parts(comparison, column),
        "counts": {"train": len(comparison.train), "normal": len(normal), "anomalies": len(sampled), "whole_set": len(whole)},
        "copies_left_out": {name: comparison.copies[name] for name in ("normal", column)},
        "scores": names,
        "metrics": metrics | {"auroc_whole_set": auroc(normal, whole)},
    }


def _free_name(folder: Path, stem: str) -> Path:
    """Scores of another fit of the same training stay what the cells say that name them."""
    number = 1
    while (file := folder / f"{stem}{f'-{number}' if number > 1 else ''}.npz").exists():
        number += 1
    return file


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold a lock that ends with the process; another one that holds it is told of."""
    with file.open("a") as stream:
        try:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{file.with_suffix('')}: another process measures this training; wait for it, or end it") from error
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


# ---------------------------------------------------------------------- fitting


@dataclass(frozen=True)
class _Model:
    """What scores a cell, and after which epoch it was taken."""

    detector: Detector
    epoch: int | None
    name: str
    """Tells its scores in the ``.npz`` from those of another epoch."""
    kept: bool = False
    """Whether an earlier run trained it."""


def _fitted(training: Training, comparison: Comparison, scratch: Path, kept: Path | None) -> dict[tuple[str, str, str], _Model]:
    """A fitted detector for each cell: the same one, or under protocol ``paper`` that of the cell's best epoch."""
    detector = training.detector()
    arguments = detector.get_params()
    places = [(scoring, column, side) for scoring in training.all_scorings() for column in training.anomalies for side in SIDES]
    if training.protocol == "paper" or "checkpoint_dir" not in arguments:
        kept = None
    cache = {"cache_dir": str(scratch.parent.parent / CACHE)} if "cache_dir" in arguments else {}
    if kept is not None and kept.exists():
        detector = _kept(training, comparison, kept).set_params(**cache)
        return dict.fromkeys(places, _Model(detector, len(detector.history_), "", kept=True))
    detector.set_params(**cache)
    if "checkpoint_dir" in arguments:
        scratch.mkdir(parents=True, exist_ok=True)
        detector.set_params(checkpoint_dir=str(scratch / "run"))
    validation = _Validation(training, comparison, scratch / "epochs")
    choosing = training.protocol == "paper" and "callback" in arguments
    if choosing:
        detector.set_params(callback=validation)
    images, labels = comparison.train, np.ones(len(comparison.train), int)
    if len(comparison.known):
        images = np.concatenate([images, comparison.known])
        labels = np.r_[labels, -np.ones(len(comparison.known), int)]
    detector.fit(images, labels)
    if kept is not None:
        detector.save(kept)
    if not choosing:
        return dict.fromkeys(places, _Model(detector, len(detector.history_) or None, ""))
    taken: dict[int, _Model] = {}
    chosen = {}
    for place in places:
        best = int(np.argmax([row[validation.key(*place)] for row in detector.history_]))
        if best not in taken:
            snapshot = load(validation.folder / f"{detector.history_[best]['snapshot']:.0f}", device=detector.device)
            snapshot.set_params(**cache)
            snapshot.history_ = detector.history_
            taken[best] = _Model(snapshot, best + 1, f"epoch{best + 1}_")
        chosen[place] = taken[best]
    return chosen


def _kept(training: Training, comparison: Comparison, file: Path) -> Detector:
    """The model of an earlier run of this training, to be scored as one would be now; it must not have been trained otherwise."""
    now = training.detector()
    detector = load(file, device=now.device)
    detector.set_params(**{name: getattr(now, name) for name in marked(type(now), SCORING, MEASURING)})
    wanted, found = now.stored_parameters(), detector.stored_parameters()
    if differing := sorted(name for name in wanted if wanted[name] != found[name]):
        name = differing[0]
        raise SettingError(f"{file}: has {name}={found[name]!r}, and now it would be {wanted[name]!r}; remove it to train again")
    if detector.data_fingerprint_ != fingerprint(open_images(comparison.train)):
        raise InputError(f"{file}: was trained on other images than these; remove it to train again")
    return detector


class _Validation:
    """After each epoch: keep the model, and tell each cell's AUROC on the anomalies that protocol ``paper`` may look at."""

    def __init__(self, training: Training, comparison: Comparison, folder: Path) -> None:
        self.folder = folder
        self._training = training
        self._comparison = comparison

    @staticmethod
    def key(scoring: str, column: str, side: str) -> str:
        """The cell's column of the history."""
        return " ".join(part for part in ("validation", scoring, plain_name(column), side) if part)

    def __call__(self, detector: Detector) -> dict[str, float]:
        found = {}
        train_images, normal_images = self._comparison.train, self._comparison.validation_normal
        train_count, normal_count = (500, len(normal_images)) if self._training.tested is None else (100, 100)
        scorings = self._training.all_scorings()
        train = raw_scores_under(detector, train_images[spaced(len(train_images), train_count)], scorings)
        normal = raw_scores_under(detector, normal_images[spaced(len(normal_images), normal_count)], scorings)
        validation = self._comparison.validation
        anomalies = {column: raw_scores_under(detector, images, scorings) for column, images in validation.items()}
        for scoring, changes in scorings.items():
            for column, raw in anomalies.items():
                for side, scorer in both_sides(make_scorer(with_params(detector, changes).scorer)).items():
                    scorer.fit(train[scoring])
                    normality = scorer.normality(normal[scoring]), scorer.normality(raw[scoring])
                    found[self.key(scoring, column, side)] = auroc(*normality)
        self.folder.mkdir(parents=True, exist_ok=True)
        # a run that was killed between its model and its checkpoint comes here again: the history tells which one counts
        number = 1 + max((int(file.name) for file in self.folder.iterdir() if file.name.isdigit()), default=0)
        detector.save(self.folder / str(number))
        return found | {"snapshot": number}


# ---------------------------------------------------------------------- scoring


def _scores(training: Training, models: Mapping[tuple[str, str, str], _Model], comparison: Comparison) -> dict[str, np.ndarray]:
    """Raw scores of every model under the scorings that some cells want of it: of training, normal and anomalous images."""
    arrays: dict[str, np.ndarray] = {}
    scorings = training.all_scorings()
    for name in dict.fromkeys(model.name for model in models.values()):
        places = [place for place, model in models.items() if model.name == name]
        detector = models[places[0]].detector
        wanted = {column: {scoring for scoring, of, _ in places if of == column} for _, column, _ in places}
        every = set().union(*wanted.values())
        sets = {
            "train": (comparison.train[spaced(len(comparison.train), training.tested or TRAIN_SCORES)], every),
            "normal": (comparison.normal, every),
            **{plain_name(column): (comparison.anomalies[column], chosen) for column, chosen in wanted.items()},
        }
        for kind, (images, chosen) in sets.items():
            found = raw_scores_under(detector, images, {scoring: scorings[scoring] for scoring in scorings if scoring in chosen})
            arrays |= {f"{_prefix(scoring, name)}raw_{kind}": raw for scoring, raw in found.items()}
    return arrays


def _prefix(scoring: str, model: str) -> str:
    """Begins the names of the scores of a model under a scoring."""
    return f"{scoring}_{model}" if scoring else model


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


# ---------------------------------------------------------------------- many trainings

Report = Callable[[Training, int, int, float, Exception | None], None]
"""Called when a training ends: it, how many are done, of how many, the seconds left (an estimate), and its error."""


def run(
    todo: Sequence[Training],
    out: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    keep_models: bool = False,
    report: Report | None = None,
) -> list[tuple[Training, Exception]]:
    """What :func:`unfinished` tells, ``jobs`` side by side; returns those that failed, the others are not held up."""
    if jobs < 1:
        raise InputError(f"jobs={jobs}: expected at least 1")
    jobs = min(jobs, len(todo))
    failed: list[tuple[Training, Exception]] = []
    started = time.perf_counter()
    attempt = partial(_attempt, out=out, data_dir=data_dir, keep_model=keep_models)
    ends = _one_by_one(todo, attempt) if jobs <= 1 else _side_by_side(todo, attempt, jobs)
    for done, (training, error) in enumerate(ends, start=1):
        if error is not None:
            failed.append((training, error))
        if report is not None:
            report(training, done, len(todo), (time.perf_counter() - started) / done * (len(todo) - done), error)
    return failed


_End = tuple[Training, Exception | None]


def _one_by_one(todo: Sequence[Training], attempt: Callable[[Training], Exception | None]) -> Iterator[_End]:
    for training in todo:
        yield training, attempt(training)


def _side_by_side(todo: Sequence[Training], attempt: Callable[[Training], Exception | None], jobs: int) -> Iterator[_End]:
    """As many at once as ``jobs``; whatever ends this, ends them."""
    waiting = list(todo)
    while waiting:
        pool = ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(max(1, _cores() // jobs),)
        )
        at_work: dict[Future[Exception | None], Training] = {}
        broken = False
        try:
            while at_work or (waiting and not broken):
                while waiting and not broken and len(at_work) < jobs:
                    training = waiting.pop(0)
                    at_work[pool.submit(attempt, training)] = training
                for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                    training, error = at_work.pop(future), _result(future)
                    broken = broken or isinstance(error, _KilledError)
                    yield training, error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()


class _KilledError(InputError):
    """The process of a training ended without a word."""


def _attempt(training: Training, out: Path, data_dir: Path | None, keep_model: bool) -> Exception | None:
    """An error as a value: one failed training does not end the others."""
    try:
        measure(training, out, data_dir, keep_model=keep_model)
    except Exception as error:
        return error
    return None


def _result(future: Future[Exception | None]) -> Exception | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return _KilledError("a process was killed (out of memory?); the same command goes on where it stopped")
    except Exception as error:
        return error


def _begin_worker(threads: int) -> None:
    """A worker ends with the process that started it, however that ends: the same command again would train beside it."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unfinished(trainings: Sequence[Training], out: Path, data_dir: Path | None = None) -> list[Training]:
    """Each training that lacks a cell, once, with all columns and scorings that are wanted of it.

    Raises
    ------
    SettingError : cells that are there were measured with other parameters or pictures; two trainings of one name differ.
    """
    todo: dict[Path, Training] = {}
    for training in trainings:
        place = training.folder(out) / training.stem
        refuse_other_settings(training, out)
        _refuse_other_pictures(training, out, data_dir)
        if place in todo:
            if dict(todo[place].parameters) != dict(training.parameters):
                raise SettingError(f"{training}: wanted twice, with different parameters")
            columns = tuple(dict.fromkeys([*todo[place].anomalies, *training.anomalies]))
            training = replace(todo[place], anomalies=columns, scorings={**todo[place].scorings, **training.scorings})
        if not training.done(out):
            todo[place] = training
    return list(todo.values())


def refuse_other_settings(training: Training, out: Path) -> None:
    """Whether the cells of this training that are there were measured as it would be now."""
    detector = training.detector()
    scorings = {training.row(scoring): with_params(detector, changes) for scoring, changes in training.all_scorings().items()}
    for file in training.folder(out).glob(f"{training.stem}-*.json"):
        cell = read_cell(file)
        if cell.get("training") != training.stem or cell["variant"] not in scorings:
            continue
        scored = scorings[cell["variant"]]
        scorer: Scorer = both_sides(make_scorer(scored.scorer))[cell["side"]]
        wanted = {**json.loads(json.dumps(scored.stored_parameters())), "scorer": scorer_name(scorer), "normal": training.normal}
        parameters = detector.brought_up_to_date(cell["parameters"])
        found = {**parameters, "scorer": cell["scorer"], "normal": cell["normal"]}
        refuse_difference(file, found, wanted)


def refuse_difference(file: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """What is stored in a file must have been measured with the settings that it would be measured with now."""
    if differing := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        name = differing[0]
        raise SettingError(
            f"{file}: was measured with {name}={found.get(name)!r}, and now it would be {wanted.get(name)!r}; "
            "remove what was measured with other settings, or choose another --out"
        )


def _refuse_other_pictures(training: Training, out: Path, data_dir: Path | None) -> None:
    """The pictures of a folder may have changed since they were measured; named sets are what they are."""
    there = {place: file for place, file in training.cells(out).items() if file.is_file()}
    if not there or not any(map(is_folder, (training.normal, *training.anomalies))):
        return
    comparison = training.comparison(data_dir)
    splits = {column: comparison.hash_of(column) for _, column, _ in there}
    for (_, column, _), file in there.items():
        if read_cell(file)["split"] != splits[column]:
            raise SettingError(f"{file}: was measured with other pictures than lie there now; remove it, or choose another --out")


def read_cell(file: Path) -> dict[str, Any]:
    """One JSON file of results; a damaged one is named."""
    try:
        cell: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: no JSON, or damaged ({error})") from error
    if "parameters" in cell:
        cell["parameters"] = renamed(cell["parameters"])
    return cell


def write_cell(file: Path, cell: Mapping[str, Any]) -> None:
    """What :func:`read_cell` reads; complete or not at all."""
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8")


def command(module: str | None = None) -> str:
    """The command line that this process, or the one that started it, was called with; of ours, or of a module."""
    return shlex.join([*(["python", "-m", module] if module else ["anomirror"]), *sys.argv[1:]])


def versions() -> dict[str, str]:
    """What a measurement was made with."""
    packages = {name: version(name) for name in ("anomirror", "torch", "numpy", "scikit-learn")}
    return packages | {"python": platform.python_version(), "machine": platform.machine()}
