"""What every registered detector keeps: the public checks, and what needs its own arguments or
anomalies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from anomirror.data.sample import Sample
from anomirror.detector.variants import raw_scores_under, with_params
from anomirror.errors import SettingError
from anomirror.metrics import auroc
from anomirror.testing import Check, Subject, checks_of
from tests.methods import CASES
from tests.tiny import METHODS, calibrates_on_train, frozen, tiny

SUBJECTS: dict[str, Subject] = {}
"""One for each case, so that a check finds what another one has fitted."""


def subject(name: str) -> Subject:
    """Of one case."""
    if name not in SUBJECTS:
        SUBJECTS[name] = Subject(tiny(name))
    return SUBJECTS[name]


def test_every_detector_has_a_file_in_tests_methods() -> None:
    assert {case.method for case in CASES.values()} == set(METHODS)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}")
        for name in CASES
        for check in checks_of(tiny(name))
    ],
)
def test_it_keeps_the_contract(name: str, check: Check) -> None:
    check(subject(name))


@pytest.mark.parametrize("name", CASES)
def test_several_scorings_at_once_are_those_of_each(name: str) -> None:
    fitted, images = subject(name).fitted, subject(name).normal[:150]
    choices: dict[str, list[Any]] = {
        "likelihood_only": [False, True],
        "codec": ["png", "webp"],
        "structure_power": [0.0, 0.5, "fitted"],
        "search_steps": [1, 3],  # measures otherwise: nothing is shared
    }
    known = fitted.get_params()
    scorings: dict[str, dict[str, Any]] = {
        f"{parameter}={value}": {parameter: value}
        for parameter, values in choices.items()
        for value in values
        if parameter in known
    }
    if "score" in known:  # a density takes the fitted power
        for changes in scorings.values():
            changes["score"] = "r"
        scorings["density"] = {"score": "density", "structure_power": "fitted"}
    scorings[""] = {}
    together = raw_scores_under(fitted, images, scorings)
    for scoring, changes in scorings.items():
        assert_array_equal(together[scoring], with_params(fitted, changes).raw_scores(images))
    assert_array_equal(together[""], fitted.raw_scores(images))
    with pytest.raises(SettingError, match="batch_size is not set in scoring"):
        raw_scores_under(fitted, images, {"other": {"batch_size": 3}})


@pytest.mark.parametrize("name", CASES)
def test_it_beats_its_untrained_self_on_planted_anomalies(name: str, sample: Sample) -> None:
    """Planted: clothes turned by a quarter, speckled, or inverted (tests/methods)."""
    case, normal = CASES[name], sample.normal[:200]
    planted = case.planted(sample.normal[200:400])
    whole = {"calibration": "train"} if calibrates_on_train(name) else {}
    trained = tiny(name, scorer="negate", **whole, **case.longer).fit(sample.train[:1000])
    # all that the untrained one has seen is noise
    noise = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    untrained = tiny(name, scorer="negate", **frozen(name)).fit(noise)
    good, bad = (
        auroc(d.score_samples(normal), d.score_samples(planted)) for d in (trained, untrained)
    )
    assert good >= bad + 0.1
    assert good > 0.65
