"""One fitted detector under several settings of scoring."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

from anomirror.detector.contract import Detector
from anomirror.detector.parameters import MEASURING, SCORING, marked
from anomirror.errors import SettingError
from anomirror.images import ImageInput
from anomirror.scorers import Scores

_AnyDetector = TypeVar("_AnyDetector", bound=Detector)


def with_params(detector: _AnyDetector, changes: Mapping[str, object]) -> _AnyDetector:
    """The same fitted detector with other parameters of scoring."""
    other: _AnyDetector = copy.copy(detector).set_params(**changes)
    return other


def raw_scores_under(
    detector: Detector, X: ImageInput, scorings: Mapping[str, Mapping[str, object]]
) -> dict[str, Scores]:
    """Raw scores of a fitted detector under several settings of scoring, under their names.

    Networks run once for all settings that measure alike.

    Parameters
    ----------
    scorings : name to parameters that are set otherwise, of those that may change after a fit.

    Raises
    ------
    SettingError : a parameter that is none of these, or out of its range.
    """
    changeable, measuring = (
        marked(type(detector), *marks) for marks in ((SCORING, MEASURING), (MEASURING,))
    )
    variants: dict[str, Detector] = {}
    for name, changes in scorings.items():
        if odd := sorted(changes.keys() - changeable):
            raise SettingError(
                f"{odd[0]} is not set in scoring: choose among {', '.join(sorted(changeable))}"
            )
        variants[name] = with_params(detector, changes)
        variants[name].validate()
    scores: dict[str, Scores] = {}
    while left := [name for name in variants if name not in scores]:
        first = variants[left[0]]
        alike = [
            n for n in left if all(getattr(variants[n], p) == getattr(first, p) for p in measuring)
        ]
        wanted = frozenset().union(*(variants[name].scoring_statistics for name in alike))
        statistics = first.statistics(X, wanted)
        scores |= {name: variants[name].raw_scores_from(statistics) for name in alike}
    return {name: scores[name] for name in scorings}
