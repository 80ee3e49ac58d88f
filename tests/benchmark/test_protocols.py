"""Splits are disjoint, sized and reproducible; cells hold what a table needs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from anomirror.benchmark.protocols import out_of_distribution
from anomirror.benchmark.runner import cells
from anomirror.benchmark.tables import read_cells, table
from anomirror.data.sample import Sample
from anomirror.errors import InputError
from anomirror.metrics import auroc
from tests.tiny import TINY


def write_idx(file: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    """Small sets in the official format: 500 + 200 clothes, 60 + 100 digits."""
    root = tmp_path_factory.mktemp("data")
    parts = {
        "fashion-mnist/train": sample.train[:500],
        "fashion-mnist/t10k": sample.normal[:200],
        "mnist/train": sample.anomalies[:60],
        "mnist/t10k": sample.anomalies[100:],
    }
    for name, images in parts.items():
        write_idx(root / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(root / f"{name}-labels-idx1-ubyte.gz", np.zeros(len(images)))
    return root


def test_the_sample_is_a_fifth_of_the_normal_test_and_random(data_dir: Path) -> None:
    split = out_of_distribution("fashion-mnist", ["mnist"], seed=0, data_dir=data_dir)
    chosen = split.sampled["mnist"]
    assert (len(split.train), len(split.normal), len(split.anomalies["mnist"])) == (500, 200, 100)
    assert len(chosen) == len(set(chosen.tolist())) == 40
    assert chosen.tolist() != list(range(40))


def test_splits_are_reproducible_and_differ_by_seed(data_dir: Path) -> None:
    a, b, c = (out_of_distribution("fashion-mnist", ["mnist"], seed=s, data_dir=data_dir) for s in (0, 0, 1))
    assert a.split == b.split != c.split
    assert np.array_equal(a.sampled["mnist"], b.sampled["mnist"])


def test_known_anomalies_come_from_the_train_split(data_dir: Path, sample: Sample) -> None:
    split = out_of_distribution("fashion-mnist", ["mnist"], seed=0, known=("mnist", 10), data_dir=data_dir)
    assert split.known is not None
    train = {image.tobytes() for image in sample.anomalies[:60]}
    test = {image.tobytes() for image in split.anomalies["mnist"]}
    known = {image.tobytes() for image in split.known}
    assert len(known) == 10
    assert known <= train
    assert not known & test


def test_one_training_writes_every_cell_and_is_not_repeated(data_dir: Path, tmp_path: Path) -> None:
    arguments = {"normal": "fashion-mnist", "anomalies": ["mnist"], "seed": 0, "preset_name": "cpu", "out": tmp_path}
    files = cells("pca", {"n_components": 8}, data_dir=data_dir, **arguments)  # type: ignore[arg-type]
    assert [file.name for file in files] == ["pca-cpu-seed0-mnist-one-sided.json", "pca-cpu-seed0-mnist-two-sided.json"]
    cell = json.loads(files[0].read_text())
    assert cell["metrics"]["auroc"] > 0.7
    assert cell["metrics"]["auroc_ci"][0] <= cell["metrics"]["auroc"] <= cell["metrics"]["auroc_ci"][1]
    for key in ("method", "variant", "seed", "protocol", "preset", "parameters", "split", "cost", "versions", "command"):
        assert key in cell
    with np.load(files[0].parent / cell["scores_file"]) as scores:
        assert scores["raw_normal"].dtype == np.float32
        assert scores["raw_mnist"].shape == (100,)
        assert scores["sampled_mnist"].shape == (40,)
    before = files[0].stat().st_mtime_ns
    cells("pca", {"n_components": 8}, data_dir=data_dir, **arguments)  # type: ignore[arg-type]
    assert files[0].stat().st_mtime_ns == before


def test_cells_name_their_scorer_and_two_sided_is_the_detectors_own(data_dir: Path, tmp_path: Path) -> None:
    """The published A-scores are those that the detector gives."""
    folder = tmp_path / "results"
    files = cells(
        "ama", TINY["ama"], normal="fashion-mnist", anomalies=["mnist"], seed=0, preset_name="cpu", out=folder, data_dir=data_dir
    )
    one, two = (json.loads(file.read_text()) for file in files)
    assert (one["scorer"], two["scorer"]) == ("negate", "log-gaussian")
    with np.load(files[0].parent / one["scores_file"]) as scores:
        sampled = scores["sampled_mnist"]
        for cell, kind in ((one, "raw"), (two, "normality")):
            sign = -1 if kind == "raw" else 1
            expected = auroc(sign * scores[f"{kind}_normal"], sign * scores[f"{kind}_mnist"][sampled])
            assert cell["metrics"]["auroc"] == pytest.approx(expected, abs=3e-4)
    mixed = [two, {**two, "seed": 1, "scorer": "gaussian"}]
    with pytest.raises(InputError, match="cells of scorers log-gaussian and gaussian"):
        table(mixed)


def test_a_table_gives_mean_and_spread_over_seeds(data_dir: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        cells(
            "pca",
            {"n_components": 8},
            normal="fashion-mnist",
            anomalies=["mnist"],
            seed=seed,
            preset_name="cpu",
            out=tmp_path,
            data_dir=data_dir,
        )
    lines = table(read_cells(str(tmp_path), "method=pca")).splitlines()
    assert lines[0] == "| method | score | preset | fashion-mnist → mnist | seeds |"
    assert lines[2].startswith("| pca | one-sided | cpu | 0.")
    assert "±" in lines[2]
    assert lines[2].endswith("| 2 |")
    assert read_cells(str(tmp_path), "method=ama") == []
