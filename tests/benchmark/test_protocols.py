"""Splits are disjoint, sized and reproducible."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from anomirror.benchmark.experiments import OUT_OF_DISTRIBUTION, on_disk
from anomirror.benchmark.protocols import (
    PROTOCOLS,
    Comparison,
    Labelled,
    Part,
    Protocol,
    compare,
    parse_normal,
    places_tested,
)
from anomirror.errors import InputError, SettingError

COLUMNS = ["mnist", "constant"]  # of constant grey images many are equal


def digests(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def _never_trained_on(comparison: Comparison) -> dict[str, Part]:
    """Everything that must be in no training: normal test images, validation, anomalies."""
    return {
        name: part for name, part in comparison.parts.items() if name not in ("train", "labelled")
    }


def check_nothing_tested_is_trained_on(comparison: Comparison) -> None:
    """By place, and by pixels."""
    trained = comparison.parts["train"].members()
    if "labelled" in comparison.parts:
        trained |= comparison.parts["labelled"].members()
    for name, part in _never_trained_on(comparison).items():
        assert not trained & part.members(), name
    trained_pixels = digests(comparison.train) | digests(comparison.labelled)
    tested = {"normal": comparison.normal, **comparison.anomalies}
    validated = {"validation normal": comparison.validation_normal}
    for name, images in {**tested, **validated, **comparison.validation}.items():
        assert not trained_pixels & digests(images), name
    for column, images in comparison.validation.items():
        assert not digests(images) & digests(comparison.anomalies[column]), column
    for name, part in comparison.parts.items():
        if name.startswith("validation ") and name != "validation normal":
            column = name.removeprefix("validation ")
            # validated, so not tested
            assert not part.members() & comparison.parts[column].members(), name


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("normal", "anomalies", "labelled"),
    [
        ("fashion-mnist", COLUMNS, None),
        ("fashion-mnist", COLUMNS, Labelled("mnist", 10)),
        ("fashion-mnist:1", ["rest"], None),
    ],
)
def test_no_tested_image_is_trained_on(
    data_dir: Path, protocol: Protocol, normal: str, anomalies: list[str], labelled: Labelled | None
) -> None:
    for seed in range(3):
        comparison = compare(
            normal, anomalies, seed=seed, protocol=protocol, labelled=labelled, data_dir=data_dir
        )
        check_nothing_tested_is_trained_on(comparison)
        assert len(comparison.labelled) == (10 if labelled else 0)


def test_a_sample_is_of_the_test_alone_and_the_same_in_every_seed(data_dir: Path) -> None:
    whole, *some = (
        compare("fashion-mnist:1", ["rest"], seed=seed, data_dir=data_dir, tested=n)
        for seed, n in ((0, None), (0, 40), (1, 40))
    )
    for sample in some:
        assert len(sample.normal) + len(sample.anomalies["rest"]) == 40 - sum(
            sample.copies.values()
        )
        assert 10 < len(sample.normal) < 30
        assert len(sample.train) == len(whole.train)
        for part, images in (("normal", sample.normal), ("rest", sample.anomalies["rest"])):
            assert set(sample.parts[part].indices) <= set(whole.parts[part].indices)
            assert digests(images) <= digests(
                whole.normal if part == "normal" else whole.anomalies["rest"]
            )
        assert not sample.parts["normal"].members() & sample.parts["rest"].members()
        assert len(sample.sampled["rest"]) == len(sample.anomalies["rest"])
    assert some[0].hash_of("rest") == some[1].hash_of("rest") != whole.hash_of("rest")
    apart = compare("fashion-mnist", ["mnist"], seed=0, data_dir=data_dir, tested=50)
    assert (len(apart.normal), len(apart.anomalies["mnist"]), len(apart.sampled["mnist"])) == (
        50,
        10,
        10,
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("normal", OUT_OF_DISTRIBUTION)
def test_no_tested_image_is_trained_on_in_the_real_sets(normal: str, protocol: Protocol) -> None:
    root = Path(os.environ.get("ANOMIRROR_DATA", "nowhere"))
    there = on_disk(root)
    columns = [column for column in OUT_OF_DISTRIBUTION[normal] if there(column)]
    if not there(normal):
        pytest.skip(f"{normal} is not below ANOMIRROR_DATA")
    check_nothing_tested_is_trained_on(
        compare(normal, columns, seed=0, protocol=protocol, data_dir=root)
    )


def test_copies_of_trained_images_are_left_out_and_counted(data_dir: Path) -> None:
    comparison = compare("fashion-mnist", COLUMNS, seed=0, data_dir=data_dir)
    assert comparison.copies == {"normal": 0, "validation normal": 0, "mnist": 20, "constant": 0}
    assert len(comparison.anomalies["mnist"]) == 120


def test_the_sample_is_a_fifth_of_the_normal_test_and_random(data_dir: Path) -> None:
    comparison = compare("fashion-mnist", COLUMNS, seed=0, data_dir=data_dir)
    chosen = comparison.sampled["mnist"]
    assert (len(comparison.train), len(comparison.normal), len(comparison.anomalies["mnist"])) == (
        500,
        200,
        120,
    )
    assert len(chosen) == len(set(chosen.tolist())) == 40
    assert chosen.tolist() != list(range(40))


def test_splits_are_reproducible_differ_by_seed_and_do_not_depend_on_other_columns(
    data_dir: Path,
) -> None:
    a, b, c = (
        compare("fashion-mnist", COLUMNS, seed=seed, data_dir=data_dir) for seed in (0, 0, 1)
    )
    alone = compare("fashion-mnist", ["mnist"], seed=0, data_dir=data_dir)
    assert a.hash_of("mnist") == b.hash_of("mnist") != c.hash_of("mnist")
    assert np.array_equal(a.sampled["mnist"], alone.sampled["mnist"])
    assert a.hash_of("mnist") == alone.hash_of("mnist")
    assert a.hash_of("mnist") != a.hash_of("constant")


def test_protocol_paper_sets_fifty_anomalies_aside_before_the_sample(data_dir: Path) -> None:
    comparison = compare("fashion-mnist", ["mnist"], seed=0, protocol="paper", data_dir=data_dir)
    assert len(comparison.validation["mnist"]) == 50
    assert len(comparison.anomalies["mnist"]) == 70  # 140, 20 copies, 50 set aside
    assert len(comparison.sampled["mnist"]) == 40
    assert (len(comparison.validation_normal), len(comparison.train)) == (25, 475)
    blind = compare("fashion-mnist", ["mnist"], seed=0, data_dir=data_dir)
    assert blind.validation["mnist"].size == blind.validation_normal.size == 0
    assert blind.hash_of("mnist") != comparison.hash_of("mnist")


def test_one_class_tests_the_whole_test_split(data_dir: Path) -> None:
    comparison = compare("fashion-mnist:1", ["rest"], seed=0, data_dir=data_dir)
    assert (len(comparison.train), len(comparison.normal), len(comparison.anomalies["rest"])) == (
        250,
        100,
        100,
    )
    assert comparison.parts["train"].indices.tolist() == list(range(1, 500, 2))
    assert len(comparison.sampled["rest"]) == 100
    assert parse_normal("mnist:3") == ("mnist", 3)
    assert parse_normal("mnist") == ("mnist", None)


def test_the_places_of_tested_images_are_known_unless_a_split_is_tested_whole(
    data_dir: Path,
) -> None:
    comparison = compare("fashion-mnist:1", ["rest"], seed=0, protocol="paper", data_dir=data_dir)
    places = places_tested(comparison)
    assert places.keys() == {"normal", "rest"}
    for name, flags in places.items():
        assert np.array_equal(np.flatnonzero(flags), comparison.parts[name].indices)
    sampled = compare("fashion-mnist", ["constant"], seed=0, data_dir=data_dir)
    places = places_tested(sampled)
    assert places.keys() == {"constant"}
    tested = sampled.parts["constant"].indices[sampled.sampled["constant"]]
    assert np.array_equal(np.flatnonzero(places["constant"]), tested)


def test_labelled_anomalies_come_from_the_train_split(data_dir: Path) -> None:
    comparison = compare(
        "fashion-mnist", ["mnist"], seed=0, labelled=Labelled("mnist", 10), data_dir=data_dir
    )
    part = comparison.parts["labelled"]
    assert (part.dataset, part.split, len(part.indices)) == ("mnist", "train", 10)


def test_what_cannot_be_compared_is_refused(data_dir: Path) -> None:
    for normal, anomalies, more, message in (
        ("fashion-mnist", ["fashion-mnist"], {}, "cannot be an anomaly set as well"),
        ("fashion-mnist:1", ["mnist"], {}, "the only column is 'rest'"),
        ("fashion-mnist:7", ["rest"], {}, "no image of class 7; the set's classes are 0 to 1"),
        ("fashion-mnist", ["dessert"], {}, "no folder, nor a data set"),
        ("fashion-mnist", ["mnist", "mnist"], {}, "named twice"),
        ("fashion-mnist", ["mnist"], {"protocol": "open"}, "choose blind or paper"),
        (
            "fashion-mnist",
            ["mnist"],
            {"labelled": Labelled("uniform", 3)},
            "has no train split for labelled",
        ),
        (
            "fashion-mnist",
            ["mnist"],
            {"labelled": Labelled("mnist", 61)},
            "mnist has 60 training images, 61 labelled",
        ),
    ):
        with pytest.raises((SettingError, InputError), match=message):
            compare(normal, anomalies, seed=0, data_dir=data_dir, **more)  # type: ignore[arg-type]
