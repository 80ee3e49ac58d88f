"""Records: what one training measured, typed, in one JSON file, with its raw scores next to it.

``TRIAL.json`` is a :class:`Record`: how the training was made, and one :class:`Cell` for each table
cell that it fills. ``TRIAL.npz`` holds the raw scores that the cells rest on (float32): of at most
5,000 training images, of the normal test images and of the *tested* anomalies. A folder's ``.npz``
files may be packed into one, ``scores.npz``; :func:`read_arrays` reads either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from anomirror.benchmark.protocols import Labelled, Part, Protocol, plain_name
from anomirror.detector.parameters import Arguments
from anomirror.errors import InputError
from anomirror.scorers import Scorer, Scores, make_scorer
from anomirror.storage import replacing

PACK = "scores.npz"
"""All arrays of the records of a folder, under the name of the record and a slash."""
PLANES = ".planes"
"""Behind the name of an array that is packed as :func:`as_planes` has it."""

Side = Literal["one-sided", "two-sided"]
Interval = tuple[float, float]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartCount(_Stored):
    """How many images of which split of a set."""

    dataset: str
    split: str
    count: int

    @classmethod
    def of(cls, part: Part) -> PartCount:
        return cls(dataset=plain_name(part.dataset), split=part.split, count=len(part.indices))


class Counts(_Stored):
    """Images that a cell rests on."""

    train: int
    normal: int
    anomalies: int
    """Those that are tested."""
    whole_set: int


class Column(_Stored):
    """The images of one anomaly set and of the normal set next to it."""

    name: str
    """Of the anomaly set, in names of arrays."""
    split: str
    """Short hash of every index and pixel."""
    parts: dict[str, PartCount]
    preparation: dict[str, tuple[str, ...]]
    """By set, what was done to its official pixels."""
    counts: Counts
    copies_left_out: dict[str, int]


class Run(_Stored):
    """One command that added cells: a fit and its scoring, or the scoring of a kept model."""

    fit_seconds: float
    score_seconds: float
    kept_model: bool = False
    """Whether an earlier run trained the model."""
    threads: int
    device: str
    bf16: bool
    versions: dict[str, str]
    command: str


class Place(NamedTuple):
    """Which cell of a record."""

    scoring: str
    column: str
    side: str


class Cell(_Stored):
    """One cell of a table."""

    scoring: str
    """Name of the further scoring; empty or the name of a codec: the method's own."""
    anomalies: str
    side: Side
    run: int = 0
    """Which of the record's runs measured it."""
    epoch: int | None = None
    """After which it was scored; None for methods without epochs."""
    scorer: str
    scorer_state: dict[str, float]
    fitted: dict[str, float] = {}
    """Numbers of the fitted method that are no arrays."""
    programs: dict[str, str] = {}
    """Versions of the programs outside Python that the score depends on."""
    metrics: dict[str, float | Interval]
    """Values by name, and their 95 % intervals under the name and ``_ci``."""

    @property
    def place(self) -> Place:
        """What tells it from the record's other cells."""
        return Place(self.scoring, self.anomalies, self.side)

    def value(self, metric: str) -> float | None:
        """The value of a metric; None if it was not measured."""
        measured = self.metrics.get(metric)
        return measured if isinstance(measured, float | int) else None

    def interval(self, metric: str) -> Interval | None:
        """The 95 % interval of a metric; None if it was not measured."""
        measured = self.metrics.get(f"{metric}_ci")
        return measured if isinstance(measured, tuple) else None

    def restored_scorer(self) -> Scorer:
        """The fitted scorer, which turns raw scores into normality."""
        scorer: Scorer = make_scorer(self.scorer).restore(self.scorer_state)
        return scorer


class Record(_Stored):
    """What one training measured."""

    method: str
    variant: str = ""
    """Name of the parameters that differ from the preset; empty: none."""
    normal: str
    seed: int
    protocol: Protocol
    labelled_anomalies: Labelled | None = None
    group: str
    """The preset that was asked for, of all methods that stand in one table."""
    preset: str
    parameters: Arguments
    scorings: dict[str, Arguments]
    """By name, the parameters in which each scoring differs."""
    columns: dict[str, Column]
    runs: tuple[Run, ...]
    cells: tuple[Cell, ...]
    history: tuple[dict[str, float], ...] = ()
    """One row for each epoch of the last run that trained."""

    @model_validator(mode="after")
    def _cells_are_of_this_record(self) -> Self:
        for number, cell in enumerate(self.cells):
            for what, name, known in (
                ("scoring", cell.scoring, self.scorings),
                ("anomalies", cell.anomalies, self.columns),
            ):
                if name not in known:
                    raise ValueError(f"cells.{number}.{what}: the record has no {name!r}")
        return self

    def parameters_of(self, cell: Cell) -> Arguments:
        """The parameters under which a cell was scored."""
        return self.parameters | self.scorings[cell.scoring]

    def array_name(self, cell: Cell, images: str) -> str:
        """Name in the ``.npz`` of the raw scores of some images: train, normal, or a column."""
        chosen = self.protocol == "paper" and cell.epoch is not None
        return array_name(cell.scoring, images, cell.epoch if chosen else None, cell.run)


def array_name(scoring: str, images: str, epoch: int | None = None, run: int = 0) -> str:
    """Where raw scores lie in a ``.npz``.

    >>> array_name("", "normal"), array_name("plain-r", "mnist", epoch=3, run=1)
    ('own/normal', 'plain-r/run2/epoch3/mnist')
    """
    again = f"run{run + 1}" if run else ""
    after = "" if epoch is None else f"epoch{epoch}"
    return "/".join(part for part in (scoring or "own", again, after, images) if part)


class Entry(NamedTuple):
    """A cell with its record, and the file that holds it."""

    record: Record
    cell: Cell
    file: Path

    @property
    def column(self) -> Column:
        """Its images."""
        return self.record.columns[self.cell.anomalies]

    def raw_scores(self, images: str) -> Scores:
        """Raw scores of ``train``, ``normal`` or ``anomalies`` (those that are tested), float64."""
        shown = self.column.name if images == "anomalies" else images
        (values,) = read_arrays(self.file, self.record.array_name(self.cell, shown))
        scores: Scores = values.astype(np.float64)
        return scores


# ---------------------------------------------------------------------- files


def read_json(file: Path) -> Any:
    """One JSON file of results; a damaged one is named."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not JSON, or damaged ({error})") from error


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """What :func:`read_json` reads; complete or not at all."""
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(file: Path) -> Record:
    """A record; a file that is damaged or of another form is named."""
    return _validated(file, read_json(file))


def _validated(file: Path, content: object) -> Record:
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: not a record of results ({where}: {first['msg']})") from error


def write_record(file: Path, record: Record) -> None:
    """What :func:`read_record` reads, complete or not at all.

    Rows of a list are lines of the file.
    """
    content = record.model_dump(mode="json", exclude_defaults=True)
    lines = [f" {json.dumps(name)}: {_lines(value)}" for name, value in content.items()]
    with replacing(file) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _lines(value: object) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n ]"


def read_entries(*folders: Path) -> list[Entry]:
    """Every cell below some folders, in order of labelled anomalies, then of file names."""
    entries = [entry for folder in folders for entry in _entries_below(folder)]
    return sorted(entries, key=lambda entry: _labelled_count(entry.record))


def _entries_below(folder: Path) -> Iterator[Entry]:
    for file in sorted(folder.rglob("*.json")):
        content = read_json(file)
        if isinstance(content, dict) and "cells" in content:
            yield from entries_of(file, _validated(file, content))


def entries_of(file: Path, record: Record) -> list[Entry]:
    """The cells of one record."""
    return [Entry(record, cell, file) for cell in record.cells]


def _labelled_count(record: Record) -> int:
    return record.labelled_anomalies.count if record.labelled_anomalies else 0


def read_arrays(file: Path, *names: str) -> list[np.ndarray]:
    """Arrays that are stored next to a record: from its own ``.npz``, else from the folder's pack.

    Raises
    ------
    InputError : there is no such array.
    """
    with ExitStack() as opened:
        sources = [
            (opened.enter_context(np.load(place, allow_pickle=False)), prefix)
            for place, prefix in ((arrays_file(file), ""), (file.parent / PACK, f"{file.stem}/"))
            if place.is_file()
        ]

        def one(name: str) -> np.ndarray:
            for stored, prefix in sources:
                if prefix + name in stored:
                    array: np.ndarray = stored[prefix + name]
                    return array
                if (planes := f"{prefix}{name}{PLANES}") in stored:
                    return from_planes(stored[planes])
            raise InputError(f"{file}: no array {name!r} is stored next to it")

        return [one(name) for name in names]


def as_planes(array: np.ndarray) -> np.ndarray:
    """Float32 numbers ``(n, ...)`` as uint8 ``(4, n, ...)``: bytes of one place next to each other,
    which compress better.
    """
    return np.moveaxis(np.ascontiguousarray(array)[..., None].view(np.uint8), -1, 0)


def from_planes(planes: np.ndarray) -> np.ndarray:
    """The inverse of :func:`as_planes`.

    >>> from_planes(as_planes(np.array([1.5, -2.0], np.float32))).tolist()
    [1.5, -2.0]
    """
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(np.float32)[..., 0]


def arrays_file(file: Path) -> Path:
    """Where the arrays of a record lie before they are packed."""
    return file.parent / f"{file.stem}.npz"


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray], *, add: bool) -> None:
    """Store arrays next to a record; with ``add`` next to those that are there."""
    target = arrays_file(file)
    stored: dict[str, Any] = {}
    if add and target.is_file():
        with np.load(target, allow_pickle=False) as before:
            stored = dict(before)
    stored |= arrays
    with replacing(target) as temporary:
        np.savez_compressed(temporary, **stored)
