"""Measures one trial: fit, score what is missing, add its cells to its record.

One training serves every anomaly set, every scoring and both sides. What is measured is not
measured again, and a training that was interrupted goes on at its last epoch.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from anomirror.benchmark.cells import (
    Cell,
    Column,
    Counts,
    PartCount,
    Place,
    Record,
    Run,
    Side,
    write_arrays,
    write_record,
)
from anomirror.benchmark.fits import Fit, fits_of
from anomirror.benchmark.protocols import REST, Comparison, parse_normal, places_tested, plain_name
from anomirror.benchmark.provenance import command, versions
from anomirror.benchmark.resume import refuse_other_settings
from anomirror.benchmark.trial import Trial
from anomirror.detector.streaming import spaced
from anomirror.detector.variants import raw_scores_under, with_params
from anomirror.detectors import Detector
from anomirror.devices import choose_device, use_bf16
from anomirror.errors import InputError
from anomirror.metrics import auroc, evaluate
from anomirror.scorers import Scores, both_sides, make_scorer, scorer_name
from anomirror.storage import remove_ours

if sys.platform != "win32":  # there two commands at once are the user's own care
    import fcntl

TRAIN_SCORES = 5000
"""Raw scores of training images that are stored, at most."""
STORED_BITS = 17
"""Significant bits of stored raw scores."""
SHOWN = 8
"""Reconstructions that seed 0 stores of the first normal test images; half as many of each column.
"""


def measure(
    trial: Trial, out: Path, data_dir: Path | None = None, *, keep_model: bool = False
) -> Record:
    """Train once, score what is missing, write its cells; returns the record of all.

    With ``keep_model`` a trained detector is stored next to them as ``NAME.model``, to be loaded as
    any other; and one that is there is scored, not trained again, if a column or a scoring was
    added; its cost is that of its own epochs. Under protocol ``paper``, where columns choose
    epochs, none is kept.

    Raises
    ------
    SettingError : cells of this trial that are there were measured otherwise.
    InputError : another process measures it at this moment; its data are missing or damaged.
    """
    record = trial.record(out)
    if record and not trial.missing(record):
        return record
    comparison = trial.comparison(data_dir)  # what cannot be read leaves no trace
    file = trial.file(out)
    file.parent.mkdir(parents=True, exist_ok=True)
    with alone(file.with_name(f"{trial.name}.lock")):
        record = trial.record(out)
        if record:
            refuse_other_settings(trial, file, record)
        missing = trial.missing(record)
        if record and not missing:  # another process has measured it meanwhile
            return record
        scratch = file.with_name(f"{trial.name}{_columns_hash(trial)}.partial")
        started = time.perf_counter()
        model = file.with_name(f"{trial.name}.model") if keep_model else None
        fits = fits_of(trial, comparison, scratch, model)
        fit_seconds = time.perf_counter() - started
        started = time.perf_counter()
        number = len(record.runs) if record else 0
        scores = _raw_scores(trial, {place: fits[place] for place in missing}, comparison)
        cells = [_cell(trial, place, fits[place], comparison, scores, number) for place in missing]
        last = next(reversed(fits.values()))
        run = _run(last, fit_seconds, time.perf_counter() - started)
        columns = {place.column: _column(trial, place.column, comparison) for place in missing}
        extended = _extended(record or _empty(trial), trial, columns, run, cells, last.detector)
        arrays = _stored(extended, cells, scores, comparison)
        if trial.seed == 0 and REST not in trial.anomalies:
            arrays |= _reconstructions(last.detector, comparison)
        write_arrays(file, arrays, add=record is not None)
        write_record(file, extended)
        remove_ours(scratch)
    return extended


def _columns_hash(trial: Trial) -> str:
    """Of the columns that choose the epochs of a training; empty if none does."""
    if trial.protocol != "paper":
        return ""
    return hashlib.sha256(",".join(sorted(trial.anomalies)).encode()).hexdigest()[:6]


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold a lock that ends with the process; refuse if another process holds it."""
    with file.open("a") as stream:
        try:
            if sys.platform != "win32":
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            place = file.with_name(file.name.removesuffix(".lock"))
            raise InputError(
                f"{place}: another process measures this training; wait for it, or end it"
            ) from error
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


# ---------------------------------------------------------------------- the record


def _empty(trial: Trial) -> Record:
    return Record(
        method=trial.method,
        variant=trial.variant,
        normal=trial.normal,
        seed=trial.seed,
        protocol=trial.protocol,
        labelled_anomalies=trial.labelled,
        group=trial.group,
        preset=trial.preset,
        parameters=trial.detector().stored_parameters(),
        scorings={},
        columns={},
        runs=(),
        cells=(),
    )


def _extended(
    record: Record,
    trial: Trial,
    columns: Mapping[str, Column],
    run: Run,
    cells: Sequence[Cell],
    detector: Detector,
) -> Record:
    """A record with what another run measured."""
    scorings = {
        scoring: {name: value for name, value in changes.items() if name in record.parameters}
        for scoring, changes in trial.all_scorings().items()
    }
    return record.model_copy(
        update={
            "scorings": {**record.scorings, **scorings},
            "columns": {**record.columns, **columns},
            "runs": (*record.runs, run),
            "cells": (*record.cells, *cells),
            "history": tuple(detector.history_),
        }
    )


def _run(fit: Fit, fit_seconds: float, score_seconds: float) -> Run:
    detector = fit.detector
    device = choose_device(detector.device)
    trained = sum(row["seconds"] for row in detector.history_)
    return Run(
        fit_seconds=trained if fit.kept else fit_seconds,
        score_seconds=score_seconds,
        kept_model=fit.kept,
        threads=torch.get_num_threads(),
        device=str(device),
        bf16=use_bf16(detector.get_params().get("precision", "float32"), device),
        versions=versions(),
        command=command(),
    )


def _column(trial: Trial, column: str, comparison: Comparison) -> Column:
    """What decides a column."""
    decisive = ("train", "labelled", "normal", "validation normal", column, f"validation {column}")
    parts = {name: comparison.parts[name] for name in decisive if name in comparison.parts}
    compared = (parse_normal(trial.normal)[0], column)
    return Column(
        name=plain_name(column),
        split=comparison.hash_of(column),
        parts={name: PartCount.of(part) for name, part in parts.items() if len(part.indices)},
        preparation={name: how for name, how in comparison.preparation.items() if name in compared},
        counts=Counts(
            train=len(comparison.train),
            normal=len(comparison.normal),
            anomalies=len(comparison.sampled[column]),
            whole_set=len(comparison.anomalies[column]),
        ),
        copies_left_out={name: comparison.copies[name] for name in ("normal", column)},
    )


# ---------------------------------------------------------------------- scores

_RawScores = dict[tuple[str, int | None], dict[str, Scores]]
"""By scoring and epoch, raw scores of the images ``train``, ``normal`` and of every whole anomaly
set.
"""


def _raw_scores(trial: Trial, fits: Mapping[Place, Fit], comparison: Comparison) -> _RawScores:
    """Of every fitted detector under the scorings that some cells want of it."""
    by_epoch = {fit.epoch: fit.detector for fit in fits.values()}
    train = comparison.train[spaced(len(comparison.train), trial.tested or TRAIN_SCORES)]
    scores: _RawScores = {}
    for epoch, detector in by_epoch.items():
        places = [place for place, fit in fits.items() if fit.epoch == epoch]
        columns = dict.fromkeys(place.column for place in places)
        sets = {"train": train, "normal": comparison.normal}
        sets |= {column: comparison.anomalies[column] for column in columns}
        for name, images in sets.items():
            wanted = {
                place.scoring for place in places if place.column == name or name not in columns
            }
            scorings = {s: changes for s, changes in trial.all_scorings().items() if s in wanted}
            for scoring, raw in raw_scores_under(detector, images, scorings).items():
                scores.setdefault((scoring, epoch), {})[name] = raw
    return scores


def _cell(
    trial: Trial, place: Place, fit: Fit, comparison: Comparison, scores: _RawScores, run: int
) -> Cell:
    """One cell from the raw scores of its scoring and epoch."""
    detector = with_params(fit.detector, trial.all_scorings()[place.scoring])
    raw = scores[place.scoring, fit.epoch]
    scorer = both_sides(make_scorer(detector.scorer))[place.side].fit(raw["train"])
    normal, whole = scorer.normality(raw["normal"]), scorer.normality(raw[place.column])
    measured = evaluate(normal, whole[comparison.sampled[place.column]]).as_dict()
    return Cell(
        scoring=place.scoring,
        anomalies=place.column,
        side=cast(Side, place.side),
        run=run,
        epoch=fit.epoch,
        scorer=scorer_name(scorer),
        scorer_state=scorer.state(),
        fitted=detector.fitted_numbers(),
        programs=detector.programs(),
        metrics={**measured, "auroc_whole_set": auroc(normal, whole)},
    )


def _stored(
    record: Record, cells: Sequence[Cell], scores: _RawScores, comparison: Comparison
) -> dict[str, np.ndarray]:
    """The raw scores that some cells rest on, and which images of the anomaly sets they are of."""
    arrays = {f"tested/{name}": at for name, at in places_tested(comparison).items()}
    for cell in cells:
        raw = scores[cell.scoring, cell.epoch]
        tested = raw[cell.anomalies][comparison.sampled[cell.anomalies]]
        sets = {"train": raw["train"], "normal": raw["normal"]}
        sets[record.columns[cell.anomalies].name] = tested
        for images, values in sets.items():
            arrays[record.array_name(cell, images)] = rounded(values)
    return arrays


def rounded(values: Scores) -> np.ndarray:
    """To five significant digits, float32: a quarter less on disk.

    >>> rounded(np.array([0.1, 20000 / 3])).tolist()
    [0.10000038146972656, 6666.6875]
    """
    fraction, exponent = np.frexp(values)
    whole: np.ndarray = np.rint(fraction * 2**STORED_BITS)
    stored: np.ndarray = np.ldexp(whole / 2**STORED_BITS, exponent).astype(np.float32)
    return stored


def _reconstructions(detector: Detector, comparison: Comparison) -> dict[str, np.ndarray]:
    """Of the images that are shown, uint8, if the method reconstructs."""
    reconstruct: Callable[[np.ndarray], np.ndarray] | None = getattr(detector, "reconstruct", None)
    if reconstruct is None:
        return {}
    size = comparison.normal.shape[1]
    top, left, _, _ = detector.frame_.inner(size, size)
    rows, columns = slice(top, top + size), slice(left, left + size)
    return {
        f"reconstructed/{name}": np.rint(reconstruct(images)[:, rows, columns] * 255).astype(
            np.uint8
        )
        for name, images in shown(comparison).items()
    }


def shown(comparison: Comparison) -> dict[str, np.ndarray]:
    """The images whose reconstructions are stored: normal ones, and some of each column."""
    columns = {
        plain_name(column): images[comparison.sampled[column][: SHOWN // 2]]
        for column, images in comparison.anomalies.items()
    }
    return {"normal": comparison.normal[:SHOWN], **columns}
