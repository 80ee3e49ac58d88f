"""Cameras, shifts or products: what is decided within each of them keeps its word in each."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror import KNN, PCA, load
from anomirror.data.sample import load_sample
from anomirror.decisions import grouped_p_values, place_taken, rate_bound
from anomirror.detector.calibration import guarantee_sentence, held_out_of_each
from anomirror.errors import AnomirrorWarning, ImageError, InputError, ModelFileError, SettingError
from anomirror.sequential import DriftMonitor
from anomirror.workflows.drift import _highest_rate, drift_of
from anomirror.workflows.evaluating import evaluate_model
from anomirror.workflows.naming import categories_of
from anomirror.workflows.suspects import without_suspects
from tests.commands import failed, run
from tests.first_hour.conftest import tiles, write
from tests.tiny import tiny


def noisy(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """As by a worse camera: every image is odder, none is a defect."""
    noise = np.random.default_rng(seed).normal(0, 25, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


def shot(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of a good camera and of a worse one, one in four, shuffled, and which it was."""
    worse = np.random.default_rng(seed).permutation(count) < count // 4
    images = tiles(count, seed, size=32)
    images[worse] = noisy(images[worse], seed)
    return images, np.where(worse, "worse", "good")


@pytest.fixture(scope="module")
def model() -> KNN:
    """Fitted on 240 images in folds, a quarter of them by the worse camera."""
    images, cameras = shot(240)
    return KNN(image_size=None).fit(images, by=cameras)


def test_the_rate_holds_for_each_camera_where_one_threshold_flags_the_worse_one(model: KNN) -> None:
    images, cameras = shot(2000, 9)
    whole = KNN(image_size=None).fit(shot(240)[0])
    flagged = whole.predict(images) == -1
    worse = cameras == "worse"
    assert flagged[worse].mean() > 0.1
    assert flagged[~worse].mean() < 0.02
    flagged = model.predict(images, by=cameras) == -1
    # 180 and 60 images calibrate: within the bounds of 95 %
    assert 0.01 < flagged[~worse].mean() < 0.08
    assert 0.01 < flagged[worse].mean() < 0.11


def test_p_values_thresholds_and_decisions_are_those_of_the_category(model: KNN) -> None:
    images, cameras = shot(100, 3)
    scores, values = model.score_samples(images), model.p_values(images, cameras)
    assert model.categories_ == {"good": 180, "worse": 60}
    by_hand = grouped_p_values(
        model.calibration_,
        scores,
        model.calibration_categories_,
        cameras,  # type: ignore[arg-type]
    )
    assert np.array_equal(values, by_hand)
    assert np.array_equal(model.predict(images, cameras) == -1, values <= 0.05)
    decision = model.decision_function(images, by=cameras)
    assert np.array_equal(decision < 0, values <= 0.05)
    assert np.array_equal(model.select(images, 0.3, by=cameras), model.select_from(values, 0.3))
    thresholds = model.thresholds(["good", "worse"], 2)
    assert thresholds[0] > thresholds[1]


def test_categories_are_asked_for_and_unknown_ones_refused(model: KNN) -> None:
    images = tiles(3, size=32)
    with pytest.raises(SettingError, match=r"decides within categories \(good, worse\): give by="):
        model.predict(images)
    with pytest.raises(SettingError, match="category new: no normal image of it calibrates"):
        model.p_values(images, by=["good", "new", "worse"])
    with pytest.raises(InputError, match="by has 2 categories: expected one for each of 3"):
        model.predict(images, by=["good", "worse"])
    for wrong in (" ", None, 1.0, math.nan, b"a", ["a"]):
        with pytest.raises(InputError, match="the category of image 1 is"):
            PCA(image_size=None).fit(images, by=["a", wrong, "b"])
    with pytest.raises(InputError, match="by='abc': expected a category for each"):
        PCA(image_size=None).fit(images, by="abc")
    with pytest.raises(SettingError, match="was calibrated without categories"):
        PCA(image_size=None).fit(tiles(40, size=32)).predict(images, by=["a"] * 3)


def test_a_saved_model_decides_the_same(model: KNN, tmp_path: Path) -> None:
    images, cameras = shot(60, 5)
    loaded = load(model.save(tmp_path / "model"))
    assert loaded.categories_ == model.categories_
    assert np.array_equal(loaded.p_values(images, cameras), model.p_values(images, cameras))
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    assert card["categories"] == ["good", "worse"]
    for names in (["good"], ["good", "good"], ["worse", "good"]):
        card["categories"] = names
        (tmp_path / "model" / "model.json").write_text(json.dumps(card))
        with pytest.raises(ModelFileError, match="names do not belong to these"):
            load(tmp_path / "model")


def test_held_out_images_come_from_every_category() -> None:
    images, cameras = shot(240)
    with pytest.warns(AnomirrorWarning, match="category worse: false alarms below"):
        detector = KNN(image_size=None, calibration="heldout", calibration_fraction=0.2).fit(
            images, by=cameras
        )
    assert detector.categories_ == {"good": 36, "worse": 12}
    auto = tiny("deep_svdd", calibration="auto").fit(images, by=cameras)
    assert auto.calibrated_by_ == "heldout"
    assert auto.categories_ == {"good": 36, "worse": 19}  # what 5 % needs
    sentence = auto.guarantee_sentence()
    assert "in each of 2 categories; of worse, the least certain: 5.0 %" in sentence


def test_whole_groups_are_held_out_of_each_category() -> None:
    order, parts = list(range(40)), np.repeat(np.arange(20), 2)
    cameras = np.where(np.arange(40) < 24, "a", "b")
    chosen = held_out_of_each(order, parts, cameras, 4, least=3)
    assert chosen.tolist() == [0, 1, 2, 3, 4, 5, 24, 25, 26, 27, 28, 29]
    across = np.where(np.arange(40) % 2, "a", "b")  # each part was shot by both
    assert held_out_of_each(order, parts, across, 4, least=3).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    lone = np.where(np.arange(40) < 2, "a", np.where(np.arange(40) < 4, "b", "c"))
    with pytest.raises(ImageError, match="category a, b: too few images or groups"):
        held_out_of_each(order, parts, lone, 4)


def test_groups_that_span_categories_never_take_more_than_half_of_one() -> None:
    parts = np.arange(15).repeat(2)  # 0 to 9 by camera a, 5 to 14 by camera b
    cameras = np.where(np.arange(30) % 2, "a", "b")
    cameras[parts < 5], cameras[parts > 9] = "a", "b"
    chosen = held_out_of_each(list(range(30)), parts, cameras, 8, least=5)
    for camera in "ab":
        own = parts[cameras == camera]
        held = parts[chosen][cameras[chosen] == camera]
        assert 0 < len(set(held.tolist())) <= len(set(own.tolist())) // 2


def test_of_a_group_the_oddest_of_each_category_calibrates() -> None:
    images, parts = tiles(80, size=32), np.repeat(np.arange(20), 4)
    cameras = np.tile(["a", "a", "b", "b"], 20)
    detector = PCA(image_size=None).fit(images, groups=parts, by=cameras)
    assert detector.categories_ == {"a": 20, "b": 20}
    assert detector.calibrated_on_ == 40
    raw = detector.calibrating_.raw.reshape(20, 2, 2)
    of_a = detector.calibration_raw_[detector.calibration_categories_ == "a"]
    assert np.array_equal(of_a, raw[:, 0].max(1))


def test_recalibration_takes_adds_and_drops_categories() -> None:
    (images, cameras), (later, by) = shot(120), shot(80, 4)
    detector = PCA(image_size=None).fit(images, by=cameras)
    with pytest.raises(SettingError, match="categories .* are missing"):
        detector.recalibrate(later, add=True)
    detector.recalibrate(later, add=True, by=by)
    assert detector.categories_ == {"good": 150, "worse": 50}
    detector.recalibrate(tiles(40, 8, size=32), by=["new"] * 40)
    assert detector.categories_ == {"new": 40}
    assert detector.recalibrate(later).categories_ == {}
    assert detector.predict(later).shape == (80,)


def test_labelled_anomalies_need_no_category() -> None:
    images, cameras = shot(60)
    y = np.r_[np.ones(60, int), -np.ones(3, int)]
    odd = 255 - tiles(3, 7, size=32)
    detector = KNN(image_size=None).fit(
        np.concatenate([images, odd]), y, by=[*cameras, "-", "-", "-"]
    )
    assert set(detector.categories_) == {"good", "worse"}


def test_another_mixture_of_cameras_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    calibration = np.r_[rng.normal(size=200), rng.normal(-3, 1, size=50)]
    of = np.repeat(["good", "worse"], [200, 50])
    stream, cameras = rng.normal(-3, 1, size=150), np.full(150, "worse")
    assert DriftMonitor(calibration).update(stream) > 20
    assert DriftMonitor(calibration, by=of).update(stream, cameras) < 20
    assert DriftMonitor(calibration, by=of).update(stream - 1.5, cameras) > 20
    with pytest.raises(SettingError, match=r"are of \['good', 'worse'\]: not 'third'"):
        DriftMonitor(calibration, by=of).update(stream[:1], ["third"])
    with pytest.raises(SettingError, match="give by=, a category for each image"):
        DriftMonitor(calibration, by=of).update(stream[:1])
    with pytest.raises(SettingError, match="1 categories of 2 images"):
        DriftMonitor(calibration, by=of).update(stream[:2], ["good"])
    numbered = DriftMonitor(calibration, by=np.repeat([0, 1], [200, 50]))
    assert numbered.update(stream, np.ones(150, int)) < 20


def test_a_copy_counts_in_each_category_that_it_is_of() -> None:
    images, shared = tiles(40, size=32), noisy(tiles(20, 5, size=32))
    both = np.concatenate([images, shared, shared])
    by = ["a"] * 20 + ["b"] * 20 + ["a"] * 20 + ["b"] * 20
    detector = KNN(image_size=None).fit(both, by=by)
    assert detector.categories_ == {"a": 40, "b": 40}
    assert detector.copies_ == 20
    whole = KNN(image_size=None).fit(np.concatenate([images, images]), by=["a", "b"] * 40)
    assert whole.categories_ == {"a": 20, "b": 20}
    again = PCA(image_size=None).fit(tiles(60, 7, size=32)).recalibrate(both, by=by)
    assert again.categories_ == {"a": 40, "b": 40}


def test_a_category_that_comes_later_is_no_mixture(recwarn: pytest.WarningsRecorder) -> None:
    images, cameras = shot(120)
    detector = KNN(image_size=None).fit(images, by=cameras)
    new = noisy(noisy(tiles(60, 4, size=32)), 1)
    detector.recalibrate(new, add=True, by=["third"] * 60)
    assert not [each for each in recwarn if "mixture" in str(each.message)]
    assert set(detector.categories_) == {"good", "worse", "third"}
    with pytest.warns(AnomirrorWarning, match="together they promise the rate for a mixture"):
        detector.recalibrate(noisy(tiles(60, 8, size=32)), add=True, by=["good"] * 60)


def test_a_pattern_does_not_outlive_its_categories() -> None:
    detector = PCA(image_size=None).fit(tiles(40, size=32), by=["a", "b"] * 20)
    for by in (["c"] * 40, None):
        detector.category_pattern_ = "cam([0-9])"
        detector.recalibrate(tiles(40, 6, size=32), by=by)
        assert detector.category_pattern_ == ""
    detector.category_pattern_ = "cam([0-9])"
    assert detector.fit(tiles(40, size=32)).category_pattern_ == ""


def test_suspects_are_the_oddest_of_their_own_category() -> None:
    images, cameras = shot(200)
    good = int(np.flatnonzero(cameras == "good")[0])
    images[good] = 255 - images[good] // 4  # odd for its camera, usual in noise
    judge = KNN(image_size=None)
    opened = judge.open(images)
    labels = np.ones(200, int)
    of_all = without_suspects(judge, opened, labels, 6).dropped
    of_each = without_suspects(judge, opened, labels, 6, None, cameras).dropped
    assert {cameras[each.index] for each in of_all} >= {"worse"}
    assert [cameras[each.index] for each in of_each].count("good") >= 3
    assert good in [each.index for each in of_each]


def test_what_is_promised_is_that_of_the_least_certain_category() -> None:
    sentence = guarantee_sentence("heldout", 77, 0.05, "expected", 77, 0, {"a": 38, "b": 39})
    assert "of b, the least certain: 5.0 % are called" in sentence
    assert "at most 11.6 %" in sentence


def test_fit_predict_and_a_selection_know_categories() -> None:
    images, cameras = shot(120)
    detector = KNN(image_size=None)
    flags = detector.fit_predict(images, by=cameras)
    assert np.array_equal(flags, detector.predict(images, by=cameras))
    values = np.full(50, 0.5)
    with pytest.warns(AnomirrorWarning, match="30 images calibrate the smallest category"):
        detector.select_from(values, 0.1)


def test_a_training_is_not_continued_with_other_categories(tmp_path: Path) -> None:
    images, cameras = shot(60)
    first, second = (
        tiny("deep_svdd", calibration="auto").fit(images, by=by)
        for by in (cameras, ["a", "b"] * 30)
    )
    assert first.groups_fingerprint_ != second.groups_fingerprint_


def test_drift_is_found_within_each_camera_and_bounded_by_the_loosest(folder: Path) -> None:
    fit = ("fit", folder / "fit", "--method", "knn", "--out", folder / "m")
    assert run(*fit, "--by", "(good|worse)").returncode == 0
    model = load(folder / "m")
    found = drift_of(model, [model.open_to_score(folder / "new" / "worse")])
    of_80 = rate_bound(80, place_taken(80, 0.05))
    assert found.highest_rate == pytest.approx(of_80)
    usual = np.median(model.calibration_[model.calibration_categories_ == "worse"])
    assert found.score.before == pytest.approx(usual)
    moved = write(noisy(tiles(60, 12), 3) // 2, folder / "later" / "worse")
    assert drift_of(model, [model.open_to_score(moved)]).alarm


def test_a_bound_on_drift_is_that_of_the_category_with_the_fewest_images() -> None:
    images, cameras = shot(160)
    detector = PCA(image_size=None).fit(images, by=cameras)
    bounds = [rate_bound(n, place_taken(n, 0.05)) for n in (120, 40)]
    assert _highest_rate(detector) == pytest.approx(max(bounds))


def test_categories_of_names() -> None:
    names = ["lot_1/cam_2/a.png", "lot_1/cam_13/b.png"]
    assert categories_of(names, "cam_([0-9]+)").tolist() == ["2", "13"]
    assert categories_of(["cam_1/x_cam_2.png"], "cam_([0-9])").tolist() == ["2"]  # the last
    with pytest.raises(SettingError, match=r"--by cam_\(: is no pattern"):
        categories_of(names, "cam_(")
    with pytest.raises(SettingError, match="is not found in 1 of 2 names, such as lot_1/cam_2"):
        categories_of(names, "cam_1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cameras in folders of their own."""
    for part, count, seed in (("fit", 80, 0), ("new", 40, 9)):
        images = tiles(count, seed)
        write(images, tmp_path / part / "good")
        write(noisy(images, seed), tmp_path / part / "worse")
    return tmp_path


def test_the_command_line_finds_cameras_in_names(folder: Path) -> None:
    fit = ("fit", folder / "fit", "--method", "knn", "--out", folder / "m")
    failed(run(*fit, "--by", "lamp"), "--by lamp: is not found in 160 of 160 names")
    done = run(*fit, "--by", "([^/]+)/[^/]*$")
    assert "decided within each: 80 of good, 80 of worse" in done.stderr
    told = json.loads(run("info", folder / "m", "--json").stdout)
    assert set(told["thresholds"]) == {"good", "worse"}
    assert "threshold" not in told
    assert told["category_pattern"] == "([^/]+)/[^/]*$"
    assert "threshold of worse" in run("info", folder / "m").stdout
    rows = list(csv.DictReader(run("score", folder / "m", folder / "new").stdout.splitlines()))
    model = load(folder / "m")
    assert len(rows) == 80
    for camera in ("good", "worse"):
        own = [row for row in rows if f"/{camera}/" in row["path"]]
        by_hand = model.p_values(folder / "new" / camera, by=[camera] * 40)
        assert np.allclose([float(row["p_value"]) for row in own], by_hand, atol=1e-6)
        assert [row["is_anomaly"] == "1" for row in own] == (by_hand <= 0.05).tolist()


def test_the_command_line_refuses_what_it_cannot_place(folder: Path) -> None:
    fit = ("fit", folder / "fit", "--method", "pca", "--out", folder / "m")
    assert run(*fit, "--by", "(good|worse)").returncode == 0
    write(tiles(2), folder / "third")
    out = folder / "scores.csv"
    failed(run("score", folder / "m", folder / "third", "--out", out), "is not found in 2 of 2")
    assert not out.exists()
    in_python = PCA().fit(tiles(60), by=["a", "b"] * 30).save(folder / "python")
    failed(run("score", in_python, folder / "new"), "were given in Python")
    again = run(
        "recalibrate", in_python, folder / "new", "--out", folder / "m2", "--by", "(good|worse)"
    )
    assert "40 of good, 40 of worse" in again.stderr
    added = ("recalibrate", folder / "m", folder / "new", "--out", folder / "m3", "--add")
    failed(run(*added, "--by", "(new)"), r"this model has its categories by (good|worse)")
    assert run(*added).returncode == 0
    assert load(folder / "m3").categories_ == {"good": 120, "worse": 120}
    out_of_all = run(*fit, "--by", "(good|worse)", "--overwrite", "--drop-suspects", 4)
    assert out_of_all.stderr.count("/good/") >= 1
    assert out_of_all.stderr.count("/worse/") >= 1
    assert run("score", folder / "m2", folder / "new").returncode == 0


def test_evaluation_and_drift_know_the_cameras(folder: Path) -> None:
    fit = ("fit", folder / "fit", "--method", "knn", "--out", folder / "m")
    assert run(*fit, "--by", "(good|worse)").returncode == 0
    model, new = load(folder / "m"), folder / "new"
    apart = [new / "worse", new / "good"]
    by_parts = evaluate_model(model, apart, {"worse": new / "worse"})
    evaluation = evaluate_model(model, [new], {"worse": new / "worse"})
    assert by_parts.flagged(by_parts.normal) == evaluation.flagged(evaluation.normal)
    by = categories_of([str(file) for file in sorted(new.rglob("*.png"))], "(good|worse)")
    flags = model.predict(new, by=by) == -1
    assert evaluation.flagged(evaluation.normal).count == flags.sum()
    assert evaluation.flagged(evaluation.total).count == flags[by == "worse"].sum()
    found = drift_of(model, [model.open_to_score(new / "worse")])  # one camera alone
    assert not found.alarm
    assert not found.too_many
    whole = KNN().fit(folder / "fit")
    mixed = drift_of(whole, [whole.open_to_score(new / "worse")])
    assert mixed.score.e_value > 3 > found.score.e_value


def test_a_damaged_file_moves_no_image_to_another_camera(folder: Path) -> None:
    (folder / "fit" / "good" / "000.png").write_bytes(b"no image")
    fit = ("fit", folder / "fit", "--method", "pca", "--out", folder / "m", "--skip-bad")
    assert run(*fit, "--by", "(good|worse)").returncode == 0
    assert load(folder / "m").categories_ == {"good": 79, "worse": 80}
    (folder / "new" / "good" / "005.png").write_bytes(b"no image")
    Image.fromarray(tiles(1)[0]).save(folder / "new" / "good" / "100.png")
    rows = list(csv.DictReader(run("score", folder / "m", folder / "new").stdout.splitlines()))
    values = {row["path"]: row["p_value"] for row in rows}
    assert [path for path, value in values.items() if not value] == [f"{folder}/new/good/005.png"]
    model = load(folder / "m")
    alone = model.p_values(folder / "new" / "worse", by=["worse"] * 40)
    of_worse = [float(value) for path, value in values.items() if "worse" in path]
    assert np.allclose(of_worse, alone, atol=1e-6)


def test_real_images_of_two_kinds_keep_the_rate_in_each() -> None:
    images, labels = load_sample().train, np.arange(len(load_sample().train)) % 2
    detector = tiny("auto").fit(images, by=labels)
    assert set(detector.categories_) == {"0", "1"}
    assert detector.p_values(images[:4], by=labels[:4]).shape == (4,)
