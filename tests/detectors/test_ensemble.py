"""Several detectors as one, and the choice among them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from anomirror import KNN, PCA, Auto, Detector, Ensemble, Scattering, load, make_detector
from anomirror.detector.calibrated import Calibrating
from anomirror.errors import (
    AnomirrorWarning,
    DivergenceError,
    ImageError,
    ModelFileError,
    SettingError,
)
from anomirror.images import open_images, seen_at
from anomirror.images.shrinking import Shrunk
from anomirror.reference import Reference
from anomirror.synthetic import KINDS
from anomirror.workflows.suspects import suspects_of
from tests.first_hour.conftest import spotted, tiles
from tests.tiny import tiny


def small() -> list[Detector]:
    """Two members that are fitted in no time."""
    return [PCA(n_components=8), KNN(n_components=8)]


@pytest.fixture(scope="module")
def fitted() -> Ensemble:
    return Ensemble(detectors=small(), image_size=None).fit(tiles(80, size=32))


def test_a_deviation_is_in_robust_units_of_unseen_normal_images() -> None:
    values = np.arange(101.0)
    reference = Reference.of(values)
    assert (reference.centre, reference.spread) == (50.0, 34.0)
    assert reference.deviation(np.array([84.0]))[0] == pytest.approx(1.0)
    # within: conformal p-values; beyond the quantile of .8 exponentially, in means of what is there
    assert reference.surprise(reference.deviation(np.array([50.0])))[0] == pytest.approx(
        -np.log((1 + 51) / 102)
    )
    excess = np.mean(np.arange(81.0, 101.0) - 80.0)
    far = reference.surprise(reference.deviation(np.array([200.0])))[0]
    assert far == pytest.approx(-np.log(0.2) + (200 - 80) / excess)
    assert np.all(np.diff(reference.surprise(np.linspace(-3, 9, 400))) >= 0)


def test_the_largest_deviation_and_the_harmonic_mean_are_those_of_the_members(
    fitted: Ensemble,
) -> None:
    images = np.concatenate([tiles(6, 9, size=32), spotted(tiles(6, 8, size=32))])
    measured = fitted.statistics(images)
    assert set(measured) == {"pca.residual", "knn.distance"}
    deviations, surprises = [], []
    for member, statistic in (("pca", "residual"), ("knn", "distance")):
        calibrating = np.log(fitted.calibrating_.statistics[f"{member}.{statistic}"])
        reference = Reference.of(calibrating)
        deviations.append(reference.deviation(np.log(measured[f"{member}.{statistic}"])))
        surprises.append(reference.surprise(deviations[-1]))
    assert_allclose(fitted.raw_scores(images), np.max(deviations, axis=0))
    fitted.set_params(combination="harmonic")
    p_values = np.exp(-np.array(surprises))
    assert_allclose(fitted.raw_scores(images), -np.log(2 / (1 / p_values).sum(0)))
    assert np.mean(fitted.predict(images[6:]) == -1) == 1
    fitted.set_params(combination="largest")
    assert np.mean(fitted.predict(images[6:]) == -1) == 1


def test_members_are_what_they_are_alone_and_see_images_at_their_size() -> None:
    images, new = tiles(60, size=64), tiles(5, 9, size=64)
    together = Ensemble(
        detectors=[PCA(n_components=4), PCA(n_components=4, image_size=64)], image_size=64
    ).fit(images)
    assert {name: member.image_shape_[1] for name, member in together.members_.items()} == {
        "pca": 32,
        "pca2": 64,
    }
    measured = together.statistics(new)
    for name, size in (("pca", 32), ("pca2", 64)):
        seen = [seen_at(open_images(each, image_size=None), size) for each in (images, new)]
        fitted_on, scored = (each.take(range(len(each))).numpy()[:, 0] for each in seen)
        alone = PCA(n_components=4, image_size=None).fit(fitted_on)
        found = alone.statistics(scored)["residual"]
        assert_allclose(measured[f"{name}.residual"], found, rtol=1e-4)


def test_shrunk_pixels_are_means_and_parts_stay_parts() -> None:
    images = open_images(tiles(4, size=64), image_size=None)
    half = seen_at(images, 32)
    assert isinstance(half, Shrunk)
    means = images.take([2]).float().reshape(1, 1, 32, 2, 32, 2).mean((3, 5)) / 255
    assert_allclose(half.take([2]), means, atol=1e-6)
    assert seen_at(images, 64) is images


@pytest.mark.parametrize("combination", ["largest", "harmonic"])
def test_false_alarms_are_those_that_were_asked_for(combination: str) -> None:
    alarms = []
    for seed in range(6):
        images = tiles(360, seed, size=32)
        model = Ensemble(
            detectors=small(), image_size=None, combination=combination, false_alarm_rate=0.1
        ).fit(images[:60])
        alarms.append(np.mean(model.predict(images[60:]) == -1))
    assert np.mean(alarms) < 0.13


def test_a_loaded_ensemble_is_the_saved_one(fitted: Ensemble, tmp_path: Path) -> None:
    new = tiles(20, 9, size=32)
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_array_equal(again.raw_scores(new), fitted.raw_scores(new))
    assert_array_equal(again.p_values(new), fitted.p_values(new))
    assert_array_equal(again.explain(new[:3]), fitted.explain(new[:3]))
    card = (tmp_path / "model" / "model.json").read_text()
    odd = card.replace('"largest_sample": 20000', '"device": "cpu"', 1)
    (tmp_path / "model" / "model.json").write_text(odd)
    with pytest.raises(ModelFileError, match="does not belong there"):
        load(tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text(card.replace('"knn",', '"pca",'))
    with pytest.raises(ModelFileError):
        load(tmp_path / "model")


def test_recalibration_compares_members_with_the_new_images(fitted: Ensemble) -> None:
    dark = (tiles(300, 9, size=32) * 0.6).astype(np.uint8)
    model = Ensemble(detectors=small(), image_size=None).fit(tiles(80, size=32))
    assert np.mean(model.predict(dark[200:]) == -1) > 0.5
    model.recalibrate(dark[:200])
    assert np.mean(model.predict(dark[200:]) == -1) < 0.15
    assert model.references_["pca"].centre > fitted.references_["pca"].centre


def test_what_is_fitted_holds_no_images() -> None:
    images = tiles(60, size=32)
    model = Ensemble(detectors=[tiny("scattering"), PCA(n_components=4)], image_size=None)
    model.fit(images)
    assert all(member._given is None for member in model.members_.values())
    assert cast(Scattering, model.members_["scattering"])._known == []
    kept = weakref.ref(images)
    del images
    gc.collect()
    assert kept() is None


def test_groups_and_suspects_reach_the_members() -> None:
    images = np.concatenate([tiles(60, size=32), spotted(tiles(3, 3, size=32))])
    ranked = suspects_of(Ensemble(detectors=small(), image_size=None), open_images(images))
    assert {each.index for each in ranked[:3]} == {60, 61, 62}
    groups = np.arange(80) // 4
    model = Ensemble(detectors=[tiny("scattering")], image_size=None)
    model.fit(tiles(80, size=32), groups=groups)
    assert (model.calibrated_on_, model.calibrated_images_) == (20, 80)


def test_bad_members_are_refused() -> None:
    images = tiles(30, size=32)
    with pytest.raises(SettingError, match="expected detectors, such as"):
        Ensemble().fit(images)
    with pytest.raises(SettingError, match="expected"):
        Ensemble(detectors=["pca"]).fit(images)  # type: ignore[list-item]
    with pytest.raises(SettingError, match="expected single detectors"):
        Ensemble(detectors=[Ensemble(detectors=small())]).fit(images)
    with pytest.raises(SettingError, match="n_components=0"):
        Ensemble(detectors=[PCA(n_components=0)]).fit(images)
    with pytest.raises(SettingError, match="no method named 'pka'"):
        make_detector("ensemble", detectors="pca,pka")
    made = cast(Ensemble, make_detector("ensemble", detectors="pca, knn"))
    assert [each.method for each in made.detectors] == ["pca", "knn"]


def test_a_network_is_a_member_like_any_other(tmp_path: Path) -> None:
    model = Ensemble(detectors=[tiny("ama"), PCA(n_components=4)], image_size=None)
    model.fit(tiles(80, size=32))
    assert model.calibrated_by_ == "heldout"  # a training for each fold takes too long
    assert {"ama.r", "pca.residual"} <= set(model.statistics(tiles(2, size=32)))
    model.save(tmp_path / "model")
    new = tiles(6, 9, size=32)
    assert_allclose(load(tmp_path / "model").raw_scores(new), model.raw_scores(new), rtol=1e-5)


@pytest.mark.parametrize("combination", ["largest", "harmonic"])
def test_few_images_that_calibrate_are_compared_as_new_ones_are(combination: str) -> None:
    """Exact exchangeability: a tenth of new images has a p-value of at most a tenth."""
    images = tiles(600, size=32)
    detectors: list[Detector] = [*small(), PCA(n_components=2), KNN(n_neighbors=1)]
    model = Ensemble(detectors=detectors, image_size=None, combination=combination)
    model.fit(images[:100])
    statistics = model.statistics(images[100:])
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(150):
        order = rng.permutation(500)
        calibrating = Calibrating(
            np.zeros(19), {n: v[order[:19]] for n, v in statistics.items()}, np.arange(19)
        )
        model._calibrate(calibrating)
        new = model.raw_scores_from({name: v[order[19:]] for name, v in statistics.items()})
        alarms.append(np.mean(model.p_values_from(model.normality(new)) <= 0.1))
    assert np.mean(alarms) < 0.12


def test_maps_of_an_ensemble_show_the_spot() -> None:
    model = Ensemble(detectors=small(), image_size=None).fit(tiles(80))
    maps = model.explain(spotted(tiles(3, seed=6)))
    assert maps[:, 20:28, 20:28].mean() > 5 * maps[:, :10].mean()
    assert np.mean(model.explain(tiles(20, seed=7)) == 0) > 0.9


def test_each_fold_is_trained_anew_whatever_a_member_says_of_checkpoints(tmp_path: Path) -> None:
    images = tiles(40, size=32)
    member = tiny("ama", checkpoint_dir=tmp_path / "c", callback=lambda _: {"z": 1.0})
    alone = Ensemble(detectors=[tiny("ama")], image_size=None).out_of_fold(images)
    kept = Ensemble(detectors=[member], image_size=None).out_of_fold(images)
    assert_allclose(kept, alone)
    assert not (tmp_path / "c").exists()


def test_images_that_choose_the_epoch_of_a_member_do_not_calibrate() -> None:
    model = Ensemble(detectors=[tiny("alad")], image_size=None).fit(tiles(200, size=32))
    assert model.calibrated_on_ == tiny("alad").fit(tiles(200, size=32)).calibrated_on_ == 20


def test_members_keep_seeds_of_their_own_and_take_that_of_the_ensemble_else() -> None:
    detectors = [tiny("ama", random_state=seed) for seed in (1, 2, 0)]
    model = Ensemble(detectors=detectors, image_size=None, random_state=7).fit(tiles(60, size=32))
    assert [member.random_state for member in model.members_.values()] == [1, 2, 7]
    measured = model.statistics(tiles(2, 9, size=32))
    assert not np.array_equal(measured["ama.r"], measured["ama2.r"])


def test_a_member_without_finite_scores_is_named() -> None:
    with pytest.raises(DivergenceError, match="the scores of odd are not finite"):
        Ensemble(detectors=[Odd(), PCA()], image_size=None).fit(tiles(60, size=32))
    model = Auto(detectors=[Odd(), PCA(n_components=8)], image_size=None)
    with pytest.warns(AnomirrorWarning, match="odd is left out: its scores are not finite"):
        model.fit(tiles(100, size=32))
    assert list(model.members_) == ["pca"]


def test_what_a_member_was_measured_with_belongs_to_the_promise() -> None:
    model = Ensemble(detectors=[tiny("ama")], image_size=None).fit(tiles(60, size=32))
    assert model.calibrated_with_ == {"ama.scoring_precision": "float32"}
    model.members_["ama"].set_params(scoring_precision="bf16")
    assert "ama.scoring_precision was 'float32'" in (model.promise() or "")


def test_another_size_that_is_set_after_a_fit_does_not_move_images() -> None:
    images = tiles(60)[:, :24, :20]
    for model in (PCA(image_size=None), Ensemble(detectors=small(), image_size=None)):
        before = model.fit(images).raw_scores(images)
        assert_array_equal(model.set_params(image_size=32).raw_scores(images), before)


# ---------------------------------------------------------------- the choice


class Odd(PCA):
    """Measures no numbers."""

    method = "odd"

    def _statistics(self, x, names):  # type: ignore[no-untyped-def]
        return {"residual": x.double().flatten(1).sum(1) * float("nan")}


class Blind(PCA):
    """Finds nothing: what it measures is chance."""

    method = "blind"

    def _learn(self, normal, heldout, anomalies) -> None:  # type: ignore[no-untyped-def]
        super()._learn(normal, heldout, anomalies)
        self.components_ = self.components_[:0]
        self.mean_ = self.mean_ * np.nan_to_num(0.0)

    def _statistics(self, x, names):  # type: ignore[no-untyped-def]
        chance = (x.double().flatten(1).sum(1) * 1e4) % 1
        return {"residual": chance + 1.0}


def test_a_candidate_that_finds_nothing_is_left_out(tmp_path: Path) -> None:
    model = Auto(detectors=[Blind(), PCA(n_components=8)], image_size=None)
    model.fit(tiles(150, size=32))
    assert list(model.members_) == ["pca"]
    blind, pca = model.tried_
    assert (blind.chosen, pca.chosen) == (False, True)
    assert set(blind.auroc) == set(KINDS)
    assert np.mean(list(blind.auroc.values())) == pytest.approx(0.5, abs=0.1)
    assert np.mean(list(pca.auroc.values())) > 0.7
    everything = Auto(detectors=[Blind(), PCA(n_components=8)], image_size=None, margin=1.0)
    assert list(everything.fit(tiles(150, size=32)).members_) == ["blind", "pca"]
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, Auto)
    assert again.tried_ == model.tried_
    new = tiles(10, 9, size=32)
    assert_array_equal(again.raw_scores(new), model.raw_scores(new))


def test_the_same_images_give_the_same_choice_and_scores() -> None:
    images, new = tiles(120, size=32), tiles(10, 9, size=32)
    one, other = (Auto(image_size=None).fit(images) for _ in range(2))
    assert one.tried_ == other.tried_
    assert_array_equal(one.raw_scores(new), other.raw_scores(new))


def test_of_few_images_the_first_candidate_is_taken_and_nothing_tried() -> None:
    model = Auto(image_size=None).fit(tiles(30, size=32))
    assert (list(model.members_), model.tried_) == (["scattering"], [])
    with pytest.raises(ImageError, match="30 different normal images or groups: at least 50"):
        Auto(image_size=None).compare(tiles(30, size=32))


@pytest.mark.parametrize("distinct", [1, 2])
def test_of_copies_nothing_is_tried(distinct: int) -> None:
    copies = np.repeat(tiles(distinct, size=32), 60 // distinct, axis=0)
    with pytest.warns(AnomirrorWarning, match="none can be left out"):
        model = Auto(detectors=small(), image_size=None).fit(copies)
    assert (list(model.members_), model.tried_) == (["pca"], [])


def test_candidates_are_tried_on_whole_groups_that_no_trial_has_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted_on: list[set[str]] = []
    learn = PCA._learn

    def noting(self, normal, heldout, anomalies):  # type: ignore[no-untyped-def]
        fitted_on.append(set(normal.names))
        learn(self, normal, heldout, anomalies)

    monkeypatch.setattr(PCA, "_learn", noting)
    groups = np.arange(120) // 2
    trials = Auto(detectors=[PCA(n_components=4)], image_size=None).compare(
        tiles(120, size=32), groups
    )
    assert len(fitted_on[0]) == 96
    places = {int(name.split()[-1]) for name in fitted_on[0]}
    assert {place ^ 1 for place in places} == places
    assert trials[0].detector._given is None


def test_a_comparison_fits_nothing_but_candidates() -> None:
    model = Auto(detectors=small(), image_size=None)
    trials = model.compare(tiles(100, size=32))
    assert [trial.name for trial in trials] == ["pca", "knn"]
    assert not hasattr(model, "members_")
    for trial in trials:
        assert len(trial.normal) == 20
        assert set(trial.auroc) == set(KINDS)
        assert trial.fit_seconds > 0
        assert trial.images_per_second > 0
