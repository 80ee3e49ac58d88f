"""Decisions with a guarantee: by hand, against simulation, against other libraries."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, kstest

from anomirror import PCA, decisions, load
from anomirror.data.sample import Sample
from anomirror.decisions import (
    enough_to_select,
    grouped_p_values,
    least_count,
    least_rate,
    p_values,
    place,
    rate_band,
    rate_bound,
    select,
    threshold,
)
from anomirror.errors import AnomirrorWarning, SettingError
from anomirror.sequential import DriftMonitor, OnlineSelection
from tests.tiny import tiny

DRAWS = 10_000


def test_p_values_by_hand() -> None:
    calibration = np.array([4.0, 2.0, 2.0, 8.0])
    new = np.array([1.0, 2.0, 3.0, 8.0, 9.0, np.nan, -np.inf, np.inf])
    assert (5 * p_values(calibration, new)).tolist() == [1, 3, 3, 5, 5, 1, 1, 5]


def test_equal_scores_are_ties_whatever_rounding_does() -> None:
    calibration = np.full(50, 3.0)
    assert (p_values(calibration, 3.0 + np.array([-1e-9, 0.0, 1e-9])) == 1).all()


def test_an_image_is_flagged_exactly_where_its_p_value_is_at_most_the_rate() -> None:
    rng = np.random.default_rng(0)
    for count in (19, 60, 333):
        calibration, new = rng.normal(size=count), rng.normal(size=2000)
        values = p_values(calibration, new)
        for rate in (0.01, 0.05, 0.1, 0.31):
            if place(count, rate):
                flagged = new < threshold(calibration, rate)
                assert np.array_equal(flagged, values <= rate + 1e-12)


@pytest.mark.parametrize("count", [20, 60, 200])
@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_the_expected_rate_is_kept_on_average_and_the_confident_one_in_95_of_100(
    count: int, rate: float
) -> None:
    """Scores are uniform, so that the rate of a threshold is the threshold itself."""
    rng = np.random.default_rng(count)
    calibration = np.sort(rng.random((DRAWS, count)), axis=1)
    error = 3 * math.sqrt(rate / DRAWS)
    expected = calibration[:, place(count, rate) - 1]
    assert rate - 1 / (count + 1) - error <= expected.mean() <= rate + error
    at = place(count, rate, "confident")
    if at:
        exceeded = np.mean(calibration[:, at - 1] > rate)
        assert exceeded <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
    else:
        assert count < least_count(rate, "confident")
    bound = rate_bound(count, place(count, rate))
    assert np.mean(expected > bound) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 / DRAWS))


def test_the_bound_is_clopper_and_pearsons() -> None:
    """The rate at which k - 1 or fewer of n images lie below it with a probability of 5 %."""
    for count, at in ((50, 1), (99, 5), (200, 20)):
        assert binom.cdf(at - 1, count, rate_bound(count, at)) == pytest.approx(0.05, abs=1e-9)


def test_the_band_holds_for_all_thresholds_at_once() -> None:
    rng = np.random.default_rng(0)
    for count in (20, 200):
        rates = np.sort(rng.random((DRAWS, count)), axis=1)
        outside = np.mean((rates > rate_band(count)).any(axis=1))
        assert outside == pytest.approx(0.05, abs=3 * math.sqrt(0.05 / DRAWS))


def test_how_many_images_a_rate_needs() -> None:
    for rate in (0.5, 0.1, 0.05, 0.013, 0.01):
        for guarantee in ("expected", "confident"):
            count = least_count(rate, guarantee)  # type: ignore[arg-type]
            assert place(count, rate, guarantee) >= 1  # type: ignore[arg-type]
            assert place(count - 1, rate, guarantee) == 0  # type: ignore[arg-type]
            assert least_rate(count, guarantee) <= rate + 1e-9  # type: ignore[arg-type]


def test_p_values_of_unseen_images_are_uniform() -> None:
    rng = np.random.default_rng(0)
    values = [p_values(rng.normal(size=99), rng.normal(size=1))[0] for _ in range(2000)]
    jittered = np.array(values) - rng.random(2000) / 100
    assert kstest(jittered, "uniform").pvalue > 0.01


def test_groups_have_p_values_of_their_own() -> None:
    rng = np.random.default_rng(0)
    calibration = np.r_[rng.normal(size=100), rng.normal(-5, 1, size=100)]
    of = np.repeat(["day", "night"], 100)
    night = rng.normal(-5, 1, size=2000)
    apart = grouped_p_values(calibration, night, of, np.full(2000, "night"))
    assert np.mean(apart <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(p_values(calibration, night) <= 0.05) < 0.15
    with pytest.raises(SettingError, match="group dusk: no normal image of it calibrates"):
        grouped_p_values(calibration, night[:1], of, np.array(["dusk"]))


# ---------------------------------------------------------------- many images, and streams


def test_selection_by_hand() -> None:
    """Benjamini and Hochberg: the k lowest where p_(k) <= k q / m."""
    values = np.array([0.01, 0.9, 0.04, 0.03, 0.5])
    m, q = len(values), 0.1
    order = np.sort(values)
    most = max((k for k in range(1, m + 1) if order[k - 1] <= k * q / m), default=0)
    assert select(values, q).sum() == most
    harmonic = sum(1 / k for k in range(1, m + 1))
    strict = max((k for k in range(1, m + 1) if order[k - 1] <= k * q / m / harmonic), default=0)
    assert select(values, q, "by").sum() == strict
    assert select(np.empty(0), 0.1).shape == (0,)
    with pytest.raises(SettingError, match="fdr=2"):
        select(values, 2)


@pytest.mark.parametrize("method", ["bh", "storey", "by"])
def test_of_what_is_selected_no_more_than_asked_are_normal(method: decisions.Selection) -> None:
    rng = np.random.default_rng(0)
    shares, found = [], []
    for _ in range(400):
        calibration = rng.normal(size=1000)
        new = np.r_[rng.normal(size=80), rng.normal(-4, 1, size=20)]
        selected = select(p_values(calibration, new), 0.1, method)
        shares.append(selected[:80].sum() / max(1, selected.sum()))
        found.append(selected[80:].mean())
    assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / 20
    assert np.mean(found) > 0.5


def test_selection_says_when_it_can_select_nothing() -> None:
    assert enough_to_select(499, 50, 0.1) is None
    assert enough_to_select(498, 50, 0.1) == 499


@pytest.mark.parametrize("method", ["lord", "saffron"])
def test_a_stream_keeps_its_false_discovery_rate(method: str) -> None:
    rng = np.random.default_rng(0)
    shares, found = [], []
    for _ in range(100):
        anomalous = rng.random(500) < 0.2
        values = np.where(anomalous, rng.random(500) * 1e-4, rng.random(500))
        stream = OnlineSelection(0.1, method)  # type: ignore[arg-type]
        selected = np.array([stream.select(p) for p in values])
        shares.append(selected[~anomalous].sum() / max(1, selected.sum()))
        found.append(selected[anomalous].mean())
    assert np.mean(shares) <= 0.1
    assert np.mean(found) > 0.8


@pytest.mark.parametrize("method", ["lord", "saffron"])
def test_a_stream_decides_as_online_fdr_does(method: str) -> None:
    pytest.importorskip("online_fdr")
    from online_fdr.p_values.investing.lord.plus_plus import LordPlusPlus
    from online_fdr.p_values.investing.saffron.saffron import Saffron

    rng = np.random.default_rng(0)
    for _ in range(20):
        values = np.where(rng.random(400) < 0.3, rng.random(400) ** 8 * 0.02, rng.random(400))
        theirs = LordPlusPlus(0.1, 0.05) if method == "lord" else Saffron(0.1, 0.05, 0.5)
        ours = OnlineSelection(0.1, method)  # type: ignore[arg-type]
        assert [ours.select(p) for p in values] == [theirs.test_one(float(p)) for p in values]


def test_p_values_are_nonconforms() -> None:
    nonconform = pytest.importorskip("nonconform")  # needs Python 3.12
    rng = np.random.default_rng(0)
    calibration, new = rng.integers(0, 99, 200).astype(float), rng.integers(-9, 109, 50) / 1.0
    theirs = nonconform.Empirical(tie_break="classical").compute_p_values(-new, -calibration)
    np.testing.assert_allclose(p_values(calibration, new), theirs)


def test_the_first_level_of_each_stream_by_hand() -> None:
    assert OnlineSelection(0.1, "lord").level == pytest.approx(
        0.05 * 0.07720838 * math.log(2), rel=1e-6
    )
    assert OnlineSelection(0.1, "saffron").level == pytest.approx(0.5 * 0.05 * 0.4374901658)
    with pytest.raises(SettingError, match="method='bh'"):
        OnlineSelection(0.1, "bh")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.5])
def test_a_stream_refuses_what_is_no_p_value_and_does_not_count_it(value: float) -> None:
    stream, other = OnlineSelection(0.1, "lord"), OnlineSelection(0.1, "lord")
    with pytest.raises(SettingError, match="expected a number in"):
        stream.select(value)
    assert stream.select(0.9) == other.select(0.9)
    assert stream.level == other.level


def test_a_stream_without_drift_seldom_raises_an_alarm_and_one_with_it_soon_does() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(200):
        monitor = DriftMonitor(rng.normal(size=100), seed)
        monitor.update(rng.normal(size=200))
        alarms += monitor.highest >= 20
        assert monitor.since() is None or monitor.highest >= 20
    assert alarms / 200 <= 0.05 + 3 * math.sqrt(0.05 / 200)
    for shift in (-1.5, 1.5):
        monitor = DriftMonitor(rng.normal(size=200))
        monitor.update(rng.normal(size=100))
        assert monitor.update(rng.normal(shift, 1, size=100)) > 1e4
        since = monitor.since()
        assert since is not None
        assert 60 <= since <= 130


def test_a_one_sided_monitor_takes_higher_scores_for_no_drift() -> None:
    """As of folds: new images score a little higher than those that calibrate."""
    rng = np.random.default_rng(0)
    alarms = {True: 0, False: 0}
    for seed in range(100):
        calibration, stream = rng.normal(size=60), rng.normal(0.5, 1, size=200)
        for two_sided in alarms:
            monitor = DriftMonitor(calibration, seed, two_sided=two_sided)
            monitor.update(stream)
            alarms[two_sided] += monitor.highest >= 20
    assert alarms[False] <= 5 < alarms[True]
    monitor = DriftMonitor(rng.normal(size=60), two_sided=False)
    monitor.update(rng.normal(0.5, 1, size=100))
    assert monitor.update(rng.normal(-1.5, 1, size=100)) > 1e4


def test_the_martingale_by_hand() -> None:
    """One image: capital is the mean of 1 + e (p - 1/2) for e in {-1, 0, 1}, which is 1; the
    second depends on where the first one was.
    """
    monitor = DriftMonitor(np.arange(9.0))
    assert monitor.update(np.array([-1.0])) == pytest.approx(1.0)
    p = [None, None]
    rng = np.random.default_rng(0)
    p[0] = rng.uniform() * 1 / 10
    p[1] = rng.uniform() * 1 / 11
    capital = np.full(3, 1 / 3)
    for value in p:
        capital = 0.99 * capital + 0.01 * capital.sum() / 3
        capital *= 1 + np.array([-1, 0, 1]) * (value - 0.5)
    assert monitor.update(np.array([-2.0])) == pytest.approx(capital.sum())


# ---------------------------------------------------------------- of a detector


def test_rate_and_guarantee_may_change_without_another_fit_and_are_kept(
    sample: Sample, tmp_path: object
) -> None:
    detector = PCA().fit(sample.train[:400])
    usual = detector.predict(sample.normal)
    strict = detector.set_params(false_alarm_rate=0.01).predict(sample.normal)
    assert (strict == -1).sum() < (usual == -1).sum()
    detector.set_params(false_alarm_rate=0.05, guarantee="confident")
    confident = detector.predict(sample.normal)
    assert (confident == -1).sum() < (usual == -1).sum()
    detector.save(f"{tmp_path}/model")
    loaded = load(f"{tmp_path}/model")
    assert np.array_equal(loaded.predict(sample.normal), confident)
    assert np.array_equal(loaded.p_values(sample.normal), detector.p_values(sample.normal))
    with pytest.raises(SettingError, match="false_alarm_rate=2"):
        detector.set_params(false_alarm_rate=2.0).save(f"{tmp_path}/other")


def test_too_few_images_for_a_selection_are_told(sample: Sample) -> None:
    detector = PCA().fit(sample.train[:60])
    with pytest.warns(AnomirrorWarning, match=r"no single anomaly .*that needs 4,999"):
        detector.select(sample.normal[:500], fdr=0.1)


def test_what_is_promised_is_said() -> None:
    detector = PCA().fit(np.random.default_rng(0).integers(0, 256, (99, 32, 32), dtype=np.uint8))
    said = detector.guarantee_sentence()
    assert "5.0 % are called anomalies on average" in said
    assert "at most 9.0 %" in said
    assert "99 cross-fitted images" in said
    assert detector.promise() is None
    assert "99" in str(detector.set_params(guarantee="confident", false_alarm_rate=0.01).promise())


def test_a_formula_that_changes_after_a_fit_takes_the_threshold_with_it(sample: Sample) -> None:
    """The raw score of likelihood alone is of another size than that of the ratio."""
    for method, changes in (
        ("likelihood_ratio", {"likelihood_only": True}),
        ("skip_ganomaly", {"image_share": 0.1}),
    ):
        detector = tiny(method).fit(sample.train[:200]).set_params(**changes)
        assert np.mean(detector.predict(sample.normal[:300]) == -1) < 0.2
        assert 0.2 < np.median(detector.p_values(sample.normal[:300])) < 0.8


def test_what_is_measured_otherwise_than_it_was_calibrated_promises_nothing(
    sample: Sample, tmp_path: Path
) -> None:
    detector = tiny("ama").fit(sample.train[:200])
    assert detector.promise() is None
    detector.set_params(scoring_precision="bf16").save(tmp_path / "model")
    for one in (detector, load(tmp_path / "model")):
        assert "scoring_precision was 'float32'" in str(one.promise())
        assert "do not hold" in one.guarantee_sentence()
    assert detector.set_params(scoring_precision="float32").promise() is None


def test_a_rate_or_guarantee_that_cannot_be_is_refused(sample: Sample) -> None:
    detector = PCA().fit(sample.train[:60])
    for changes in ({"false_alarm_rate": 9.0}, {"guarantee": "sure"}):
        with pytest.raises(SettingError, match=next(iter(changes))):
            PCA().fit(sample.train[:60]).set_params(**changes).predict(sample.normal[:3])
    with pytest.raises(SettingError, match="method='lord'"):
        detector.select(sample.normal[:3], method="lord")  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", [20, 60])
def test_groups_keep_the_rate_for_images_of_new_groups(parts: int) -> None:
    """Eight views of each part, nearly alike: as many images, but few parts."""
    rng = np.random.default_rng(0)
    rates = {0.05: [], 0.1: []}  # type: ignore[var-annotated]
    for _ in range(4000):
        scores = np.repeat(rng.normal(size=parts), 8) + 0.2 * rng.normal(size=parts * 8)
        oddest = scores.reshape(parts, 8).min(1)
        new = rng.normal() + 0.2 * rng.normal()
        for rate, flagged in rates.items():
            flagged.append(new < threshold(oddest, rate))
    for rate, flagged in rates.items():
        assert np.mean(flagged) <= rate + 3 * math.sqrt(rate / 4000)


def test_one_score_far_off_does_not_make_ties_of_all_others() -> None:
    rng = np.random.default_rng(0)
    calibration, new = np.r_[-1e6, rng.normal(size=999)], rng.normal(size=5000)
    assert np.mean(p_values(calibration, new) <= 0.05) == pytest.approx(0.05, abs=0.02)
