"""What calibrates a fitted detector stays true when parameters change after the fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomirror import KNN, Detector, load
from anomirror.images import ImageSet
from tests.first_hour.conftest import tiles
from tests.tiny import tiny


@pytest.mark.parametrize("head", ["residual", "distance", "mahalanobis"])
def test_another_formula_takes_the_image_of_each_group_that_is_oddest_under_it(
    tmp_path: Path, head: str
) -> None:
    images, groups = tiles(100, size=32), np.repeat(np.arange(25), 4)
    changed = tiny("scattering").fit(images, groups=groups).set_params(head=head)
    fresh = tiny("scattering", head=head).fit(images, groups=groups)
    assert np.array_equal(changed.calibration_, fresh.calibration_)
    assert len(changed.calibration_) == changed.calibrated_on_ == 25
    changed.save(tmp_path / "model")
    again = load(tmp_path / "model").set_params(head="oddest")
    before = tiny("scattering").fit(images, groups=groups)
    assert np.array_equal(again.calibration_, before.calibration_)
    assert again.calibrated_images_ == 100


def test_images_that_choose_an_epoch_do_not_calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[str] = []
    detector = tiny("alad", epochs=2)
    learn = type(detector)._learn

    def noting(
        self: Detector, normal: ImageSet, heldout: ImageSet, anomalies: ImageSet | None
    ) -> None:
        watched.extend(heldout.names)
        learn(self, normal, heldout, anomalies)  # type: ignore[arg-type]

    monkeypatch.setattr(type(detector), "_learn", noting)
    images = tiles(200, size=32)
    detector.fit(images, groups=np.arange(200) // 2)
    assert detector.n_train_ == 160
    assert len(watched) == 20
    choosing = {int(name.split()[-1]) for name in watched}
    assert {place ^ 1 for place in choosing} == choosing  # groups of two stay whole
    calibrating = detector.calibrating_
    assert len(calibrating.raw) == 20
    assert calibrating.groups == detector.calibrated_on_ == 10
    others = np.setdiff1d(np.arange(200), sorted(choosing))
    raw = detector.raw_scores(images[others])
    assert all(np.isclose(raw, value, rtol=1e-4).any() for value in calibrating.raw)


def test_a_parameter_that_was_changed_after_the_fit_is_not_saved_as_if_it_had_decided_it(
    tmp_path: Path,
) -> None:
    images = tiles(60, size=32)
    model = KNN(image_size=None).fit(images)
    model.set_params(n_neighbors=1, false_alarm_rate=0.1).save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.get_params()["n_neighbors"], again.false_alarm_rate) == (5, 0.1)
    assert np.array_equal(again.p_values(images), model.p_values(images))
