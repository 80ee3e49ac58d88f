"""The same on a GPU, where there is one: `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr

from anomirror import AMA, Detector, load
from tests.tiny import METHODS, tiny
from tests.trained_together import Interrupted, Watch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture(scope="module", params=METHODS)
def fitted(request: pytest.FixtureRequest, clothes: np.ndarray) -> Detector:
    return tiny(request.param, device="cuda").fit(clothes)


def test_scores_do_not_depend_on_neighbours_order_or_number(
    fitted: Detector, clothes: np.ndarray, digits: np.ndarray
) -> None:
    together = fitted.raw_scores(np.concatenate([clothes[:150], digits]))
    order = np.random.default_rng(0).permutation(150)
    assert_allclose(fitted.raw_scores(clothes[:150][order]), together[:150][order], rtol=1e-4)
    single = np.concatenate([fitted.raw_scores(clothes[i : i + 1]) for i in range(20)])
    assert_allclose(single, together[:20], rtol=1e-4)


def test_a_model_fitted_on_one_device_scores_on_the_other(
    fitted: Detector, digits: np.ndarray, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    on_cpu = load(tmp_path / "model", device="cpu").raw_scores(digits)
    assert spearmanr(on_cpu, fitted.raw_scores(digits)).statistic > 0.99
    assert_array_equal(
        load(tmp_path / "model", device="cuda").raw_scores(digits), fitted.raw_scores(digits)
    )


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_ama_trains_in_every_precision_and_learns(precision: str, clothes: np.ndarray) -> None:
    ama = tiny("ama", device="cuda", precision=precision, epochs=3, steps_per_epoch=30)
    assert isinstance(ama, AMA)
    ama.fit(clothes)
    x_hat = ama.reconstruct(clothes[:50])[:, 2:30, 2:30, 0]
    blank = np.abs(clothes[:50] / 255.0 - 0.5).mean()
    assert np.abs(x_hat - clothes[:50] / 255.0).mean() < blank
    assert all(np.isfinite(list(row.values())).all() for row in ama.history_)


def test_a_run_continues_on_the_gpu(clothes: np.ndarray, tmp_path: Path) -> None:
    settings = {"device": "cuda", "checkpoint_dir": tmp_path, "epochs": 3}
    with pytest.raises(Interrupted):
        tiny("ama", **settings, callback=Watch(stop_in=2)).fit(clothes)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    watch = Watch()
    assert len(tiny("ama", **settings, callback=watch).fit(clothes).history_) == 3
    assert watch.epochs == 2
