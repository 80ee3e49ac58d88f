"""The study of what R is relative to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomirror import AMA
from anomirror.data import load_dataset
from anomirror.detector.variants import with_params
from anomirror.errors import InputError
from studies import references
from studies.references import (
    BLANKS,
    FITTED,
    PLAIN,
    POWERS,
    SETS,
    label,
    relative,
    statistics_of,
    study,
)
from tests.tiny import TINY


@pytest.fixture(scope="module")
def ama(data_dir: Path) -> AMA:
    return AMA(**TINY["ama"], device="cpu", random_state=0).fit(
        load_dataset("fashion-mnist", "train", data_dir)[0]
    )


def test_every_reference_gives_the_detectors_raw_score(ama: AMA, digits: np.ndarray) -> None:
    floors = dict.fromkeys(BLANKS, ama.sensitivity_floor_)
    statistics, _ = statistics_of(ama, digits)
    for blank in BLANKS:
        for power in (0.0, *POWERS):
            other = with_params(ama, {"reference_image": blank, "structure_power": power})
            assert np.allclose(
                relative(floors, blank, power, statistics), other.raw_scores(digits), rtol=1e-5
            )
    assert ama.reference_image == "mean"


def test_the_study_knows_all_references_and_proxies(
    ama: AMA, digits: np.ndarray, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for name in SETS if name != "defects"]
    monkeypatch.setattr(references, "proxy_sets", lambda *_: dict.fromkeys(names, digits))
    found: dict[str, Any] = study(ama, "fashion-mnist", data_dir)
    powers = (*POWERS, FITTED)
    expected = {
        PLAIN,
        *(label(blank, power) for blank in BLANKS for power in powers),
        *(f"S({blank}) alone" for blank in BLANKS),
    }
    assert found["auroc"].keys() == expected
    for by_side in found["auroc"].values():
        for by_set in by_side.values():
            assert by_set.keys() == set(SETS)
            assert all(0 <= value <= 1 for value in by_set.values())
    digit_scores = {name: by_side["one-sided"]["bold"] for name, by_side in found["auroc"].items()}
    assert len(set(digit_scores.values())) > 3
    train = load_dataset("fashion-mnist", "train", data_dir)[0]
    # as many, of the same shape
    monkeypatch.setattr(references, "load_dataset", lambda *_: (255 - train, None))
    with pytest.raises(InputError, match="trained on other images"):
        study(ama, "fashion-mnist", data_dir)
    monkeypatch.undo()
    with pytest.raises(InputError, match="which images it has not seen is not known"):
        study(
            AMA(**TINY["ama"], device="cpu", calibration_fraction=0.0).fit(train),
            "fashion-mnist",
            data_dir,
        )
