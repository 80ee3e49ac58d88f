"""The study watches trainings without touching them, and its own rule is the detector's."""

from __future__ import annotations

import numpy as np
import pytest

from anomirror import AMA
from anomirror.benchmark.stability import PAPER, Rule, _Studied, own_rule
from anomirror.metrics import auroc
from anomirror.scoring import GaussianDensity
from tests.tiny import TINY


def studied(clothes: np.ndarray, digits: np.ndarray, *, last_only: bool = False) -> _Studied:
    ama = _Studied(**TINY["ama"], device="cpu", random_state=0)
    ama.calibrate, ama.normal, ama.sets = clothes[:100], clothes[100:], {"digits": digits}
    ama.last_only, ama.kept = last_only, {}
    ama.fit(clothes)
    return ama


def test_studying_does_not_change_the_training(clothes: np.ndarray, digits: np.ndarray) -> None:
    plain = AMA(**TINY["ama"], device="cpu", random_state=0).fit(clothes)
    assert np.array_equal(studied(clothes, digits).raw_scores(digits), plain.raw_scores(digits))


def test_the_last_epochs_own_rule_is_what_the_detector_says(clothes: np.ndarray, digits: np.ndarray) -> None:
    """Both recompute statistics on all of these few images, so the figures agree."""
    ama = studied(clothes, digits)
    normal, anomalies = ama.raw_scores(clothes[100:]), ama.raw_scores(digits)
    scorer = GaussianDensity().fit(ama.raw_scores(clothes[:100]))
    row = ama.history_[-1]
    assert row[f"R {own_rule()} digits"] == pytest.approx(auroc(-normal, -anomalies), abs=1e-4)
    assert row[f"A {own_rule()} digits"] == pytest.approx(auroc(scorer.normality(normal), scorer.normality(anomalies)), abs=1e-4)
    ama.relative = not ama.relative
    other = Rule(own_rule().averaged, own_rule().recomputed, ama.relative)
    assert row[f"R {other} digits"] == pytest.approx(auroc(-ama.raw_scores(clothes[100:]), -ama.raw_scores(digits)), abs=1e-4)


def test_eight_rules_are_scored_after_every_epoch_or_after_the_last(clothes: np.ndarray, digits: np.ndarray) -> None:
    for last_only, scored in ((False, [16, 16]), (True, [0, 16])):
        history = studied(clothes, digits, last_only=last_only).history_
        assert [sum(key.endswith(" digits") for key in row) for row in history] == scored
        assert f"R {PAPER} digits" in history[-1]
