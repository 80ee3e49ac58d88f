"""Brightness, contrast and sharpness as controls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from anomirror.benchmark.cells import Entry, write_arrays
from anomirror.benchmark.experiments import Settings, trials
from anomirror.benchmark.measure import measure
from anomirror.benchmark.protocols import compare
from anomirror.errors import InputError
from anomirror.metrics import auroc
from studies.controls import (
    NUMBERS,
    brightness,
    contrast,
    found_by_numbers,
    main,
    rank_correlations,
    sharpness,
)
from tests.benchmark.test_tables import entry


def test_numbers_of_pictures_that_can_be_counted() -> None:
    stripes = np.zeros((2, 4, 4, 3), np.uint8)
    # columns of 200 and 0; every step along a row is 200, none along a column
    stripes[0, :, ::2] = 200
    assert brightness(stripes).tolist() == [100, 0]
    assert contrast(stripes).tolist() == [100, 0]
    assert sharpness(stripes).tolist() == [100, 0]


def test_each_column_is_read_as_a_raw_score_is(data_dir: Path) -> None:
    comparison = compare("fashion-mnist", ["mnist", "constant"], seed=0, data_dir=data_dir)
    found = found_by_numbers(comparison)
    assert found.keys() == NUMBERS.keys()
    normal = comparison.normal.mean((1, 2, 3))
    digits = comparison.anomalies["mnist"][comparison.sampled["mnist"]].mean((1, 2, 3))
    assert found["brightness"]["one-sided"]["mnist"] == pytest.approx(auroc(-normal, -digits))
    train = comparison.train.mean((1, 2, 3))
    # a Gaussian's density falls with it
    distance = [np.abs(values - train.mean()) for values in (normal, digits)]
    assert found["brightness"]["two-sided"]["mnist"] == pytest.approx(
        auroc(-distance[0], -distance[1])
    )
    assert found["sharpness"]["one-sided"]["constant"] == 0  # nothing is less sharp


def test_scores_rank_beside_a_number(data_dir: Path, tmp_path: Path) -> None:
    comparison = compare("fashion-mnist", ["mnist"], seed=0, data_dir=data_dir)
    bright = brightness(comparison.normal)
    raw = {"": rankdata(bright) ** 3, "plain-r": -bright}
    entries = []
    for scoring, values in raw.items():
        made = entry(0.9, scoring=scoring)
        column = made.column.model_copy(update={"split": comparison.hash_of("mnist")})
        record = made.record.model_copy(update={"columns": {"mnist": column}})
        entries.append(Entry(record, made.cell, tmp_path / f"{scoring or 'own'}.json"))
        write_arrays(entries[-1].file, {record.array_name(made.cell, "normal"): values}, add=False)
    found = rank_correlations(comparison, entries)
    assert found.keys() == {"ama", "ama, plain-r"}
    assert found["ama"]["brightness"] == pytest.approx(1)
    assert found["ama, plain-r"]["brightness"] == pytest.approx(-1)
    with pytest.raises(InputError, match="measured on other images"):
        rank_correlations(comparison, [entry(0.9)])


def test_columns_may_be_named(data_dir: Path, tmp_path: Path) -> None:
    (trial,) = trials("fashion-mnist", ["constant"], Settings(("pca",)))
    measure(trial, tmp_path, data_dir)
    main(
        "fashion-mnist",
        results=tmp_path,
        out=tmp_path / "out",
        methods="pca",
        anomalies="constant",
        data_dir=data_dir,
    )
    cell = json.loads((tmp_path / "out" / "fashion-mnist.json").read_text())
    assert cell["auroc"]["brightness"]["one-sided"].keys() == cell["splits"].keys() == {"constant"}
    assert cell["rank_correlation"].keys() == {"pca"}
