"""A training of AMA whose negatives teach it nothing is begun again, and says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomirror import AMA
from anomirror.data import load_dataset
from anomirror.errors import AnomirrorError, AnomirrorWarning
from anomirror.training import Run
from tests.tiny import tiny

FOUR = {"epochs": 4, "negatives_start": 0.2}


def run_at(step: int, total: int = 512, attempt: int = 0) -> Run:
    """Somewhere in a training."""
    at = Run({}, {}, torch.device("cpu"), torch.Generator(), attempt=attempt)
    at.step, at.total_steps = step, total
    return at


def gives_up(ama: AMA, step: int, ratio: float, **more: Any) -> bool:
    epoch = more.pop("epoch", step // 64)
    row = {"epoch": epoch, "gap": 100.0, "gap_negative": 100.0 * ratio}
    return ama._gives_up(run_at(step, **more), row)


def test_it_gives_up_once_a_quarter_of_the_way_where_negatives_are_reconstructed_better() -> None:
    ama = AMA()
    assert gives_up(ama, 128, 0.99)
    assert not gives_up(ama, 128, 1.01)
    assert not gives_up(ama, 64, 0.5)
    assert not gives_up(ama, 192, 0.5)  # was looked at before
    assert not gives_up(AMA(restart=False), 128, 0.5)
    assert not gives_up(AMA(mirrored=False), 128, 0.5)
    assert not gives_up(AMA(negatives_start=0.0), 128, 0.5)  # nothing would change
    assert not AMA()._gives_up(run_at(128), {"epoch": 2, "gap": 1.0})  # without negatives
    assert not gives_up(AMA(negatives_weight=0.0), 128, 0.5)
    assert not gives_up(ama, 512, 0.5, total=512, epoch=1)  # too late: one epoch in all
    assert not gives_up(ama, 300, 0.5, total=1200, epoch=1)  # negatives came in the middle of it
    assert gives_up(ama, 600, 0.5, total=1200, epoch=2)
    assert not gives_up(ama, 20, 0.5, total=80, epoch=1)  # has hardly learnt
    assert not gives_up(ama, 40, 0.5, total=80, epoch=2)
    assert gives_up(ama, 128, 0.5, total=256)
    assert not gives_up(ama, 128, 0.5, total=128)


def test_labelled_anomalies_are_no_reason(
    clothes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AMA, "_gives_up", lambda ama, run, row: run.attempt == 0)
    y = np.ones(len(clothes), int)
    y[:8] = -1
    assert "attempt" not in tiny("ama", **FOUR).fit(clothes, y).history_[0]
    assert tiny("ama", **FOUR).fit(clothes).history_[0]["attempt"] == 1


def test_the_second_attempt_is_not_given_up_but_its_failure_is_said() -> None:
    with pytest.warns(AnomirrorWarning, match="at the second attempt too"):
        assert not gives_up(AMA(), 128, 0.5, attempt=1)


@pytest.fixture
def begins_badly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every first attempt gives up after its second epoch; the list counts them."""
    count: list[int] = []

    def gives_up(ama: AMA, run: Run, row: Mapping[str, float]) -> bool:
        bad = ama.restart and not run.attempt and row["epoch"] == 2
        count.extend([1] * bad)
        return bad

    monkeypatch.setattr(AMA, "_gives_up", gives_up)
    return count


def test_the_second_attempt_is_a_training_with_negatives_from_its_first_step(
    clothes: np.ndarray, begins_badly: list[int]
) -> None:
    again = tiny("ama", **FOUR).fit(clothes)
    assert begins_badly == [1]
    at_once = tiny("ama", **FOUR | {"negatives_start": 0.0, "restart": False}).fit(clothes)
    assert np.array_equal(again.raw_scores(clothes), at_once.raw_scores(clothes))
    assert [row["attempt"] for row in again.history_] == [1.0] * 4
    assert "attempt" not in at_once.history_[0]
    first = tiny("ama", **FOUR | {"restart": False}).fit(clothes)
    assert not np.array_equal(again.raw_scores(clothes), first.raw_scores(clothes))


class Interrupted(AnomirrorError):
    """As by the user."""


@pytest.mark.parametrize("after", [2, 3, 4])
def test_a_run_goes_on_from_either_attempt(
    clothes: np.ndarray, begins_badly: list[int], tmp_path: Path, after: int
) -> None:
    """The second epoch ends twice: given up, and kept."""
    whole = tiny("ama", **FOUR).fit(clothes)
    epochs: Iterator[int] = iter(range(1, 20))

    def stop(_: object) -> dict[str, float]:
        if next(epochs) == after:
            raise Interrupted
        return {}

    with pytest.raises(Interrupted):
        tiny("ama", **FOUR, checkpoint_dir=str(tmp_path), callback=stop).fit(clothes)
    resumed = tiny("ama", **FOUR, checkpoint_dir=str(tmp_path)).fit(clothes)
    assert np.array_equal(resumed.raw_scores(clothes), whole.raw_scores(clothes))
    assert [row["epoch"] for row in resumed.history_] == [1, 2, 3, 4]
    assert [row["attempt"] for row in resumed.history_] == [1.0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_negatives_are_told_apart_after_two_epochs_whatever_the_seed(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Seed 0 began badly on every processor that was tried, seed 1 well."""
    gives_up, kept = AMA._gives_up, []

    def looked_at(ama: AMA, run: Run, row: Mapping[str, float]) -> bool:
        if gives_up(ama, run, row):
            return True
        if row["epoch"] == 2:
            kept.append(row)
            raise Interrupted
        return False

    monkeypatch.setattr(AMA, "_gives_up", looked_at)
    with pytest.raises(Interrupted):
        AMA(random_state=seed).fit(load_dataset("fashion-mnist", "train")[0])
    assert kept[0]["gap_negative"] > 1.5 * kept[0]["gap"]
