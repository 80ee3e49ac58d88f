"""Results and data sets from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anomirror.benchmark import experiments
from anomirror.benchmark.cells import read_record
from anomirror.cli.app import app
from anomirror.errors import AnomirrorError
from studies.speed.tables import trainings_table
from tests.commands import failed, run
from tests.tiny import TINY


@pytest.fixture(autouse=True)
def _no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANOMIRROR_DATA", raising=False)


def refused(message: str, *arguments: object, data_dir: Path | None = None) -> None:
    """With this error, which may be of several lines."""
    where = [] if data_dir is None else ["--data-dir", str(data_dir)]
    with pytest.raises(AnomirrorError, match=message):
        app([*map(str, arguments), *where], standalone_mode=False)


def test_reproduce_measures_what_is_there_prints_the_table_and_goes_on(
    data_dir: Path, tmp_path: Path
) -> None:
    command = ["reproduce", "table1", "--methods", "pca", "--out", tmp_path, "--data-dir", data_dir]
    first = run(*command)
    assert first.returncode == 0, first.stderr
    assert (
        "their cells stay open: cifar10, cifar100, gtsrb, imagenet-resize, omniglot, svhn"
        in first.stderr
    )
    assert "2 of 2 trainings to do" in first.stderr
    assert "2 of 2 done, about 0 s left: knn on fashion-mnist, seed 0" in first.stderr
    assert (
        "**fashion-mnist is normal: AUROC, protocol blind, preset cpu; one seed, 95 % interval**"
        in first.stdout
    )
    assert "| pca, one-sided | " in first.stdout
    assert "| knn, one-sided | " in first.stdout  # what a user would pick instead is in every table
    record = read_record(tmp_path / "cpu/fashion-mnist/pca-seed0.json")
    assert record.runs[0].command.startswith("anomirror reproduce table1 --methods pca --out")
    again = run(*command, "--normals", "fashion-mnist")
    assert "0 of 2 trainings to do" in again.stderr
    assert again.stdout == first.stdout


def test_benchmark_takes_folders_classes_and_generated_sets(
    data_dir: Path, tmp_path: Path, sample: object
) -> None:
    import numpy as np
    from PIL import Image

    for name in ("good", "odd"):
        (tmp_path / name).mkdir()
        for index in range(60):
            value = index * 2 if name == "good" else 255 - index
            Image.fromarray(np.full((40, 40), value, np.uint8)).save(
                tmp_path / name / f"{index}.png"
            )
    done = run(
        "benchmark", "--normal", tmp_path / "good", "--anomalies", f"{tmp_path / 'odd'},uniform",
        "--methods", "pca",
        "--image-size", 32, "--out", tmp_path / "results",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "→ uniform" in done.stdout
    assert len(list(tmp_path.glob("results/cpu/good-*/pca-32px-seed0.json"))) == 1
    one = run(
        "benchmark", "--normal", "fashion-mnist:1", "--anomalies", "rest",
        "--methods", "pca", "--seeds", 2,
        "--out", tmp_path / "results", ANOMIRROR_DATA=str(data_dir),
    )  # fmt: skip
    assert "| AUROC | → rest | seeds |" in one.stdout, one.stderr
    assert "±" in one.stdout
    changed = run(
        "benchmark", "--normal", "fashion-mnist:1", "--anomalies", "rest",
        "--methods", "pca", "--set", "n_components=3",
        "--out", tmp_path / "results", ANOMIRROR_DATA=str(data_dir),
    )  # fmt: skip
    assert "| pca, n_components=3, one-sided | " in changed.stdout, changed.stderr
    record = read_record(tmp_path / "results/cpu/fashion-mnist-1/pca-n_components=3-seed0.json")
    assert record.parameters["n_components"] == 3
    for form, start in (("markdown", "**"), ("latex", r"\begin{table}"), ("html", "<table>")):
        made = run("tables", tmp_path / "results", "--format", form)
        assert made.stdout.startswith(start), made.stderr
        assert "pca, one-sided" in made.stdout
    assert "FPR@95" in run("tables", tmp_path / "results", "--metric", "fpr95").stdout


def test_figures_are_drawn_from_measured_trainings(
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from anomirror.cli import results

    monkeypatch.setattr(experiments, "preset", lambda method, name: dict(TINY[method]))
    for target, expected in (
        (results.Target.FIGURE2, ["figure2-ama-fashion-mnist.png"]),
        (
            results.Target.FIGURE4,
            [
                "figure4-ama-fashion-mnist.png",
                "figure4-ama-plain-r-fashion-mnist.png",
                "figure4-ama-density-fashion-mnist.png",
            ],
        ),
    ):
        results.reproduce(target, methods="ama", out=tmp_path / target, data_dir=data_dir)
        files = [
            Path(line.removeprefix("written: ")) for line in capsys.readouterr().out.splitlines()
        ]
        assert [file.name for file in files] == expected
        assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_a_failed_training_is_told_and_the_others_are_written(
    data_dir: Path, tmp_path: Path
) -> None:
    failed(
        run("benchmark", "--normal", "fashion-mnist", "--anomalies", "mnist",
            "--labelled", "mnist:99", "--methods", "pca",
            "--out", tmp_path, ANOMIRROR_DATA=str(data_dir)),
        "1 trainings failed, the others are written",
    )  # fmt: skip


def test_what_cannot_be_measured_is_refused(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANOMIRROR_DATA", raising=False)
    failed(run("reproduce", "table1"), "--data-dir, or the environment variable ANOMIRROR_DATA")
    refused(
        "no normal set of table1 is here; `anomirror data list`",
        "reproduce",
        "table1",
        data_dir=tmp_path,
    )
    base = ["benchmark", "--out", tmp_path / "none"]
    for message, *arguments in (
        ("x: no folder, nor a data set", "--normal", "x", "--anomalies", "uniform"),
        (
            "1 trainings failed(.|\n)*no image of class 7",
            "--normal",
            "mnist:7",
            "--anomalies",
            "rest",
            "--methods",
            "pca",
        ),
        ("--anomalies names no set", "--normal", "fashion-mnist", "--anomalies", ","),
        (
            "no method named 'dessert'",
            "--normal",
            "fashion-mnist",
            "--anomalies",
            "mnist",
            "--methods",
            "dessert",
        ),
        (
            "ama has no preset 'dessert'",
            "--normal",
            "fashion-mnist",
            "--anomalies",
            "mnist",
            "--preset",
            "dessert",
        ),
        (
            "pca has no parameter 'epochs'",
            "--normal",
            "mnist",
            "--anomalies",
            "mnist",
            "--methods",
            "pca",
            "--set",
            "epochs=1",
        ),
        (
            "epochs=6.0: expected an integer of at least 1",
            "--normal",
            "mnist",
            "--anomalies",
            "mnist",
            "--set",
            "epochs=6.0",
        ),
        (
            "a parameter is set twice",
            "--normal",
            "mnist",
            "--anomalies",
            "mnist",
            "--set",
            "epochs=1",
            "--set",
            "epochs=2",
        ),
        (
            "random_state is set by the command line",
            "--normal",
            "mnist",
            "--anomalies",
            "mnist",
            "--set",
            "random_state=1",
        ),
        (
            "expected NAME:COUNT",
            "--normal",
            "fashion-mnist",
            "--anomalies",
            "mnist",
            "--labelled",
            "mnist",
        ),
    ):
        refused(message, *base, *arguments, data_dir=data_dir)
    assert not (tmp_path / "none").exists()
    refused("--methods names none", "reproduce", "table1", "--methods", ",", data_dir=data_dir)
    refused("--normals names no set", "reproduce", "table1", "--normals", ",", data_dir=data_dir)
    refused(
        "table1 has no normal set dessert",
        "reproduce",
        "table1",
        "--normals",
        "dessert",
        data_dir=data_dir,
    )
    refused(
        "none of these methods",
        "reproduce",
        "figure2",
        "--methods",
        "pca",
        "--out",
        tmp_path / "x",
        data_dir=data_dir,
    )
    refused("nowhere: no such folder", "tables", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused("no measured cell here", "tables", tmp_path / "empty")


def test_data_lists_verifies_and_fetches(data_dir: Path, tmp_path: Path) -> None:
    listed = run("data", "list", ANOMIRROR_DATA=str(data_dir))
    rows = {
        line.split("│")[1].strip(): line
        for line in listed.stdout.splitlines()
        if line.startswith("│")
    }
    assert "yes" in rows["mnist"]
    assert "no" in rows["svhn"]
    assert "MIT" in rows["omniglot"]
    assert "each image one random colour" in rows["constant"]
    assert "nothing can be said about what is here" in run("data", "list").stderr
    checked = run("data", "verify", ANOMIRROR_DATA=str(data_dir))
    assert checked.returncode == 2
    assert checked.stdout.count("DAMAGED") == 4  # smaller than the official sets
    assert "expected 60000" in checked.stdout
    refused("2 of these are damaged or missing", "data", "verify", "svhn", data_dir=data_dir)
    refused("no named data set is here", "data", "verify", data_dir=tmp_path)
    refused("no data set named 'dessert'", "data", "get", "dessert", data_dir=tmp_path)
    refused("get it by hand at mmlab.ie.cuhk.edu.hk", "data", "get", "celeba", data_dir=tmp_path)
    assert "is generated" in run("data", "get", "uniform", ANOMIRROR_DATA=str(tmp_path)).stderr


@pytest.mark.parametrize(
    ("normal", "count", "file"),
    [("fashion-mnist", 500, "fashion-mnist"), ("mnist:1", 30, "mnist-1")],
)
def test_whole_trainings_are_timed_and_what_is_written_makes_a_table(
    data_dir: Path, tmp_path: Path, normal: str, count: int, file: str
) -> None:
    words = ["--normal", normal, "--methods", "pca,knn", "--data-dir", str(data_dir)]
    command = [
        sys.executable,
        "-m",
        "studies.speed.trainings",
        *words,
        "--json",
        str(tmp_path / f"trainings-{file}.json"),
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heading, _, *rows = [
        line.split(" | ") for line in trainings_table(tmp_path, normal).splitlines()
    ]
    assert f"{count} images of {normal}, 2 threads" in heading[0]
    assert [row[0] for row in rows] == ["| pca", "| knn"]
    assert [row[2] for row in rows] == ["-", "-"]  # no minibatches
