"""What every registered detector keeps."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from torch.utils.data import Dataset

from anomirror import Detector, load
from anomirror.detector.network import NetworkDetector
from anomirror.detector.streaming import filled
from anomirror.detector.variants import raw_scores_under, with_params
from anomirror.errors import ImageError, InputError, NotFittedError, SettingError
from anomirror.images import Joined, open_images
from anomirror.metrics import auroc
from anomirror.scorers import Negate, Scores
from anomirror.training import Run
from tests.tiny import (
    LONGER,
    METHODS,
    PLANTED,
    TINY,
    all_kept,
    calibrates_on_train,
    frozen,
    method_of,
    tiny,
    turned,
)


@pytest.fixture(scope="module", params=list(TINY))
def fitted(request: pytest.FixtureRequest, clothes: np.ndarray) -> Detector:
    return tiny(request.param).fit(clothes)


@pytest.fixture(params=list(TINY))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_detector_has_tiny_arguments() -> None:
    assert set(map(method_of, TINY)) == set(METHODS)


def test_scores_do_not_depend_on_batch_neighbours_or_order(fitted: Detector, clothes: np.ndarray, digits: np.ndarray) -> None:
    together = fitted.raw_scores(np.concatenate([clothes[:150], digits]))
    alone = fitted.raw_scores(clothes[:150])
    assert_allclose(together[:150], alone, rtol=1e-4)
    order = np.random.default_rng(0).permutation(150)
    assert_allclose(fitted.raw_scores(clothes[:150][order]), alone[order], rtol=1e-4)


def test_one_image_scores_as_in_a_batch(fitted: Detector, clothes: np.ndarray) -> None:
    many = fitted.raw_scores(clothes[:20])
    single = np.concatenate([fitted.raw_scores(clothes[i : i + 1]) for i in range(20)])
    assert_allclose(single, many, rtol=1e-4)


def test_same_seed_gives_same_scores(fitted: Detector, clothes: np.ndarray, digits: np.ndarray) -> None:
    again = clone(fitted).fit(clothes)
    assert_array_equal(again.raw_scores(digits), fitted.raw_scores(digits))
    assert again.offset_ == fitted.offset_


def test_a_saved_and_loaded_detector_is_equal(fitted: Detector, digits: np.ndarray, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    assert type(loaded) is type(fitted)
    assert_array_equal(loaded.raw_scores(digits), fitted.raw_scores(digits))
    assert_array_equal(loaded.score_samples(digits), fitted.score_samples(digits))
    assert_array_equal(loaded.predict(digits), fitted.predict(digits))
    assert loaded.stored_parameters() == fitted.stored_parameters()
    assert loaded.history_ == fitted.history_


@pytest.mark.parametrize("where", ["in its last epoch", "in the first epoch of its last phase"])
def test_an_interrupted_training_goes_on_to_the_same_scores(method: str, where: str, clothes: np.ndarray, tmp_path: Path) -> None:
    detector = tiny(method)
    if not isinstance(detector, NetworkDetector):
        pytest.skip("it has no epochs")
    if where != "in its last epoch" and len(detector._phases()) < 2:
        pytest.skip("it has one phase")

    class Interrupted(Exception):
        pass

    epochs: list[NetworkDetector] = []

    def stop(detector: NetworkDetector) -> dict[str, float]:
        epochs.append(detector)
        if len(epochs) == stop_at:
            raise Interrupted
        return {}

    whole = tiny(method, epochs=3).fit(clothes)
    phases = [row["phase"] for row in whole.history_]
    stop_at = len(phases) if where == "in its last epoch" else phases.index(phases[-1]) + 1
    several = {"epochs": 3, "checkpoint_dir": tmp_path / "checkpoint"}
    with pytest.raises(Interrupted):
        tiny(method, **several, callback=stop).fit(clothes)
    resumed = tiny(method, **several).fit(clothes)
    assert len(resumed.history_) == len(whole.history_) >= 3
    assert_array_equal(resumed.raw_scores(clothes[:20]), whole.raw_scores(clothes[:20]))


def test_training_moves_every_network_and_tells_its_course(method: str, clothes: np.ndarray) -> None:
    detector = tiny(method)
    if not isinstance(detector, NetworkDetector):
        pytest.skip("it has no networks")
    detector.fit(clothes)
    started = tiny(method, **frozen(method)).fit(clothes)
    assert isinstance(started, NetworkDetector)
    for name, network in detector.networks_.items():
        before = dict(started.networks_[name].named_parameters())
        moved = [not torch.allclose(p, before[key], atol=1e-5) for key, p in network.named_parameters()]
        assert np.mean(moved) > 0.5, name
    assert {f"{detector._watched_as}_train", f"{detector._watched_as}_heldout", "step", "seconds"} <= detector.history_[-1].keys()


def test_the_raw_score_is_a_formula_over_named_statistics(fitted: Detector, clothes: np.ndarray) -> None:
    measured = fitted.statistics(clothes[:40])
    assert fitted.scoring_statistics <= measured.keys() <= set(fitted.statistic_names)
    assert {(values.dtype.name, values.shape) for values in measured.values()} == {("float64", (40,))}
    assert_array_equal(fitted.raw_scores_from(measured), fitted.raw_scores(clothes[:40]))
    for name, values in measured.items():
        assert_array_equal(fitted.statistics(clothes[:40], (name,))[name], values)
    with pytest.raises(SettingError, match="statistic 'beauty'"):
        fitted.statistics(clothes[:3], ("beauty",))


def test_several_scorings_at_once_are_those_of_each(fitted: Detector, clothes: np.ndarray) -> None:
    choices: dict[str, list[Any]] = {
        "likelihood_only": [False, True],
        "codec": ["png", "webp"],
        "structure_power": [0.0, 0.5, "fitted"],
        "search_steps": [1, 3],  # measures otherwise: nothing is shared
    }
    known = fitted.get_params()
    scorings = {f"{name}={value}": {name: value} for name, values in choices.items() if name in known for value in values}
    scorings[""] = {}
    together = raw_scores_under(fitted, clothes[:150], scorings)
    for name, changes in scorings.items():
        assert_array_equal(together[name], with_params(fitted, changes).raw_scores(clothes[:150]))
    assert_array_equal(together[""], fitted.raw_scores(clothes[:150]))
    with pytest.raises(SettingError, match="batch_size is not set in scoring"):
        raw_scores_under(fitted, clothes, {"other": {"batch_size": 3}})


def test_the_input_is_not_mutated(method: str, clothes: np.ndarray) -> None:
    for images in (clothes.copy(), (clothes / 255.0).astype(np.float32)):
        before = images.copy()
        detector = tiny(method).fit(images)
        detector.score_samples(images)
        assert_array_equal(images, before)


def test_the_random_state_of_the_process_is_untouched_during_and_after_a_fit(
    method: str, clothes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, build = Run.update, NetworkDetector._build_seeded
    seen: list[torch.Tensor] = []

    def noting_update(run: Run, optimizer: str, loss: torch.Tensor) -> None:
        seen.append(torch.get_rng_state())
        update(run, optimizer, loss)

    def noting_build(detector: NetworkDetector, *arguments: Any) -> Any:
        built = build(detector, *arguments)
        seen.append(torch.get_rng_state())
        return built

    monkeypatch.setattr(Run, "update", noting_update)
    monkeypatch.setattr(NetworkDetector, "_build_seeded", noting_build)
    random.seed(3)
    np.random.seed(3)
    np.random.standard_normal()  # leaves a second normal number cached
    torch.manual_seed(3)
    python_before = random.getstate()
    numpy_before: Any = np.random.get_state(legacy=False)
    torch_before = torch.get_rng_state()
    detector = tiny(method).fit(clothes)
    detector.predict(clothes[:5])
    numpy_after: Any = np.random.get_state(legacy=False)
    assert_array_equal(numpy_before["state"]["key"], numpy_after["state"]["key"])
    assert numpy_before["state"]["pos"] == numpy_after["state"]["pos"]
    assert numpy_before["has_gauss"] == numpy_after["has_gauss"] == 1
    assert numpy_before["gauss"] == numpy_after["gauss"]
    assert python_before == random.getstate()
    assert all(torch.equal(torch_before, state) for state in (*seen, torch.get_rng_state()))
    assert len(seen) > 1 or not isinstance(detector, NetworkDetector)


def test_fits_in_four_threads_give_the_scores_of_one_in_turn(method: str, clothes: np.ndarray) -> None:
    def scores(_: int = 0) -> np.ndarray:
        return tiny(method).fit(clothes[:60]).raw_scores(clothes[:10])

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(scores, range(4)))
    alone = scores()
    for each in found:
        assert_array_equal(each, alone)


def test_scores_are_finite_float64_and_not_constant(fitted: Detector, clothes: np.ndarray, digits: np.ndarray) -> None:
    scores = fitted.score_samples(np.concatenate([clothes[:50], digits]))
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 100


def test_it_beats_its_untrained_self_on_planted_anomalies(method: str, sample: Any) -> None:
    """Planted: clothes turned by a quarter, speckled, or inverted (see tests/tiny.py)."""
    normal = sample.normal[:200]
    planted = PLANTED.get(method, turned)(sample.normal[200:400])
    whole = {"calibration": "train"} if calibrates_on_train(method) else {}
    trained = tiny(method, scorer="negate", **whole, **LONGER.get(method, {})).fit(sample.train[:1000])
    noise = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)  # all that the untrained one has seen
    untrained = tiny(method, scorer="negate", **frozen(method)).fit(noise)
    good, bad = (auroc(d.score_samples(normal), d.score_samples(planted)) for d in (trained, untrained))
    assert good >= bad + 0.1
    assert good > 0.65


def test_decisions_follow_the_threshold_and_contamination(fitted: Detector, clothes: np.ndarray) -> None:
    scores, decision = fitted.score_samples(clothes), fitted.decision_function(clothes)
    assert_array_equal(decision, scores - fitted.offset_)
    assert_array_equal(fitted.predict(clothes), np.where(decision < 0, -1, 1))
    loose = clone(fitted).set_params(contamination=0.3).fit(clothes)
    assert np.mean(loose.predict(clothes) == -1) > np.mean(fitted.predict(clothes) == -1)


def test_any_scorer_goes_with_it(method: str, clothes: np.ndarray, digits: np.ndarray) -> None:
    one_sided = tiny(method, scorer="negate").fit(clothes)
    two_sided = tiny(method, scorer="gaussian").fit(clothes)
    assert_array_equal(one_sided.raw_scores(digits), two_sided.raw_scores(digits))
    assert_array_equal(one_sided.score_samples(digits), -one_sided.raw_scores(digits))
    raw = two_sided.raw_scores(clothes)
    order = np.argsort(np.abs(raw - two_sided.scorer_.mean_))  # type: ignore[attr-defined]
    assert (
        np.diff(two_sided.score_samples(clothes)[order]) <= 1e-9
    ).all()  # the further from the mean, on either side, the lower
    if one_sided.raw_domain == "real":
        untrained = tiny(method, scorer="log-gaussian", callback=lambda _: pytest.fail("trained"))
        with pytest.raises(SettingError, match=f"needs raw scores of at least 0, and those of {method} are not"):
            untrained.fit(clothes)
        return
    on_logs = tiny(method, scorer="log-gaussian").fit(clothes)
    order = np.argsort(np.abs(np.log(on_logs.raw_scores(clothes)) - on_logs.scorer_.median_))  # type: ignore[attr-defined]
    assert (np.diff(on_logs.score_samples(clothes)[order]) <= 1e-9).all()


@pytest.mark.parametrize("shape", [(40, 28, 28, 3), (40, 3, 28, 28), (40, 20, 32), (40, 33, 24, 1), (40, 5, 30, 30)])
def test_images_of_any_channels_and_sides(method: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    detector = tiny(method).fit(images)
    assert detector.score_samples(images[:3]).shape == (3,)
    assert detector.score_samples(torch.from_numpy(images[:3])).shape == (3,)


def test_before_fit_scoring_is_refused(method: str, clothes: np.ndarray) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        tiny(method).score_samples(clothes)


def test_bad_input_is_refused_with_the_reason(method: str, fitted: Detector, clothes: np.ndarray) -> None:
    detector = tiny(method)
    nan = (clothes / 255.0).astype(np.float32)
    nan[3, 0, 0] = np.nan
    with pytest.raises(InputError, match="image 3 holds NaN"):
        detector.fit(nan)
    with pytest.raises(InputError, match="float pixels from 0 to 255"):
        detector.fit(clothes.astype(np.float32))
    with pytest.raises(InputError, match=r"y holds 0"):
        detector.fit(clothes, np.zeros(len(clothes), dtype=int))
    with pytest.raises(InputError, match="one label for each"):
        detector.fit(clothes, [1, -1])
    with pytest.raises(ImageError, match="at least 2"):
        detector.fit(clothes[:1])
    with pytest.raises(ImageError, match="channels"):
        fitted.score_samples(np.zeros((2, 28, 28, 3), np.uint8))
    with pytest.raises(SettingError, match="contamination=0.9"):
        tiny(method, contamination=0.9).fit(clothes)
    with pytest.raises(SettingError, match="batch_size='64'"):
        tiny(method, batch_size="64").fit(clothes)


def test_known_anomalies_do_not_count_as_normal(method: str, clothes: np.ndarray, digits: np.ndarray) -> None:
    labels = np.r_[np.ones(len(clothes), int), -np.ones(len(digits), int)]
    detector = tiny(method).fit(np.concatenate([clothes, digits]), labels)
    assert detector.n_train_ <= len(clothes)


def test_a_failed_second_fit_leaves_it_unfitted_rather_than_half_fitted(method: str, clothes: np.ndarray) -> None:
    detector = tiny(method).fit(clothes)
    detector.set_params(contamination=2.0)
    with pytest.raises(SettingError):
        detector.fit(clothes)
    assert detector.predict(clothes[:2]).shape == (2,)  # refused before anything changed


def test_numpys_numbers_are_parameters_that_save_and_load(method: str, clothes: np.ndarray, tmp_path: Path) -> None:
    size = next(
        name for name in ("n_components", "latent_dim", "filters", "hidden_width", "generator_width") if name in TINY[method]
    )
    more: dict[str, Any] = {size: np.int64(TINY[method][size])}
    if isinstance(tiny(method), NetworkDetector):
        more["checkpoint_dir"] = tmp_path / "checkpoint"
    detector = tiny(method, **more, contamination=np.float64(0.1), image_size=np.int64(32)).fit(clothes)
    detector.save(tmp_path / "model")
    assert_array_equal(load(tmp_path / "model", device="cpu").raw_scores(clothes[:5]), detector.raw_scores(clothes[:5]))


def test_a_dataset_and_a_folder_score_as_the_array_does(fitted: Detector, clothes: np.ndarray, tmp_path: Path) -> None:
    class Items(Dataset[np.ndarray]):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> np.ndarray:
            return clothes[index]

    for index, image in enumerate(clothes[:12]):
        Image.fromarray(image).save(tmp_path / f"{index:02d}.png")
    expected = fitted.score_samples(clothes[:12])
    assert_array_equal(fitted.score_samples(Items()), expected)
    assert_array_equal(fitted.score_samples(tmp_path), expected)
    assert clone(fitted).fit(Items()).n_train_ in (6, 12)


def test_a_scorer_keeps_its_settings(method: str, clothes: np.ndarray) -> None:
    class Scaled(Negate):
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def normality(self, raw: Scores) -> Scores:
            return -self.factor * raw

    detector = tiny(method, scorer=Scaled(3.0)).fit(clothes)
    assert_array_equal(detector.score_samples(clothes[:5]), -3.0 * detector.raw_scores(clothes[:5]))


def test_a_score_that_is_no_number_is_not_called_normal(
    fitted: Detector, clothes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted, "score_samples", lambda X: np.full(len(X), np.nan))
    assert fitted.predict(clothes[:3]).tolist() == [-1, -1, -1]


def test_labels_stay_with_their_images_when_some_of_two_joined_sets_cannot_be_read(method: str, clothes: np.ndarray) -> None:
    class Items(Dataset[np.ndarray]):
        def __init__(self, broken: int, first: int = 0) -> None:
            self.broken = broken
            self.first = first

        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> np.ndarray:
            if index == self.broken:
                raise OSError("broken")
            return clothes[self.first + index]

    joined = Joined(open_images(Items(broken=-1)), open_images(Items(broken=3, first=40)))
    labels = np.r_[np.ones(40, int), -np.ones(40, int)]
    detector = tiny(method, skip_bad=True, **all_kept(method)).fit(joined, labels)
    assert (detector.skipped_, detector.n_train_) == (1, 40)


def test_a_last_batch_is_filled_up_on_a_gpu_alone() -> None:
    x = torch.rand(3, 1, 4, 4)
    assert filled(x, 8) is x
    assert filled(x.to("meta"), 8).shape == (8, 1, 4, 4)
    assert filled(x.to("meta"), 3).shape == (3, 1, 4, 4)
