"""Scorers: the A-score against scipy, and far beyond where a density is zero."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from anomirror.errors import SettingError
from anomirror.scoring import SCORERS, GaussianDensity, Negate, make_scorer, scorer_name


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


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_is_restored_from_its_state(name: str) -> None:
    raw = np.random.default_rng(0).normal(size=50)
    scorer = make_scorer(name).fit(raw)
    assert_allclose(make_scorer(name).restore(scorer.state()).normality(raw), scorer.normality(raw), rtol=0)
    assert scorer_name(scorer) == name


def test_scorers_by_name_and_by_object() -> None:
    assert isinstance(make_scorer("negate"), Negate)
    given = GaussianDensity()
    assert make_scorer(given) is not given
    with pytest.raises(SettingError, match="choose one of negate, gaussian"):
        make_scorer("pdf")
    with pytest.raises(SettingError, match="expected a name"):
        make_scorer(3)  # type: ignore[arg-type]
