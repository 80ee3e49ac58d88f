"""Scorers: the A-score against scipy, and far beyond where a density is zero."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from anomirror.errors import SettingError
from anomirror.scorers import (
    SCORERS,
    GaussianDensity,
    LogGaussianDensity,
    Negate,
    both_sides,
    make_scorer,
    scorer_name,
)


def test_a_score_is_the_log_density_of_the_fitted_gaussian() -> None:
    raw = np.random.default_rng(0).gamma(3.0, size=1000)
    scorer = GaussianDensity().fit(raw)
    at = np.array([0.0, 1.0, 7.5])
    assert_allclose(scorer.normality(at), norm(raw.mean(), raw.std()).logpdf(at), rtol=1e-12)


def test_a_score_at_fifty_sigma_has_no_ties() -> None:
    scorer = GaussianDensity().fit(np.array([-1.0, 1.0]))
    far = np.linspace(50.0, 51.0, 1000)
    assert (norm.pdf(far) == 0).all()  # what the paper's density gives
    scores = scorer.normality(far)
    assert len(np.unique(scores)) == 1000
    assert (np.diff(scores) < 0).all()


def test_a_score_is_two_sided() -> None:
    scorer = GaussianDensity().fit(np.array([4.0, 6.0]))
    low, middle, high = scorer.normality(np.array([1.0, 5.0, 9.0]))
    assert low == high < middle


def test_constant_raw_scores_do_not_divide_by_zero() -> None:
    scores = GaussianDensity().fit(np.full(5, 3.0)).normality(np.array([3.0, 3.1]))
    assert np.isfinite(scores).all()
    assert scores[0] > scores[1]


def test_the_log_density_has_its_centre_at_the_median_and_is_symmetric_in_ratios() -> None:
    raw = np.exp(np.random.default_rng(0).normal(2.0, 0.5, size=100_001))
    scorer = LogGaussianDensity().fit(raw)
    at = np.array([0.1, 5.0, 80.0])
    assert_allclose(scorer.normality(at), norm(2.0, 0.5).logpdf(np.log(at)), rtol=0.03)
    median = float(np.median(raw))
    half, own, double, far = scorer.normality(median * np.array([0.5, 1.0, 2.0, 1e9]))
    assert half == pytest.approx(double)
    assert own > half > far


def test_a_long_tail_moves_the_gaussian_of_raw_scores_and_not_that_of_their_logarithms() -> None:
    """2 % of the normal images have a raw score a hundred times the others': too low must not mean
    typical of most.
    """
    raw = np.exp(np.random.default_rng(0).normal(0.0, 0.3, size=1000))
    tailed = np.r_[raw[:-20], 100 * raw[-20:]]
    mean, median = GaussianDensity().fit(tailed), LogGaussianDensity().fit(tailed)
    # three times the commonest is called more normal
    assert mean.normality(np.array([1.0])) < mean.normality(np.array([3.0]))
    assert median.normality(np.array([1.0])) > median.normality(np.array([3.0]))
    without = LogGaussianDensity().fit(raw)
    assert median.median_ == pytest.approx(without.median_, abs=0.05)
    assert median.scale_ == pytest.approx(without.scale_, rel=0.05)


def test_the_log_density_takes_zeros_ties_and_nothing_negative() -> None:
    zeros = LogGaussianDensity().fit(np.array([0.0, 1.0, 1.5, 2.0])).normality(np.array([0.0, 1.2]))
    assert np.isfinite(zeros).all()
    assert zeros[0] < zeros[1]
    for ties in (np.full(5, 3.0), np.zeros(5), np.array([3.0, 3.0, 3.0, 3.1])):
        same, other = LogGaussianDensity().fit(ties).normality(np.array([ties[0], 4.0]))
        assert np.isfinite([same, other]).all()
        assert same > other
    far, further = (
        LogGaussianDensity().fit(np.array([0.0, 0.0, 0.0, 2.0])).normality(np.array([1.0, 100.0]))
    )
    assert far > further + 1
    with pytest.raises(SettingError, match="at least 0, and the lowest is -0.5"):
        LogGaussianDensity().fit(np.array([-0.5, 1.0]))


def test_both_sides_keep_a_density_of_the_detectors_own() -> None:
    kinds = {own: [type(s) for s in both_sides(SCORERS[own]()).values()] for own in SCORERS}
    assert kinds == {
        "negate": [Negate, GaussianDensity],
        "gaussian": [Negate, GaussianDensity],
        "log-gaussian": [Negate, LogGaussianDensity],
    }


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_is_restored_from_its_state(name: str) -> None:
    raw = np.r_[0.0, np.random.default_rng(0).gamma(3.0, size=50)]
    scorer = make_scorer(name).fit(raw)
    assert_allclose(
        make_scorer(name).restore(scorer.state()).normality(raw), scorer.normality(raw), rtol=0
    )
    assert scorer_name(scorer) == name


def test_scorers_by_name_and_by_object() -> None:
    assert isinstance(make_scorer("negate"), Negate)
    given = GaussianDensity()
    assert make_scorer(given) is not given
    with pytest.raises(SettingError, match="choose one of negate, gaussian, log-gaussian"):
        make_scorer("pdf")
    with pytest.raises(SettingError, match="expected a name"):
        make_scorer(3)  # type: ignore[arg-type]
