"""The study watches trainings without touching them, and its own rule is the detector's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from anomirror import AMA
from anomirror.metrics import auroc
from anomirror.scorers import LogGaussianDensity
from studies.stability import CHOSEN, PAPER, STUDIED, Studied, crossings
from tests.tiny import TINY


def studied(
    clothes: np.ndarray,
    digits: np.ndarray,
    *,
    scored: tuple[int, ...] = (1, 2),
    crossed: bool = False,
) -> Studied:
    ama = Studied(**TINY["ama"] | STUDIED, device="cpu", random_state=0)
    ama.calibrate, ama.normal, ama.sets = clothes[:100], clothes[100:], {"digits": digits}
    ama.scored, ama.kept = scored, dict.fromkeys((1, 2), nn.ModuleDict()) if crossed else {}
    ama.fit(clothes)
    return ama


def test_studying_does_not_change_the_training(clothes: np.ndarray, digits: np.ndarray) -> None:
    plain = AMA(**TINY["ama"] | STUDIED, device="cpu", random_state=0).fit(clothes)
    assert np.array_equal(studied(clothes, digits).raw_scores(digits), plain.raw_scores(digits))


def test_the_last_epochs_chosen_rule_is_what_the_detector_says(
    clothes: np.ndarray, digits: np.ndarray
) -> None:
    """Both recompute statistics on all of these few images, so the figures agree."""
    ama = studied(clothes, digits)
    normal, anomalies = ama.raw_scores(clothes[100:]), ama.raw_scores(digits)
    scorer = LogGaussianDensity().fit(ama.raw_scores(clothes[:100]))
    row, own = ama.history_[-1], CHOSEN
    assert row[f"{replace(own, scorer='negate')} digits"] == pytest.approx(
        auroc(-normal, -anomalies), abs=1e-4
    )
    assert row[f"{own} digits"] == pytest.approx(
        auroc(scorer.normality(normal), scorer.normality(anomalies)), abs=1e-4
    )
    ama.structure_power = 0.0
    other = replace(own, scorer="negate", relative=False)
    assert row[f"{other} digits"] == pytest.approx(
        auroc(-ama.raw_scores(clothes[100:]), -ama.raw_scores(digits)), abs=1e-4
    )


def test_every_rule_is_scored_after_the_epochs_that_are_asked_for(
    clothes: np.ndarray, digits: np.ndarray
) -> None:
    for scored, found in (((1, 2), [24, 24]), ((2,), [0, 24])):
        history = studied(clothes, digits, scored=scored).history_
        assert [sum(key.endswith(" digits") for key in row) for row in history] == found
        assert {f"{PAPER} digits", f"{CHOSEN} digits"} <= history[-1].keys()


def test_parts_of_two_epochs_are_exchanged(clothes: np.ndarray, digits: np.ndarray) -> None:
    ama = studied(clothes, digits, crossed=True)
    ama.structure_power = 0.0
    own = round(auroc(-ama.raw_scores(clothes[100:]), -ama.raw_scores(digits)), 5)
    rows = crossings(ama)
    assert [(row["autoencoder_epoch"], row["critic_epoch"]) for row in rows] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert rows[3]["digits"] == pytest.approx(own, abs=1e-4)
    assert len({row["digits"] for row in rows}) == 4
