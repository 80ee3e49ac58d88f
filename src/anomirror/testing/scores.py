"""Checks of scores, statistics and decisions."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from anomirror.detectors import load
from anomirror.errors import SettingError
from anomirror.scorers import Negate, Scores
from anomirror.testing.subject import Check, Subject, refused


def check_scores_do_not_depend_on_batch_neighbours_or_order(subject: Subject) -> None:
    """To a relative difference of 1e-4."""
    images = subject.normal[:150]
    alone = subject.fitted.raw_scores(images)
    together = subject.fitted.raw_scores(np.concatenate([images, subject.anomalies]))
    assert_allclose(together[: len(images)], alone, rtol=1e-4)
    order = np.random.default_rng(0).permutation(len(images))
    assert_allclose(subject.fitted.raw_scores(images[order]), alone[order], rtol=1e-4)
    single = [subject.fitted.raw_scores(images[i : i + 1])[0] for i in range(10)]
    assert_allclose(single, alone[:10], rtol=1e-4)


def check_scores_are_finite_float64_and_not_constant(subject: Subject) -> None:
    """Of normal images and anomalies."""
    images = np.concatenate([subject.normal[:50], subject.anomalies])
    scores = subject.fitted.score_samples(images)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > len(images) // 2


def check_the_raw_score_is_a_formula_over_named_statistics(subject: Subject) -> None:
    """``raw_scores`` are ``raw_scores_from(statistics(X))``, and each statistic stands for
    itself.
    """
    fitted, images = subject.fitted, subject.normal[:40]
    measured = fitted.statistics(images)
    assert fitted.scoring_statistics <= measured.keys() <= set(fitted.every_statistic())
    for name, values in measured.items():
        assert (values.dtype.name, values.shape) == ("float64", (len(images),))
        assert_array_equal(fitted.statistics(images, (name,))[name], values)
    assert_array_equal(fitted.raw_scores_from(measured), fitted.raw_scores(images))
    with refused(SettingError, "statistic 'beauty'"):
        fitted.statistics(images[:3], ("beauty",))


def check_decisions_follow_threshold_and_false_alarm_rate(subject: Subject) -> None:
    """A higher rate flags more, without another fit; NaN counts as an anomaly."""
    fitted, images = subject.fitted, subject.normal
    scores, decision = fitted.score_samples(images), fitted.decision_function(images)
    assert_array_equal(decision, scores - fitted.offset_)
    predicted = fitted.predict(images)
    assert_array_equal(predicted, np.where(decision < 0, -1, 1))
    loose = copy.copy(fitted).set_params(false_alarm_rate=0.3)
    assert np.mean(loose.predict(images) == -1) > np.mean(predicted == -1)
    strict = copy.copy(fitted).set_params(guarantee="confident")
    assert strict.offset_ <= fitted.offset_
    unsure = clone(fitted).set_params(scorer=_NotANumber())
    assert unsure.fit(images[:40]).predict(images[:3]).tolist() == [-1, -1, -1]


def check_p_values_rank_as_scores_do_and_decide_as_predict_does(subject: Subject) -> None:
    """On the lattice k / (n + 1), low for what is anomalous; refused where none is promised."""
    detector, images = subject.make(calibration="auto").fit(subject.normal), subject.anomalies
    values, scores = detector.p_values(images), detector.score_samples(images)
    count = detector.calibrated_on_ + 1
    assert_allclose(values * count, np.round(values * count), atol=1e-9)
    assert values.min() >= 1 / count
    assert (np.diff(values[np.argsort(scores)]) >= 0).all()
    assert_array_equal(detector.predict(images), np.where(values <= 0.05, -1, 1))
    assert_array_equal(detector.select(images, 0.5), detector.select_from(values, 0.5))
    fitted_on = copy.copy(detector)
    fitted_on.calibrated_by_ = "train"
    with refused(SettingError, "has no p-values"):
        fitted_on.p_values(images)


class _NotANumber(Negate):
    """A scorer that knows nothing of new images."""

    def normality(self, raw: Scores) -> Scores:
        return np.full(len(raw), np.nan) if len(raw) == 3 else -raw


class _Scaled(Negate):
    """A scorer with a setting."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def normality(self, raw: Scores) -> Scores:
        return -self.factor * raw


def check_any_scorer_goes_with_it(subject: Subject) -> None:
    """One-sided, two-sided and one of the user's.

    A scorer that needs another domain of raw scores is refused before a training.
    """
    normal, images = subject.normal[:100], subject.anomalies[:40]
    one_sided = subject.make(scorer="negate").fit(normal)
    raw = one_sided.raw_scores(images)
    assert_array_equal(one_sided.score_samples(images), -raw)
    scaled = subject.make(scorer=_Scaled(3.0)).fit(normal)
    assert_array_equal(scaled.score_samples(images), -3.0 * scaled.raw_scores(images))
    two_sided = subject.make(scorer="gaussian").fit(normal)
    assert_array_equal(two_sided.raw_scores(images), raw)
    centre = two_sided.scorer_.state()["mean"]
    _check_falls_with_distance(raw, centre, two_sided.score_samples(images))
    if one_sided.raw_domain == "real":
        with refused(SettingError, "needs raw scores of at least 0"):
            subject.make(scorer="log-gaussian").fit(normal)
        return
    on_logs = subject.make(scorer="log-gaussian").fit(normal)
    centre = on_logs.scorer_.state()["median"]
    floor = on_logs.scorer_.state()["floor"]
    logs = np.log(np.maximum(on_logs.raw_scores(images), floor))
    _check_falls_with_distance(logs, centre, on_logs.score_samples(images))


def _check_falls_with_distance(values: np.ndarray, centre: float, normality: np.ndarray) -> None:
    order = np.argsort(np.abs(values - centre))
    assert (np.diff(normality[order]) <= 1e-9).all()


def check_same_seed_gives_same_scores(subject: Subject) -> None:
    """And the same threshold, bit for bit."""
    again = subject.make().fit(subject.normal)
    assert_array_equal(
        again.raw_scores(subject.anomalies), subject.fitted.raw_scores(subject.anomalies)
    )
    assert again.offset_ == subject.fitted.offset_


def check_a_saved_and_loaded_detector_is_equal(subject: Subject) -> None:
    """Scores, decisions, parameters and history."""
    fitted, images = subject.fitted, subject.anomalies
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(fitted.save(Path(folder) / "model"), device="cpu")
    assert type(loaded) is type(fitted)
    assert_array_equal(loaded.raw_scores(images), fitted.raw_scores(images))
    assert_array_equal(loaded.score_samples(images), fitted.score_samples(images))
    assert_array_equal(loaded.predict(images), fitted.predict(images))
    assert loaded.stored_parameters() == fitted.stored_parameters()
    assert loaded.history_ == fitted.history_


CHECKS: tuple[Check, ...] = (
    check_scores_do_not_depend_on_batch_neighbours_or_order,
    check_scores_are_finite_float64_and_not_constant,
    check_the_raw_score_is_a_formula_over_named_statistics,
    check_decisions_follow_threshold_and_false_alarm_rate,
    check_p_values_rank_as_scores_do_and_decide_as_predict_does,
    check_any_scorer_goes_with_it,
    check_same_seed_gives_same_scores,
    check_a_saved_and_loaded_detector_is_equal,
)
