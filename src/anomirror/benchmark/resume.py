"""What is still to be measured, and whether what is there was measured as it would be now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anomirror.benchmark.cells import Record
from anomirror.benchmark.trial import Trial
from anomirror.data import is_folder
from anomirror.detector.parameters import first_difference
from anomirror.detector.variants import with_params
from anomirror.errors import SettingError
from anomirror.scorers import both_sides, make_scorer, scorer_name


def unfinished(trials: Sequence[Trial], out: Path, data_dir: Path | None = None) -> list[Trial]:
    """Each trial that lacks a cell, once, with all columns and scorings that are wanted of it.

    Raises
    ------
    SettingError : cells that are there were measured with other parameters or images; two trials of
        one name differ.
    """
    todo: dict[Path, Trial] = {}
    for trial in trials:
        file, record = trial.file(out), trial.record(out)
        if record:
            refuse_other_settings(trial, file, record)
            _refuse_other_images(trial, file, record, data_dir)
        if file in todo:
            if dict(todo[file].parameters) != dict(trial.parameters):
                raise SettingError(f"{trial}: wanted twice, with different parameters")
            columns = tuple(dict.fromkeys([*todo[file].anomalies, *trial.anomalies]))
            scorings = {**todo[file].scorings, **trial.scorings}
            trial = replace(todo[file], anomalies=columns, scorings=scorings)
        if trial.missing(record):
            todo[file] = trial
    return list(todo.values())


def refuse_other_settings(trial: Trial, file: Path, record: Record) -> None:
    """Whether the cells of a record were measured as they would be now.

    Raises
    ------
    SettingError : they were not.
    """
    detector = trial.detector()
    for scoring, changes in trial.all_scorings().items():
        scored = with_params(detector, changes)
        sides = both_sides(make_scorer(scored.scorer))
        wanted = {**json.loads(json.dumps(scored.stored_parameters())), "normal": trial.normal}
        for cell in record.cells:
            if cell.scoring == scoring:
                found = {**record.parameters_of(cell), "normal": record.normal}
                scorer = scorer_name(sides[cell.side])
                refuse_difference(
                    file, found | {"scorer": cell.scorer}, wanted | {"scorer": scorer}
                )


def refuse_difference(
    file: Path, found: Mapping[str, object], wanted: Mapping[str, object]
) -> None:
    """What a file holds must have been measured with the settings of today.

    Raises
    ------
    SettingError : it was not.
    """
    if (name := first_difference(found, wanted)) is not None:
        raise SettingError(
            f"{file}: was measured with {name}={found.get(name)!r}, and now it would be "
            f"{wanted.get(name)!r}; remove what was measured with other settings, "
            "or choose another --out"
        )


def _refuse_other_images(trial: Trial, file: Path, record: Record, data_dir: Path | None) -> None:
    """Refuse a folder whose images have changed since they were measured; named sets never do."""
    columns = [column for column in trial.anomalies if column in record.columns]
    if not columns or not any(map(is_folder, (trial.normal, *trial.anomalies))):
        return
    comparison = trial.comparison(data_dir)
    for column in columns:
        if record.columns[column].split != comparison.hash_of(column):
            raise SettingError(
                f"{file}: was measured with other images than are there now; remove it, or choose "
                "another --out"
            )
