"""What stands in the paper's tables of each method: variants, scorings and how they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from anomirror.benchmark.cells import Entry
from anomirror.benchmark.published import PaperRow
from anomirror.codecs import CODECS
from anomirror.detectors import known_methods, make_detector
from anomirror.presets import as_published
from anomirror.scorers import make_scorer

Changes = Mapping[str, object]
"""Keyword arguments in which a variant or a scoring differs from the method."""

PLAIN_R, LIKELIHOOD, DENSITY = "plain-r", "likelihood", "density"
"""Scorings: AMA's Eq. (5) and (6) to the letter; the likelihood alone; AMA's statistics together.
"""

BOX_DELTA = 0.05
"""The margin of the box. It is ours: the paper gives none."""


@dataclass(frozen=True)
class MethodRows:
    """Rows of one method."""

    ablations: Mapping[str, Changes] = field(default_factory=dict)
    """Variants of Table 1. "Without the A-score" is the one-sided row of every method."""

    negatives: Mapping[str, Changes] = field(default_factory=dict)
    """Variants of Table 3."""

    scorings: Mapping[str, Changes] = field(default_factory=dict)
    """Further scorings of the same networks. A codec that is not installed is left out."""

    beside: Mapping[str, Changes] = field(default_factory=dict)
    """Scorings of the method as it is, not of its variants, on the sets of Table 1."""

    named_by: str | None = None
    """The parameter that names the method's own scoring."""

    tested: int | None = None
    """How many test images are scored, the same in every seed; None: all."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """How variants are called in tables, in their order there."""

    is_baseline: bool = False
    """Whether a user would pick it instead: it stands in every table."""

    def own_scoring(self, parameters: Mapping[str, object]) -> str:
        """Name of the method's own scoring; empty where it needs none."""
        return str(parameters[self.named_by]) if self.named_by else ""


_LIKELIHOOD: Mapping[str, Changes] = {LIKELIHOOD: {"likelihood_only": True}}

ROWS: Mapping[str, MethodRows] = {
    "ama": MethodRows(
        ablations={
            "no-mirrored": {"mirrored": False},
            "no-interpolation": {"interpolation": None},
            "no-negatives": {"negatives": None},
        },
        negatives={
            "no-interpolation": {"interpolation": None},
            "box": {"negatives": "box", "delta": BOX_DELTA},
            "box-no-interpolation": {
                "negatives": "box",
                "delta": BOX_DELTA,
                "interpolation": None,
            },
        },
        scorings={PLAIN_R: {"structure_power": 0.0, "scorer": "gaussian"}},
        beside={DENSITY: {"score": "density", "structure_power": "fitted", "scorer": "negate"}},
        labels={
            "no-mirrored": "ama without mirrored loss",
            "no-interpolation": "ama without interpolation",
            "no-negatives": "ama without atypical selection",
            "box": "ama with box negatives",
            "box-no-interpolation": "ama with box negatives, without interpolation",
        },
    ),
    "likelihood_ratio": MethodRows(scorings=_LIKELIHOOD),
    "typicality": MethodRows(scorings=_LIKELIHOOD),
    "complexity": MethodRows(
        scorings={**_LIKELIHOOD, **{codec: {"codec": codec} for codec in CODECS}},
        named_by="codec",
    ),
    "anogan": MethodRows(tested=500),  # it searches for every image that it scores
    "pca": MethodRows(is_baseline=True),
    "knn": MethodRows(is_baseline=True),
}
"""Of methods that have more than one row, or a row that needs a word."""


def rows_of(method: str) -> MethodRows:
    """The rows of a method; most have none but their own."""
    return ROWS.get(method, MethodRows())


BASELINES = tuple(method for method, rows in ROWS.items() if rows.is_baseline)
"""What a user would pick instead."""

SCORING_WORDS: Mapping[str, str] = {
    PLAIN_R: "scored by the paper's R",
    LIKELIHOOD: "scored by likelihood alone",
    DENSITY: "scored by the density of its statistics",
    **{codec: f"with {codec}" for codec in CODECS},
}
"""How a row says what a scoring is."""


@dataclass(frozen=True)
class Row:
    """Which cells stand in a row."""

    method: str
    variant: str
    scoring: str
    side: str
    labelled: tuple[int, str] | None = None
    """How many labelled anomalies were trained on, and of which set."""

    @classmethod
    def of(cls, entry: Entry) -> Row:
        record, labelled = entry.record, entry.record.labelled_anomalies
        of_labelled = (labelled.count, labelled.dataset) if labelled else None
        return cls(record.method, record.variant, entry.cell.scoring, entry.cell.side, of_labelled)

    @property
    def label(self) -> str:
        """For the first column."""
        name = ", ".join(part for part in (self.method, self.variant) if part)
        name = rows_of(self.method).labels.get(self.variant, name)
        if self.scoring:
            name += f"{',' if self.variant else ''} {SCORING_WORDS.get(self.scoring, self.scoring)}"
        labelled = "{} labelled from {}".format(*self.labelled) if self.labelled else ""
        return ", ".join(part for part in (name, labelled, self.side) if part)

    @property
    def is_ablation(self) -> bool:
        """Whether it is there to be compared with the method, not to be used."""
        return self.scoring in (PLAIN_R, LIKELIHOOD) or (
            not self.scoring and self.variant in rows_of(self.method).labels
        )

    @property
    def is_own_side(self) -> bool:
        """Whether the raw score is read as the method reads it."""
        return self.side == own_side(self.method, self.scoring)

    def published(self) -> PaperRow:
        """The row of the paper that it is compared with; the other side is a row of AMA alone."""
        scoring = "" if self.scoring == PLAIN_R else self.scoring
        return PaperRow(self.method, self.variant, scoring, "" if self.is_own_side else self.side)

    def order(self) -> tuple[object, ...]:
        """Baselines last, then by method, labelled anomalies, scoring, variant, the own side
        first.
        """
        variants = ["", *rows_of(self.method).labels]
        variant = variants.index(self.variant) if self.variant in variants else len(variants)
        labelled = self.labelled[0] if self.labelled else 0
        known_scorings = ["", *SCORING_WORDS]
        scoring = len(known_scorings)
        if self.scoring in known_scorings:
            scoring = known_scorings.index(self.scoring)
        baseline = rows_of(self.method).is_baseline
        return (
            baseline,
            self.method,
            labelled,
            scoring,
            self.scoring,
            variant,
            self.variant,
            not self.is_own_side,
        )


@cache
def own_side(method: str, scoring: str = "") -> str:
    """How a method reads its raw score in the tables; two-sided if the method is unknown."""
    if method not in known_methods():
        return "two-sided"
    changes = rows_of(method).beside.get(scoring, {})
    scorer = make_detector(method, **{**as_published(method), **changes}).scorer
    return f"{make_scorer(scorer).sided}-sided"
