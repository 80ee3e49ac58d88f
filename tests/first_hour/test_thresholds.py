"""3. The threshold comes from images that were not fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomirror import DETECTORS, KNN, PCA
from anomirror.decisions import threshold
from anomirror.detector.calibration import folds, held_out, heldout_count
from anomirror.detector.contract import Detector
from anomirror.errors import AnomirrorWarning, InputError
from anomirror.presets import PRESETS
from tests.commands import run
from tests.first_hour.conftest import tiles, write
from tests.tiny import METHODS, tiny


@pytest.mark.parametrize("method", ["pca", "knn"])
@pytest.mark.parametrize("count", [30, 100, 300])
def test_false_alarms_on_unseen_good_images_are_what_was_asked_for(method: str, count: int) -> None:
    flagged = []
    for seed in range(5):
        detector = DETECTORS[method]().fit(tiles(count, seed))
        flagged.append(np.mean(detector.predict(tiles(200, 1000 + seed)) == -1))
    assert np.mean(flagged) <= 0.08  # asked 0.05; 1.00, .95 and .60 before


def test_the_threshold_is_the_conformal_one() -> None:
    scores = np.arange(1.0, 20.0)  # 19 of them: 5 % is 1 in 20
    assert threshold(scores, 0.05) == pytest.approx(1.0, abs=1e-2)
    assert threshold(scores, 0.10) == pytest.approx(2.0, abs=1e-2)
    # the lowest: nothing is promised
    assert threshold(scores[:10], 0.05) == pytest.approx(1.0, abs=1e-2)
    assert threshold(scores, 0.05) < 1.0  # a copy of the image that set it is still normal


def test_how_many_are_held_out() -> None:
    found = {
        count: heldout_count(count, 0.05) for count in (20, 50, 100, 500, 999, 1000, 2000, 60_000)
    }
    assert found == {
        20: 10,
        50: 20,
        100: 20,
        500: 100,
        999: 199,
        1000: 100,
        2000: 100,
        60_000: 3000,
    }


def test_copies_of_an_image_are_never_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    copies = np.repeat(np.arange(30), 6)
    order = rng.permutation(180).tolist()
    chosen = held_out(order, copies, 36)
    assert 30 <= len(chosen) <= 36
    assert not set(copies[chosen]) & set(np.delete(copies, chosen))
    parts = folds(order, copies, 5)
    assert sorted(np.concatenate(parts)) == list(range(180))
    assert [len(part) for part in parts] == [36] * 5
    assert sum(len(set(copies[part])) for part in parts) == 30
    alone = np.arange(100)
    # without copies: the first of the order
    assert sorted(held_out(alone.tolist(), alone, 20)) == list(range(20))


@pytest.mark.parametrize("method", ["pca", "knn"])
def test_images_that_are_there_six_times_calibrate_as_one(method: str) -> None:
    detector = DETECTORS[method]().fit(np.repeat(tiles(40), 6, axis=0))
    assert detector.copies_ == 200
    assert np.mean(detector.predict(tiles(200, 9)) == -1) <= 0.15


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::anomirror.errors.AnomirrorWarning")
def test_equal_copies_of_one_image_are_decided_equally_in_every_batch(method: str) -> None:
    image = tiles(1, size=28)
    detector = tiny(method).fit(np.repeat(image, 40, axis=0))
    for count in (1, 2, 17, 64, 130):
        assert (detector.predict(np.repeat(image, count, axis=0)) == 1).all()


def test_components_are_never_more_than_half_of_the_images() -> None:
    assert len(PCA().fit(tiles(41)).components_) == 20
    assert len(PCA(n_components=0.999999).fit(tiles(41)).components_) <= 20
    assert len(KNN().fit(tiles(41)).components_) == 20


@pytest.mark.parametrize("method", METHODS)
def test_few_images_say_what_cannot_be_promised(method: str, tmp_path: Path) -> None:
    with pytest.warns(
        AnomirrorWarning,
        match=r"this: false alarms below .* cannot be asked for \(5 % were, which needs 19\)",
    ):
        detector: Detector = tiny(method).fit(tiles(14, size=28))
    assert detector.calibrated_by_ != "train"
    detector.save(tmp_path / "model")
    assert "cannot be asked" in run("info", tmp_path / "model").stdout


def test_three_images_promise_nothing_and_say_so(tmp_path: Path) -> None:
    with pytest.warns(AnomirrorWarning, match="none can be left out of the fit to calibrate"):
        PCA().fit(tiles(3)).save(tmp_path / "model")
    assert "can be far more than 5 %" in run("info", tmp_path / "model").stdout


def test_the_papers_presets_keep_its_calibration_and_info_says_so(tmp_path: Path) -> None:
    papers = [
        settings
        for presets in PRESETS.values()
        for name, settings in presets.items()
        if name.startswith("paper")
    ]
    assert len(papers) > 10
    assert all(settings["calibration"] == "train" for settings in papers)
    tiny("ama", calibration="train").fit(tiles(30, size=28)).save(tmp_path / "model")
    assert (
        "false alarms on new images can be far more than 5 %"
        in run("info", tmp_path / "model").stdout
    )


@pytest.mark.filterwarnings("ignore::anomirror.errors.AnomirrorWarning")
def test_what_calibrated_a_model_is_kept_with_it(tmp_path: Path) -> None:
    folder = write(tiles(30), tmp_path / "good")
    for method, how, count in (("pca", "folds", 30), ("deep_svdd", "heldout", 15)):
        detector = tiny(method).fit(folder)
        assert (detector.calibrated_by_, detector.calibrated_on_) == (how, count)
        assert detector.n_train_ == (30 if how == "folds" else 15)


@pytest.mark.parametrize("method", ["pca", "deep_svdd"])
def test_copies_promise_no_more_than_one_image_does(method: str) -> None:
    with pytest.warns(AnomirrorWarning, match="calibrate this: false alarms below"):
        detector: Detector = tiny(method).fit(np.repeat(tiles(12, size=28), 6, axis=0))
    assert detector.calibrated_on_ <= 12


def test_an_asked_for_share_is_held_out_of_few_images_too() -> None:
    assert heldout_count(60, 0.5) == 30
    assert heldout_count(60, 0.05) == 20


@pytest.mark.filterwarnings("ignore::anomirror.errors.AnomirrorWarning")
def test_views_of_one_object_never_calibrate_what_was_fitted_on_others() -> None:
    """Eight views of each of 20 objects, nearly the same: apart they would calibrate each other."""
    rng = np.random.default_rng(0)
    objects = np.repeat(tiles(20, size=28), 8, axis=0).astype(int)
    views = np.clip(objects + rng.integers(-2, 3, objects.shape), 0, 255).astype(np.uint8)
    groups = np.repeat([f"part_{number}" for number in range(20)], 8)
    new = tiles(200, 9, size=28)
    apart, together = (
        np.mean(PCA(false_alarm_rate=0.1).fit(views, groups=each).predict(new) == -1)
        for each in (None, groups)
    )
    assert apart > 0.9
    assert together <= 0.2  # 20 groups promise 9.5 % at most
    with pytest.raises(InputError, match="groups has shape"):
        PCA().fit(views, groups=groups[:5])


def test_the_last_groups_calibrate_whole() -> None:
    order = np.arange(100)[::-1].tolist()
    one_large = np.repeat(np.arange(8), [10, 10, 10, 10, 10, 10, 10, 30])
    assert held_out(order, one_large, 20, in_order=True).tolist() == list(range(70, 100))
    nearly_all = np.r_[np.arange(5), np.full(95, 5)]
    assert held_out(order, nearly_all, 20, in_order=True).tolist() == list(range(5, 100))


@pytest.mark.filterwarnings("ignore::anomirror.errors.AnomirrorWarning")
def test_the_last_images_calibrate_where_that_is_asked() -> None:
    """A camera that has become darker: earlier images would not tell."""
    images = tiles(200, size=28)
    images[150:] = (images[150:] * 0.6).astype(np.uint8)
    now = (tiles(300, 9, size=28) * 0.6).astype(np.uint8)
    alarms = {}
    for split in ("random", "last"):
        detector = PCA(calibration_split=split, image_size=None).fit(images[:190])
        alarms[split] = np.mean(detector.predict(now) == -1)
    assert detector.calibrated_by_ == "heldout"
    assert detector.calibrated_on_ == 38
    assert alarms["last"] <= 0.1
