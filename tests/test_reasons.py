"""What of an image is odd, in words."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from anomirror import PCA
from anomirror.workflows.reasons import Reasons
from tests.commands import run
from tests.first_hour.conftest import spotted, tiles, write
from tests.tiny import tiny


class _Measures:
    """What a detector says of the images that calibrate it."""

    calibration_categories_: np.ndarray | None = None

    def __init__(self, **calibration: np.ndarray) -> None:
        self.calibration_statistics_ = calibration
        self.calibration_raw_ = next(iter(calibration.values()))

    def available_statistics(self) -> tuple[str, ...]:
        return tuple(self.calibration_statistics_)


def test_the_oddest_statistic_is_named_with_its_side_and_distance_by_hand() -> None:
    signed = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # median 0, MAD 1: sigma 1.4826
    norms = np.exp(signed)  # the same on the logarithm
    reasons = Reasons(_Measures(gap=signed, code_norm=norms))  # type: ignore[arg-type]
    new = {"gap": np.array([1.4826, -7.413, 0.0]), "code_norm": np.exp([6.0786, 0.0, 0.0])}
    assert reasons.of(new, 3) == [
        "code norm 4.1 sigma high",
        "gap 5.0 sigma low",
        "gap 0.0 sigma low",
    ]


def test_what_never_varies_is_not_compared_and_nan_is_infinitely_far() -> None:
    same, other = np.full(9, 3.0), np.arange(9.0)
    reasons = Reasons(_Measures(bits=same, gap=other))  # type: ignore[arg-type]
    assert reasons.names == ("gap",)
    assert reasons.of({"gap": np.array([np.nan])}, 1) == ["gap inf sigma high"]
    nothing = Reasons(_Measures(bits=same))  # type: ignore[arg-type]
    assert nothing.names == ()
    assert nothing.of({}, 2) == ["", ""]


def test_each_image_is_compared_with_its_own_category() -> None:
    measures = _Measures(gap=np.r_[np.arange(9.0), 100 + np.arange(9.0)])
    measures.calibration_categories_ = np.repeat(["day", "night"], 9)
    reasons = Reasons(measures)  # type: ignore[arg-type]
    new = {"gap": np.array([104.0, 4.0, 104.0])}
    assert reasons.of(new, 3, np.array(["night", "day", "day"])) == [
        "gap 0.0 sigma low",
        "gap 0.0 sigma low",
        "gap 33.7 sigma high",
    ]


@pytest.mark.parametrize("method", ["pca", "scattering", "ama", "auto"])
def test_spots_are_odd_in_something_that_the_method_measures(method: str) -> None:
    detector = tiny(method).fit(tiles(100, size=32))
    reasons = Reasons(detector)
    measured = detector.statistics(spotted(tiles(5, 9, size=32)), reasons.names)
    for why in reasons.of(measured, 5):
        name, distance, sigma, side = why.rsplit(" ", 3)
        assert name.replace(" ", "_") in reasons.names
        assert float(distance) > 2
        assert sigma == "sigma"
        assert side in ("high", "low")


def test_the_command_says_why(tmp_path: Path) -> None:
    model = PCA().fit(tiles(60)).save(tmp_path / "model")
    odd = write(spotted(tiles(3, 9)), tmp_path / "odd")
    (odd / "broken.png").write_bytes(b"no image")
    done = run("score", model, odd, "--why", "--statistics")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert list(rows[0])[-2:] == ["why", "error"]
    assert [row["why"][:9] for row in rows] == ["residual "] * 3 + [""]
    assert [bool(row["error"]) for row in rows] == [False] * 3 + [True]
    assert all(None not in row for row in rows)
    same = write(np.repeat(tiles(1), 30, axis=0), tmp_path / "same")
    alike = run("fit", same, "--method", "pca", "--out", tmp_path / "alike")
    assert alike.returncode == 0
    assert run("score", tmp_path / "alike", odd, "--why").returncode == 0
    assert "why" not in run("score", model, odd).stdout.splitlines()[0]
