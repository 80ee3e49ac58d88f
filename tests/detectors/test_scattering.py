"""The scattering detector: its four models by hand, what folds share, and what it finds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.covariance import LedoitWolf
from torch import Tensor

from anomirror import PCA, Detector, Scattering, load
from anomirror.data.proxies import defects
from anomirror.detectors import scattering as module
from anomirror.detectors.usual import HEADS, Gaussian, Reduction, Usual, texture
from anomirror.errors import AnomirrorWarning, ModelFileError, SettingError
from anomirror.metrics import auroc
from tests.first_hour.conftest import tiles
from tests.tiny import tiny


@pytest.fixture(scope="module")
def maps() -> Tensor:
    """``(30, 4, 2, 3)`` with another spread in each channel."""
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(30, 4, 2, 3, generator=generator) * torch.tensor([1.0, 2, 3, 4])[:, None, None]
    )


@pytest.fixture(scope="module")
def usual(maps: Tensor) -> Usual:
    return Usual.of(maps, components=5, neighbors=3, shrinkage=0.2)


def test_the_residual_is_what_the_components_leave(maps: Tensor, usual: Usual) -> None:
    flat = maps.flatten(1).double().numpy()
    centred = flat - flat.mean(0)
    components = np.linalg.svd(centred, full_matrices=False)[2][:5]
    left = centred - centred @ components.T @ components
    found = usual.statistics(maps, ["residual"])
    assert_allclose(found["residual"], (left**2).sum(1), rtol=1e-4)
    assert found.keys() == {"residual"}


def test_the_distance_is_that_of_the_nearest_maps(maps: Tensor, usual: Usual) -> None:
    new = maps[:4] + 0.5
    centred = (maps - maps.mean(0)).flatten(1).double() @ usual.components.T.double()
    own = (new - maps.mean(0)).flatten(1).double() @ usual.components.T.double()
    expected = torch.cdist(own, centred).sort(1).values[:, :3].mean(1)
    assert_allclose(usual.statistics(new, ["distance"])["distance"], expected, rtol=1e-5)


def test_the_gaussian_of_each_position_is_shrunk(maps: Tensor, usual: Usual) -> None:
    distances = usual.mahalanobis(maps[:2])
    assert distances.shape == (2, 2, 3)
    for row in range(2):
        for column in range(3):
            values = maps[:, :, row, column].double().numpy()
            covariance = np.cov(values.T, bias=True)
            shrunk = 0.8 * covariance + 0.2 * np.trace(covariance) / 4 * np.eye(4)
            away = values[:2] - values.mean(0)
            expected = np.einsum("ni,ij,nj->n", away, np.linalg.inv(shrunk), away) / 4
            assert_allclose(distances[:, row, column], expected, rtol=1e-4)
    oddest = usual.statistics(maps[:2], ["mahalanobis"])["mahalanobis"]
    assert_array_equal(oddest, distances.flatten(1).amax(1))


def test_a_reduction_keeps_what_varies_and_every_channel_counts_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(200, 1, 3, 3, generator=generator)
    other = torch.randn(200, 1, 3, 3, generator=generator)
    paths = torch.cat([one, 1000 * one + 5, other], 1)
    reduced = Reduction.of(paths, 1)(paths)
    assert reduced.shape == (200, 1, 3, 3)
    together = np.corrcoef(reduced.flatten(), one.flatten())[0, 1]
    assert abs(together) > 0.99


def test_the_raw_score_is_the_oddest_head_in_spreads() -> None:
    images, new = tiles(60, size=32), tiles(20, 9, size=32)
    detector = cast(Scattering, tiny("scattering").fit(images))
    measured = detector.statistics(new)
    expected = np.max(
        [
            (np.log(measured[name]) - detector.centres_[name]) / detector.spreads_[name]
            for name in HEADS
        ],
        axis=0,
    )
    assert_allclose(detector.raw_scores(new), expected)


@pytest.mark.parametrize("count", [120, 1500])
def test_every_head_is_in_the_middle_for_unseen_images(count: int) -> None:
    """Fits on most of the images say where it is: not those that saw them, nor far smaller ones."""
    images = tiles(count + 300, size=32)
    detector = cast(Scattering, tiny("scattering").fit(images[:count]))
    measured = detector.statistics(images[count:])
    for name in HEADS:
        deviations = np.log(measured[name]) - detector.centres_[name]
        assert abs(np.median(deviations)) < 0.4 * detector.spreads_[name]


def test_copies_and_groups_never_make_heads_comparable_among_themselves() -> None:
    images = tiles(50, size=32)
    once = cast(Scattering, tiny("scattering").fit(images))
    copied = cast(Scattering, tiny("scattering").fit(np.repeat(images, 6, 0)))
    rng = np.random.default_rng(0)
    near = np.repeat(images, 6, 0) + rng.integers(0, 2, (300, 1, 1), dtype=np.uint8)
    grouped = cast(Scattering, tiny("scattering").fit(near, groups=np.repeat(np.arange(50), 6)))
    for name in HEADS:
        for other in (copied, grouped):
            # the rule of Ledoit and Wolf takes copies for more images, and shrinks less
            most = 4 if name == "texture" else 2
            assert abs(other.centres_[name] - once.centres_[name]) < most * once.spreads_[name]
            assert other.spreads_[name] < most * once.spreads_[name]


@pytest.mark.parametrize("count", range(2, 8))
def test_a_handful_of_images_is_fitted(count: int) -> None:
    with pytest.warns(AnomirrorWarning):
        detector = tiny("scattering").fit(tiles(count, size=32))
    assert np.isfinite(detector.raw_scores(tiles(3, 9, size=32))).all()
    few = tiny("scattering", n_components=1).fit(tiles(40, size=32))
    assert np.isfinite(few.raw_scores(tiles(3, 9, size=32))).all()


def test_what_is_set_after_a_fit_does_not_change_a_saved_model(tmp_path: Path) -> None:
    new = tiles(5, 9, size=32)
    detector = tiny("scattering").fit(tiles(40, size=32))
    before = detector.raw_scores(new)
    detector.set_params(n_neighbors=1, angles=2, scales=2, channels=3, shrinkage=0.5)
    assert_array_equal(detector.raw_scores(new), before)
    detector.save(tmp_path / "model")
    assert_array_equal(load(tmp_path / "model").raw_scores(new), before)


def test_another_head_takes_threshold_and_p_values_with_it() -> None:
    images, new = tiles(100, size=32), tiles(200, 9, size=32)
    detector = tiny("scattering").fit(images)
    before = detector.raw_scores(new)
    for head in HEADS:
        detector.set_params(head=head)
        assert not np.array_equal(detector.raw_scores(new), before)
        assert np.mean(detector.predict(new) == -1) < 0.15
        assert detector.promise() is None
    with pytest.raises(SettingError, match="head='best'"):
        tiny("scattering", head="best").fit(images)


@pytest.fixture
def transformed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call transforms."""
    counts: list[int] = []
    whole = module.log_scattering

    def counted(x: Tensor, scales: int, angles: int) -> Tensor:
        counts.append(len(x))
        return whole(x, scales, angles)

    monkeypatch.setattr(module, "log_scattering", counted)
    return counts


def test_all_folds_share_one_transform(
    transformed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, new = tiles(60, size=32), tiles(10, 9, size=32)
    detector = tiny("scattering").fit(images)
    assert (detector.calibrated_by_, sum(transformed)) == ("folds", 60)
    raw = tiny("scattering").out_of_fold(images)
    assert sum(transformed) == 120
    scores, values = detector.raw_scores(new), detector.calibration_raw_
    assert cast(Scattering, detector)._known is None
    broken = tiny("scattering")
    with monkeypatch.context() as patched:
        patched.setattr(Usual, "of", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            broken.fit(images)
    assert cast(Scattering, broken)._known is None
    monkeypatch.setattr(Scattering, "_sharing", Detector._sharing)
    transformed.clear()
    alone = tiny("scattering").fit(images)
    assert sum(transformed) > 20 * 60
    assert_allclose(alone.raw_scores(new), scores, rtol=1e-5, atol=1e-5)
    assert_allclose(alone.calibration_raw_, values, rtol=1e-5, atol=1e-5)
    assert_allclose(tiny("scattering").out_of_fold(images), raw, rtol=1e-5, atol=1e-5)


def test_it_finds_small_defects_that_pixels_do_not_show_and_says_where() -> None:
    images, good = tiles(150, size=64), tiles(80, 9, size=64)
    bad = defects(good, seed=1)
    ours, pixels = Scattering(random_state=0).fit(images), PCA(image_size=64).fit(images)
    found, by_pixels = (
        auroc(each.score_samples(good), each.score_samples(bad)) for each in (ours, pixels)
    )
    assert found > 0.75
    assert found > by_pixels - 0.02
    changed = np.abs(bad.astype(float) - good).reshape(len(bad), 8, 8, 8, 8).max((2, 4)) > 60
    maps = ours.explain(bad).reshape(len(bad), 8, 8, 8, 8).mean((2, 4))
    inside = np.mean([m[c].mean() for m, c in zip(maps, changed, strict=True) if c.any()])
    outside = np.mean([m[~c].mean() for m, c in zip(maps, changed, strict=True)])
    assert inside > 10 * outside


def test_a_model_whose_tensors_do_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    detector = cast(Scattering, tiny("scattering").fit(tiles(30, size=32)))
    detector.usual_ = Usual.restored(
        5,
        detector.usual_.mean[:-1],
        detector.usual_.components,
        detector.usual_.neighbors,
        detector.usual_.whitening,
        detector.usual_.texture,
    )
    detector.save(folder)
    with pytest.raises(ModelFileError, match=r"mean has shape \(15, 4, 4\), not \(16, 4, 4\)"):
        load(folder)


def test_noise_is_odd_to_a_texture_whose_every_place_is_usual() -> None:
    """Positions that are usual by themselves, but of one kind where normal images have many."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(0, 3, (200, 1, 4, 4)) + rng.normal(size=(200, 6, 4, 4))
    maps = torch.from_numpy(kinds).float()
    usual = Usual.of(maps, components=8, neighbors=5, shrinkage=0.1)
    new = torch.from_numpy(rng.normal(0, 3, (50, 1, 4, 4)) + rng.normal(size=(50, 6, 4, 4))).float()
    uniform = new.mean((2, 3), keepdim=True) + 0.1 * (new - new.mean((2, 3), keepdim=True))
    good, odd = (usual.statistics(each, HEADS) for each in (new, uniform))
    assert odd["texture"].median() > 2 * good["texture"].median()
    assert odd["mahalanobis"].median() < good["mahalanobis"].median()


def test_the_gaussian_of_textures_is_that_of_ledoit_and_wolf() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 6)) @ np.diag([1, 2, 3] * 2))
    expected = LedoitWolf().fit(rows.numpy()).mahalanobis(rows.numpy()) / 6
    distances = Gaussian.of(rows.float()).distances(rows.float())
    assert_allclose(distances, expected, rtol=1e-3)
    maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    deviation = math.sqrt(1.25)
    assert_allclose(texture(maps), [[1.5, 5.5, deviation, deviation]], rtol=1e-6)


def test_images_without_any_structure_have_finite_scores() -> None:
    flat = np.full((20, 32, 32), 7, np.uint8)
    detector = tiny("scattering", calibration="train").fit(flat)
    assert np.isfinite(detector.raw_scores(tiles(5, size=32))).all()
    assert np.isfinite(detector.raw_scores(flat)).all()
    assert math.isfinite(detector.map_scale_)
