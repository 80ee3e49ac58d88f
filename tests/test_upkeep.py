"""A model over time, and the images it is given: drift, recalibration, suspects."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomirror import KNN, PCA, load
from anomirror.detectors.usual import HEADS
from anomirror.errors import AnomirrorWarning, ImageError, SettingError
from anomirror.images import open_images
from anomirror.report.sheets import contact_sheet
from anomirror.workflows import drift as drift_module
from anomirror.workflows.drift import drift_of
from anomirror.workflows.evaluating import evaluate_model
from anomirror.workflows.scoring import Row
from anomirror.workflows.suspects import suspects_of, without_suspects
from tests.commands import failed, run
from tests.first_hour.conftest import spotted, tiles, write
from tests.tiny import tiny


def darker(images: np.ndarray) -> np.ndarray:
    """As by a lamp that has aged."""
    return (images * 0.6).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> PCA:
    """Fitted on 200 tiles."""
    return PCA(image_size=None).fit(tiles(200, size=32))


def stream(model: PCA, *parts: np.ndarray) -> list[object]:
    return [model.open_to_score(np.concatenate(parts))]


def test_images_as_those_that_calibrate_have_not_drifted(model: PCA) -> None:
    found = drift_of(model, stream(model, tiles(200, 9, size=32)))  # type: ignore[arg-type]
    assert not found.alarm
    assert not found.uneven
    assert found.score.e_value < 20
    assert found.statistics == ()  # of pca the score says what the residual does
    assert found.p_values.shape == found.e_values.shape == (200,)


def test_a_lamp_that_ages_is_found_with_the_image_from_which_on(model: PCA) -> None:
    parts = tiles(150, 9, size=32), darker(tiles(100, 10, size=32))
    found = drift_of(model, stream(model, *parts))  # type: ignore[arg-type]
    assert found.alarm
    assert found.score.since is not None
    assert 120 <= found.score.since <= 170
    assert found.score.now < found.score.before


def test_what_folds_calibrate_shows_a_drift_in_every_statistic_that_moves() -> None:
    alarms = 0
    for seed in range(5):
        images = tiles(160, seed, size=32)
        fitted = tiny("scattering").fit(images[:60])
        same = drift_of(fitted, [fitted.open_to_score(images[60:])])
        alarms += any(each.since is not None for each in (same.score, *same.statistics))
    assert fitted.calibrated_by_ == "folds"
    assert {each.name for each in same.statistics} == set(HEADS)
    assert alarms <= 1  # of five numbers each in 20
    moved = drift_of(fitted, [fitted.open_to_score(spotted(tiles(60, 9, size=32)))])
    assert all(each.since is not None for each in (moved.score, *moved.statistics))
    assert all(each.now > each.before for each in moved.statistics)


def test_a_file_that_vanishes_while_it_is_scored_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PCA(image_size=None).fit(tiles(60, size=32))
    folder = write(tiles(10, 9, size=32), tmp_path / "new")
    whole = drift_module.score_rows

    def failing(*given: Any) -> Iterator[Row]:
        first, *others = whole(*given)
        yield Row(first.path, error="is gone")
        yield from others

    monkeypatch.setattr(drift_module, "score_rows", failing)
    found = drift_of(model, [model.open_to_score(folder)])
    assert len(found.paths) == 9
    assert [reason for _, reason in found.unreadable] == ["is gone"]


def test_images_in_runs_are_uneven_but_have_not_drifted(model: PCA) -> None:
    """The same images, sorted by their score: as parts of one batch come together."""
    images = tiles(200, 9, size=32)
    order = np.argsort(model.score_samples(images))
    found = drift_of(model, stream(model, images[order]))  # type: ignore[arg-type]
    assert found.uneven
    assert not found.alarm


def test_a_model_without_p_values_cannot_tell_drift() -> None:
    fitted = PCA(calibration="train", image_size=None).fit(tiles(60, size=32))
    with pytest.raises(SettingError, match="has no p-values"):
        drift_of(fitted, [fitted.open_to_score(tiles(5, size=32))])


def test_recalibration_keeps_what_was_learnt_and_the_rate_on_new_images(tmp_path: Path) -> None:
    model = PCA(image_size=None).fit(tiles(200, size=32))
    now = darker(tiles(400, 9, size=32))
    raw, before = model.raw_scores(now), np.mean(model.predict(now[200:]) == -1)
    model.recalibrate(now[:200])
    assert np.array_equal(model.raw_scores(now), raw)
    assert (model.calibrated_on_, model.calibrated_by_) == (200, "heldout")
    assert np.mean(model.predict(now[200:]) == -1) == pytest.approx(0.05, abs=0.05)
    assert before > 0.9
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.calibration_fingerprint_ == model.calibration_fingerprint_ != ""
    assert again.data_fingerprint_ == model.data_fingerprint_
    assert np.array_equal(again.p_values(now), model.p_values(now))


def test_new_images_may_be_added_and_those_of_the_fit_calibrate_nothing() -> None:
    train, new = tiles(60, size=32), tiles(40, 9, size=32)
    model = KNN(image_size=None).fit(train)
    with pytest.warns(
        AnomirrorWarning, match="10 of 50 images were given to the fit or calibrate already"
    ):
        model.recalibrate(np.concatenate([train[:10], new]), add=True)
    assert model.calibrated_on_ == 100
    assert len(model.calibration_statistics_["distance"]) == 100
    with (
        pytest.warns(AnomirrorWarning, match="are left out"),
        pytest.raises(ImageError, match="no image is new"),
    ):
        model.recalibrate(train)
    fitted = PCA(calibration="train", image_size=None).fit(train)
    with pytest.raises(SettingError, match="has no p-values"):
        fitted.recalibrate(new, add=True)
    assert fitted.recalibrate(new).has_p_values


def test_what_was_measured_otherwise_is_not_added() -> None:
    """Two measurements are no one sample: threshold and p-values would promise nothing."""
    model = tiny("deep_svdd").fit(tiles(60, size=32)).set_params(scoring_precision="bf16")
    with pytest.raises(SettingError, match="scoring_precision was 'float32' when this was"):
        model.recalibrate(tiles(40, 9, size=32), add=True)
    assert model.recalibrate(tiles(40, 9, size=32)).promise() is None


def test_labelled_anomalies_are_known_again(tmp_path: Path) -> None:
    good, odd = tiles(60, size=32), spotted(tiles(8, 3, size=32))
    model = tiny("ama").fit(np.concatenate([good, odd]), np.repeat([1, -1], [60, 8]))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    with pytest.raises(ImageError, match="8 of 8 images were given to the fit as anomalies"):
        again.recalibrate(odd)
    found = evaluate_model(again, [tiles(20, 9, size=32)], {"spots": odd})
    assert found.warnings() == [
        "8 of 8 anomalies (spots) were given to the fit as anomalies: new ones are found less often"
    ]


def test_a_model_says_how_many_copies_and_unreadable_files_it_was_given(tmp_path: Path) -> None:
    images = tiles(60, size=32)
    folder = write(np.concatenate([images, images[:3]]), tmp_path / "good")
    (folder / "broken.png").write_bytes(b"no image")
    PCA(image_size=None, skip_bad=True).fit(folder).save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.copies_, again.skipped_) == (3, 1)


def test_an_image_is_added_once_and_evaluate_and_drift_know_it(tmp_path: Path) -> None:
    new = write(tiles(40, 9, size=32), tmp_path / "new")
    model = KNN(image_size=None).fit(tiles(60, size=32)).recalibrate(new)
    with (
        pytest.warns(AnomirrorWarning, match="40 of 40 images were given to the fit or calibrate"),
        pytest.raises(ImageError, match="no image is new"),
    ):
        model.recalibrate(new, add=True)
    model.save(tmp_path / "model")
    done = run("drift", tmp_path / "model", new)
    assert "40 of 40 images were given to the fit or calibrate the model" in done.stderr
    done = run("evaluate", tmp_path / "model", "--normal", new, "--anomalies", new)
    assert "40 of 40 normal images were given to the fit or calibrate the model" in done.stderr


def test_old_and_new_images_that_differ_are_no_mixture_without_a_word() -> None:
    model = PCA(image_size=None).fit(tiles(100, size=32))
    with pytest.warns(AnomirrorWarning, match="score otherwise than those that calibrated before"):
        model.recalibrate(darker(tiles(80, 9, size=32)), add=True)
    assert "80 of them given later" in model.guarantee_sentence()


def test_a_model_of_groups_says_so_wherever_it_promises(tmp_path: Path) -> None:
    groups = np.repeat(np.arange(25), 4)
    model = PCA(image_size=None).fit(tiles(100, size=32), groups=groups)
    model.save(tmp_path / "model")
    assert model.calibrated_on_ == 25
    assert "100 cross-fitted images calibrate this in 25 groups" in model.guarantee_sentence()
    assert "in 25 groups" in run("info", tmp_path / "model").stdout
    told = json.loads(run("info", tmp_path / "model", "--json").stdout)
    assert told["threshold"] == pytest.approx(model.offset_)
    assert "25 groups" in told["guarantee"]


def test_a_tail_that_grew_is_told_where_the_whole_looks_the_same(model: PCA) -> None:
    """One image in five is a defect: more are flagged than promised."""
    images = tiles(200, 9, size=32)
    images[::5] = spotted(images[::5])
    found = drift_of(model, stream(model, images))  # type: ignore[arg-type]
    assert found.too_many
    assert found.flagged >= 40


@pytest.mark.parametrize("method", ["pca", "deep_svdd"])
def test_the_oddest_images_of_a_training_set_are_the_defects(method: str) -> None:
    good, bad = tiles(80, size=32), spotted(tiles(5, 3, size=32))
    images = open_images(np.concatenate([good, bad]))
    detector = tiny(method, image_size=None) if method == "pca" else tiny(method)
    ranked = suspects_of(detector, images)
    assert len(ranked) == 85
    assert [each.p_value for each in ranked] == sorted(each.p_value for each in ranked)
    if method == "pca":
        assert {each.index for each in ranked[:5]} == {80, 81, 82, 83, 84}
        assert ranked[0].p_value == pytest.approx(1 / 85)
    assert not hasattr(detector, "n_train_")


def test_suspects_may_be_left_out_and_labelled_anomalies_stay() -> None:
    good, bad = tiles(60, size=32), spotted(tiles(4, 3, size=32))
    images = open_images(np.concatenate([good, bad]))
    labels = np.r_[np.ones(62, int), -1, -1]
    cleared = without_suspects(PCA(image_size=None), images, labels, 2)
    assert {each.index for each in cleared.dropped} == {60, 61}
    assert cleared.labels.tolist() == [1] * 60 + [-1, -1]
    for count in (0, 40):
        with pytest.raises(SettingError, match="at most half of 62"):
            without_suspects(PCA(image_size=None), images, labels, count)


def test_a_contact_sheet_holds_every_image() -> None:
    images = [np.full((20, 30), 255 - 20 * i, np.uint8) for i in range(10)]
    sheet = np.asarray(contact_sheet(images, [f"image {i}" for i in range(10)]))
    assert sheet.shape[:2] == (2 * 182 + 8, 8 * 168 + 8)
    assert sheet[8 + 20, 8 + 80].tolist() == [255] * 3
    assert sheet[8 + 182 + 20, 8 + 168 + 80].tolist() == [75] * 3


def test_views_of_one_defect_are_suspects_if_they_are_judged_together() -> None:
    rng = np.random.default_rng(0)
    views = np.repeat(spotted(tiles(1, 3, size=32)), 8, axis=0).astype(int)
    views = np.clip(views + rng.integers(-3, 4, views.shape), 0, 255).astype(np.uint8)
    images = open_images(np.concatenate([tiles(80, size=32), views]))
    groups = np.r_[np.arange(80), np.full(8, 80)]
    together = suspects_of(PCA(image_size=None), images, groups)
    assert {each.index for each in together[:8]} == set(range(80, 88))
    alone = suspects_of(PCA(image_size=None), images)
    assert {each.index for each in alone[:8]} != set(range(80, 88))


def test_too_few_images_cannot_judge_each_other() -> None:
    with pytest.raises(ImageError, match="2 different normal images or groups: at least 4"):
        suspects_of(PCA(image_size=None), open_images(tiles(2, size=32)))


# ---------------------------------------------------------------- from the command line


def test_a_photo_is_never_replaced_by_a_table(folder: Path) -> None:
    (folder / "good" / "broken.png").unlink()
    photo = folder / "good" / "003.png"
    before = photo.read_bytes()
    assert run("fit", folder / "good", "--out", folder / "m", "--method", "pca").returncode == 0
    for words in (("suspects", folder / "good"), ("drift", folder / "m", folder / "good")):
        done = run(*words, "--out", photo)
        assert done.returncode == 2
        assert photo.read_bytes() == before
    failed(run("suspects", folder / "good", "--sheet", folder / "good" / "s.png"), "--sheet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tiles(80, size=32), tmp_path / "good")
    write(spotted(tiles(3, 3, size=32)), tmp_path / "good" / "odd")
    (tmp_path / "good" / "broken.png").write_text("no image")
    return tmp_path


def test_the_command_ranks_draws_and_leaves_out(folder: Path) -> None:
    good, sheet, out = folder / "good", folder / "sheet.png", folder / "suspects.csv"
    failed(run("suspects", good), "1 of 84 files cannot be read")
    done = run("suspects", good, "--skip-bad", "--sheet", sheet, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 83
    assert all("odd" in row["path"] for row in rows[:3])
    assert Image.open(sheet).size[0] == 8 * 168 + 8
    assert run("suspects", good, "--skip-bad", "--sheet", sheet).returncode == 0  # ours
    write(tiles(1), folder / "photo")
    photo = next((folder / "photo").iterdir())
    failed(run("suspects", good, "--skip-bad", "--sheet", photo), "is no sheet of ours")
    fitted = run(
        "fit", good, "--out", folder / "m", "--method", "pca", "--skip-bad", "--drop-suspects", 3
    )
    assert fitted.returncode == 0, fitted.stderr
    assert fitted.stderr.count("odd") == 3
    model = load(folder / "m")
    assert (model.n_train_, model.suspects_dropped_) == (80, 3)


def test_the_command_groups_and_splits(folder: Path) -> None:
    (folder / "good" / "broken.png").unlink()
    fit = ("fit", folder / "good", "--method", "pca", "--overwrite", "--out", folder / "m")
    done = run(*fit, "--group-by", "([0-9])[.]png")
    assert "83 images come in 10 groups" in done.stderr
    assert load(folder / "m").calibrated_on_ == 10
    failed(run(*fit, "--group-by", "part_(1"), "is no pattern")
    failed(run(*fit, "--group-by", "part_1"), "in none of the names")
    failed(run(*fit, "--group-by", "png"), "they are one group")
    assert run(*fit, "--split", "last").returncode == 0
    assert load(folder / "m").calibrated_by_ == "heldout"
    failed(run(*fit, "--split", "first"), "calibration_split='first'")


def test_the_command_tells_drift_and_recalibrates(folder: Path) -> None:
    (folder / "good" / "broken.png").unlink()
    model = folder / "model"
    fit = ("fit", folder / "good", "--method", "pca", "--out", model, "--drop-suspects", 3)
    assert run(*fit).returncode == 0
    same = write(tiles(60, 9, size=32), folder / "same")
    later = write(darker(tiles(60, 10, size=32)), folder / "later")
    assert "no drift" in run("drift", model, same).stdout
    done = run("drift", model, same, later, "--out", folder / "d.csv")
    assert "drift: scores moved from" in done.stdout
    assert len((folder / "d.csv").read_text().splitlines()) == 121
    told = json.loads(run("drift", model, later, "--json").stdout)
    assert told["drift"] is True
    assert [each["name"] for each in told["moved"]] == ["score"]
    assert told["moved"][0]["since"].endswith(".png")
    assert told["flagged"] > 0
    failed(run("recalibrate", model, later, "--out", model), "is the model itself")
    done = run("recalibrate", model, later, "--out", folder / "new")
    assert "60 held-out images calibrate this" in done.stderr
    fresh = write(darker(tiles(60, 11, size=32)), folder / "fresh")
    rows = list(csv.DictReader(run("score", folder / "new", fresh).stdout.splitlines()))
    assert np.mean([row["is_anomaly"] == "1" for row in rows]) <= 0.2
