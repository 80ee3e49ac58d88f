"""The density of AMA's statistics."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file, save_file
from sklearn.covariance import LedoitWolf

from anomirror import AMA, load
from anomirror.detectors.density import Density
from anomirror.errors import AnomirrorWarning, ModelFileError, SettingError
from tests.tiny import tiny


def statistics(count: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Raw scores and three statistics of made-up normal images, the last two alike."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=count)
    return rng.lognormal(2, 0.5, count), {
        "a": rng.lognormal(0, 0.3, count),
        "b": np.exp(shared + 0.1 * rng.normal(size=count)),
        "c": np.exp(shared + 0.1 * rng.normal(size=count)),
    }


def with_values(**changes: float) -> dict[str, np.ndarray]:
    return {name: np.array([changes.get(name, 1.0)]) for name in "abc"}


def test_the_larger_of_two_robust_deviations_by_hand() -> None:
    raw, measured = statistics(500)
    density = Density.of(raw, measured)
    logs = np.log(np.stack([measured[name] for name in "abc"], 1))
    logs = (logs - logs.mean(0)) / logs.std(0)
    distances = LedoitWolf(assume_centered=True).fit(logs).mahalanobis(logs)
    parts = []
    for values in (np.log(raw), np.log(distances)):
        low, centre, high = np.quantile(values, [0.16, 0.5, 0.84])
        parts.append((values - centre) / ((high - low) / 2))
    assert_allclose(density.deviation(raw, measured), np.maximum(*parts), atol=2e-4)
    alone = [
        density.deviation(raw[i : i + 1], {n: v[i : i + 1] for n, v in measured.items()})
        for i in range(5)
    ]
    assert_allclose(np.concatenate(alone), density.deviation(raw, measured)[:5], rtol=1e-9)


def test_a_statistic_that_is_too_low_is_odd_and_a_low_raw_score_is_not() -> None:
    raw, measured = statistics(500)
    density, usual = Density.of(raw, measured), np.array([np.median(raw)])
    assert density.deviation(usual, with_values(a=0.05)) > 3
    assert density.deviation(usual, with_values(a=20.0)) > 3
    assert density.deviation(usual / 1000, with_values()) < 0
    assert density.deviation(usual * 1000, with_values()) > 3


def test_statistics_that_are_usual_by_themselves_may_be_odd_together() -> None:
    raw, measured = statistics(500)
    density, usual = Density.of(raw, measured), np.array([np.median(raw)])
    together, apart = with_values(b=3.0, c=3.0), with_values(b=3.0, c=1 / 3)
    assert density.deviation(usual, together) < 1.5
    assert density.deviation(usual, apart) > 3


def test_a_statistic_of_nothing_and_one_that_never_changes_are_finite() -> None:
    raw, measured = statistics(50)
    density = Density.of(raw, measured | {"a": np.ones(50), "b": np.zeros(50)})
    assert np.isfinite(density.deviation(np.zeros(1), with_values(a=0.0))).all()


def test_of_few_images_there_is_a_density() -> None:
    raw, measured = statistics(2)
    assert np.isfinite(Density.of(raw, measured).deviation(raw, measured)).all()


@pytest.fixture(scope="module")
def fitted(clothes: np.ndarray) -> AMA:
    return cast(AMA, tiny("ama-density").fit(clothes))


def test_it_scores_statistics_by_the_density_of_its_training_images(
    fitted: AMA, clothes: np.ndarray
) -> None:
    assert fitted.density_ is not None
    measured = fitted.statistics(clothes[:20])
    own = fitted.scoring_statistics
    raw = tiny_with_r(fitted).raw_scores(clothes[:20])
    expected = fitted.density_.deviation(raw, {name: measured[name] for name in own})
    assert_allclose(fitted.raw_scores(clothes[:20]), expected, rtol=1e-6)
    assert own == set(fitted.statistic_names) - {"gap"}  # the only one that may be negative


def tiny_with_r(model: AMA) -> AMA:
    """The same networks, scored by R."""
    other = cast(AMA, tiny("ama-density"))
    other.__dict__.update(model.__dict__)
    return cast(AMA, other.set_params(score="r"))


def test_the_formula_may_change_after_a_fit_and_in_a_file(
    fitted: AMA, clothes: np.ndarray, tmp_path: Path
) -> None:
    by_r = tiny_with_r(fitted)
    by_r.save(tmp_path / "model")
    again = cast(AMA, load(tmp_path / "model", device="cpu"))
    again.set_params(score="density")
    images = clothes[:20]
    assert_array_equal(again.raw_scores(images), fitted.raw_scores(images))
    assert_allclose(again.p_values(images), fitted.p_values(images))
    assert not np.array_equal(by_r.raw_scores(images), fitted.raw_scores(images))


def test_a_model_of_before_there_was_one_says_so() -> None:
    model = load(Path(__file__).parents[1] / "golden" / "ama-0.1.0", device="cpu")
    model.set_params(score="density", scorer="negate", structure_power="fitted")
    with pytest.raises(SettingError, match="saved before there was one; fit again, or score='r'"):
        model.raw_scores(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"structure_power": 0.0}, "structure_power=0.0: score='density' takes the fitted power"),
        ({"scorer": "log-gaussian"}, "needs raw scores of at least 0"),
        ({"score": "likelihood"}, "score='likelihood'"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    changes: dict[str, object], message: str, clothes: np.ndarray
) -> None:
    with pytest.raises(SettingError, match=message):
        tiny("ama-density", **changes).fit(clothes)


def test_a_scorer_follows_a_formula_that_changes(clothes: np.ndarray) -> None:
    """The A-score of another R has another centre."""
    own = {"scorer": "log-gaussian", "structure_power": 0.5}
    changed = tiny("ama", **own).fit(clothes).set_params(structure_power=0.0)
    fresh = tiny("ama", **own | {"structure_power": 0.0}).fit(clothes)
    assert changed.scorer_.state() == fresh.scorer_.state()
    assert_array_equal(changed.score_samples(clothes[:20]), fresh.score_samples(clothes[:20]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", torch.zeros(6, dtype=torch.float64), "scales that are not positive"),
        ("mean", torch.zeros(5), r"a density of \(5,\), not \(6,\)"),
        ("whitening", torch.full((6, 6), torch.nan), "NaN|not finite"),
        ("references", torch.zeros(2, 2, dtype=torch.float64), "scales that are not positive"),
    ],
)
def test_a_file_that_is_no_density_is_refused(
    name: str, value: torch.Tensor, message: str, fitted: AMA, tmp_path: Path
) -> None:
    folder = fitted.save(tmp_path / "model")
    file, card = folder / "weights.safetensors", json.loads((folder / "model.json").read_text())
    save_file(load_file(file) | {f"density.{name}": value}, file)
    card["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelFileError, match=message):
        load(folder, device="cpu")


def test_a_change_that_is_refused_leaves_a_fitted_detector_as_it_was(clothes: np.ndarray) -> None:
    model = tiny("ama", structure_power=0.5).fit(clothes)
    before = model.score_samples(clothes[:5])
    with pytest.raises(SettingError, match="takes the fitted power"):
        model.set_params(score="density")
    assert model.score == "r"  # type: ignore[attr-defined]
    assert_array_equal(model.score_samples(clothes[:5]), before)


def test_a_scorer_that_cannot_follow_says_so() -> None:
    """A model that keeps no statistics of the images that calibrate it."""
    model = load(Path(__file__).parents[1] / "golden" / "ama-0.1.0", device="cpu")
    with pytest.warns(AnomirrorWarning, match="still the one of the formula before"):
        model.set_params(structure_power=0.0)
