"""A model of release 0.1.0 is loaded by every later one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anomirror import load
from anomirror.data.sample import Sample

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["ama-0.1.0", "ama-log-gaussian-0.1.0", "pca-0.1.0", "knn-0.1.0"])
def test_a_model_of_an_older_release_gives_its_scores(name: str, sample: Sample) -> None:
    expected = json.loads((GOLDEN / f"{name}.scores.json").read_text())
    model = load(GOLDEN / name, device="cpu")
    images = np.concatenate([sample.normal[:3], sample.anomalies[:3]])
    np.testing.assert_allclose(model.raw_scores(images), expected["raw_scores"], rtol=1e-4)
    np.testing.assert_allclose(model.score_samples(images), expected["score_samples"], rtol=1e-3)
    assert model.predict(images).tolist() == expected["predict"]
