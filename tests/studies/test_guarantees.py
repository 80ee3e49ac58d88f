"""The study of decisions: draws that share a training, and what a table counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studies import guarantees
from studies.rows import Rows
from tests.first_hour.conftest import spotted, tiles


@pytest.fixture
def without_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """150 images, of which the unseen ones are what a draw leaves."""
    pool, anomalies = tiles(150, size=32), spotted(tiles(20, 9, size=32))
    monkeypatch.setattr(guarantees, "_images", lambda *_: (pool, pool[:0], anomalies))


@pytest.mark.usefixtures("without_unseen")
def test_draws_of_one_training_calibrate_on_images_of_their_own(tmp_path: Path) -> None:
    rows = list(guarantees._draws(tmp_path, 3, "pca", "cells", 60, 0))
    assert [row["by"] for row in rows] == ["folds", "heldout", "heldout"]
    assert [row["unseen"] for row in rows] == [90, 30, 30]
    assert len({tuple(row["alarms"]["expected"]) for row in rows}) > 1
    for row in rows:
        assert row["calibrated_on"] == 60
        assert row["alarms"]["before"][1] > row["alarms"]["expected"][1]
        assert np.mean(row["alarms"]["expected"]) < 0.3


@pytest.mark.usefixtures("without_unseen")
def test_a_table_says_how_many_trainings_its_draws_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarantees, "OUT", tmp_path)
    monkeypatch.setattr(guarantees, "COUNTS", {"cells": (60,)})
    guarantees.measure(tmp_path, "pca", draws=4, calibrations=2)
    assert len(Rows(tmp_path / "pca.json").rows) == 4
    guarantees.measure(tmp_path, "pca", draws=4, calibrations=2)  # what is there stays
    assert len(Rows(tmp_path / "pca.json").rows) == 4
    assert "trainings |" not in guarantees.guarantees_table(tmp_path)  # too few to claim anything
    monkeypatch.setattr(guarantees, "FEWEST_TRAININGS", 2)
    assert "| 4 of 2 trainings |" in guarantees.guarantees_table(tmp_path)
