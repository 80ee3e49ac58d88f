"""What a person sees of a choice: ``compare``, ``fit`` without a method, ``info``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anomirror import KNN, PCA, Auto, load
from anomirror.errors import ImageError, SettingError
from anomirror.images import open_images
from anomirror.synthetic import KINDS
from anomirror.workflows.comparing import affordable, compare_on
from tests.commands import failed, run
from tests.first_hour.conftest import spotted, tiles, write


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good/ (100 tiles), few/ (30 of them), bad/ (5 spotted ones)."""
    place = tmp_path_factory.mktemp("choosing")
    write(tiles(100, size=32), place / "good")
    write(tiles(30, size=32), place / "few")
    write(spotted(tiles(5, 9, size=32)), place / "bad")
    return place


def test_fit_without_a_method_says_what_it_took_and_info_repeats_it(photos: Path) -> None:
    done = run("fit", photos / "good", "--out", photos / "model")
    assert done.returncode == 0, done.stderr
    said = done.stderr
    assert "taken, by mean AUROC on anomalies that are made up of these images" in said
    model = load(photos / "model")
    assert isinstance(model, Auto)
    assert {each.name for each in model.tried_} == {"scattering", "pca", "knn"}
    assert [each.name for each in model.tried_ if each.chosen] == list(model.members_)
    best = max(each.mean for each in model.tried_)
    assert all(each.chosen == (each.mean >= best - 0.1) for each in model.tried_)
    shown = run("info", photos / "model").stdout
    assert "tried.scattering" in shown
    assert "member." in shown
    told = json.loads(run("info", photos / "model", "--json").stdout)
    assert set(told["tried"][0]["auroc"]) == set(KINDS)
    scored = run("score", photos / "model", photos / "bad", "--statistics", "--maps", photos / "m")
    assert scored.returncode == 0, scored.stderr
    heading, *rows = scored.stdout.splitlines()
    assert "scattering.texture" in heading
    assert all(row.split(",")[2] == "1" for row in rows)
    assert len(list((photos / "m").iterdir())) == 5


def test_of_few_images_it_says_that_nothing_was_tried(photos: Path) -> None:
    done = run("fit", photos / "few", "--out", photos / "few-model")
    assert "too few images to try methods: scattering is taken" in done.stderr
    failed(
        run("compare", photos / "few"),
        "30 different normal images or groups: at least 50 are needed",
    )


def test_what_there_is_no_time_for_is_named(photos: Path) -> None:
    fit = ("fit", photos / "good", "--out", photos / "quick", "--overwrite")
    done = run(*fit, "--minutes", "0.001")
    assert "pca is not tried: with it this would take about" in done.stderr
    assert "(--minutes 1 tries it)" in done.stderr
    assert list(load(photos / "quick").members_) == ["scattering"]  # type: ignore[attr-defined]
    assert "too few images" not in done.stderr
    assert run(*fit, "--minutes", "60").returncode == 0
    assert len(load(photos / "quick").tried_) == 3  # type: ignore[attr-defined]
    assert "complete already" in run(*fit[:-1], "--resume").stderr
    failed(run(*fit[:-1], "--resume", "--with", "ama"), "was fitted with candidates=")
    failed(run(*fit, "--minutes", "0"), "--minutes 0: expected more than 0")
    failed(run(*fit, "--minutes", "nan"), "expected more than 0")
    failed(run(*fit, "--method", "pca", "--minutes", "1"), "--minutes: pca has no candidates")
    failed(run(*fit, "--with", "svm"), "no method named 'svm'")


def test_compare_shows_every_kind_and_real_anomalies_beside(photos: Path) -> None:
    done = run("compare", photos / "good", "--anomalies", photos / "bad")
    assert done.returncode == 0, done.stderr
    for said in (*(kind.replace("_", " ") for kind in KINDS), "5 real ones", "images/s scored"):
        assert said in done.stdout
    assert "20 unseen normal images against 20" in " ".join(done.stdout.split())
    assert "made up" in done.stderr
    told = json.loads(run("compare", photos / "good", "--with", "pca", "--json").stdout)
    names = [each["name"] for each in told["candidates"]]
    assert names == ["scattering", "pca", "knn", "pca2"]
    assert told["candidates"][0]["real"] is None
    for each in told["candidates"]:
        assert set(each["kinds"]) == set(KINDS)
        assert each["mean"] == pytest.approx(
            np.mean([kind["auroc"] for kind in each["kinds"].values()])
        )
        assert all(0 <= k["low"] <= k["auroc"] <= k["high"] <= 1 for k in each["kinds"].values())
    assert told["candidates"][1]["kinds"] == told["candidates"][3]["kinds"]
    failed(run("compare", photos / "nothing"), "no such file or folder")


def test_real_anomalies_choose_nothing() -> None:
    images = open_images(tiles(100, size=32), image_size=None)
    auto = Auto(detectors=[PCA(n_components=8), KNN(n_components=8)], image_size=None)
    without = compare_on(auto, images)
    beside = compare_on(auto, images, anomalies=[spotted(tiles(7, 9, size=32))])
    assert [each.chosen for each in without.candidates] == [e.chosen for e in beside.candidates]
    assert (without.real, beside.real) == (0, 7)
    pca, knn = beside.candidates
    assert pca.real is not None
    assert knn.real is not None
    assert pca.real.auroc > 0.9
    assert knn.real.low <= knn.real.auroc <= knn.real.high
    with pytest.raises(ImageError):
        compare_on(auto, images, anomalies=[np.empty((0, 32, 32), np.uint8)])


def test_the_first_candidate_always_stays() -> None:
    images = open_images(tiles(100, size=32), image_size=None)
    within = affordable(Auto(image_size=None), images, 1e-6)
    assert [each.method for each in within.detector.candidates()] == ["scattering"]
    assert set(within.left_out) == {"pca", "knn"}
    everything = affordable(Auto(image_size=None), images, 60)
    assert (len(everything.detector.candidates()), everything.left_out) == (3, {})
    with pytest.raises(SettingError, match="expected more than 0"):
        affordable(Auto(), images, -1)
