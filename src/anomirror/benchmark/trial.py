"""A trial: one training, everything that is scored with it, and where its results lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anomirror.benchmark.cells import Place, Record, read_record
from anomirror.benchmark.protocols import Comparison, Labelled, Protocol, compare, plain_name
from anomirror.data import FOLDER_SIZE, is_folder
from anomirror.detector.parameters import Arguments
from anomirror.detectors import Detector, make_detector
from anomirror.presets import as_published
from anomirror.scorers import SIDES


@dataclass(frozen=True)
class Trial:
    """One training, and everything that is scored with it.

    Folders are named by their whole path.
    """

    method: str
    preset: str
    parameters: Mapping[str, object]
    """Keyword arguments: the preset's, with the changes of the variant."""
    normal: str
    anomalies: tuple[str, ...]
    seed: int
    group: str = "cpu"
    """The preset that was asked for: of all methods that stand in one table."""
    variant: str = ""
    """Name of the changes; empty: none."""
    protocol: Protocol = "blind"
    labelled: Labelled | None = None
    scorings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Further ways to score the same networks: a name, and the parameters that change after the
    fit.
    """
    own: str = ""
    """Name of the method's own scoring, where it needs one."""
    folder_size: int = FOLDER_SIZE
    tested: int | None = None
    """Of the test a fixed sample of this size is scored, as :func:`compare` says; None: all."""

    @property
    def name(self) -> str:
        """Of its files, without the suffix."""
        labelled = ""
        if self.labelled:
            labelled = f"labelled-{plain_name(self.labelled.dataset)}-{self.labelled.count}"
        protocol = "" if self.protocol == "blind" else f"protocol-{self.protocol}"
        size = f"{self.folder_size}px" if is_folder(self.normal) else ""
        return joined(self.method, self.variant, labelled, protocol, size, f"seed{self.seed}")

    def file(self, out: Path) -> Path:
        """Where its record lies."""
        return out / folder_name(self.normal) / f"{self.name}.json"

    def record(self, out: Path) -> Record | None:
        """What is measured of it; None if nothing is."""
        file = self.file(out)
        return read_record(file) if file.is_file() else None

    def comparison(self, data_dir: Path | None = None) -> Comparison:
        """Its images."""
        return compare(
            self.normal,
            self.anomalies,
            seed=self.seed,
            protocol=self.protocol,
            labelled=self.labelled,
            data_dir=data_dir,
            folder_size=self.folder_size,
            tested=self.tested,
        )

    def detector(self) -> Detector:
        """Not fitted yet."""
        settings = {**protocol_settings(self.method, self.normal), **self.parameters}
        return make_detector(self.method, **settings, random_state=self.seed)

    def all_scorings(self) -> dict[str, Mapping[str, object]]:
        """The method's own scoring, and the further ones."""
        return {self.own: {}, **self.scorings}

    def places(self) -> list[Place]:
        """Of every cell that is wanted."""
        return [
            Place(scoring, column, side)
            for scoring in self.all_scorings()
            for column in self.anomalies
            for side in SIDES
        ]

    def missing(self, record: Record | None) -> list[Place]:
        """Wanted cells that a record does not have."""
        cells = record.cells if record else ()
        measured = {cell.place for cell in cells}
        return [place for place in self.places() if place not in measured]

    def __str__(self) -> str:
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.method}{variant} on {self.normal}, seed {self.seed}"


def protocol_settings(method: str, normal: str) -> Arguments:
    """Settings in which a protocol differs from a method's defaults.

    Named sets are measured as the tables were.

    A folder is as in ``anomirror fit``, but that its images come at the size that they are compared
    at.
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
