"""5. The command line as people expect it."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror import load
from anomirror.errors import unknown
from anomirror.metrics import evaluate
from anomirror.presets import PRESETS
from tests.commands import failed, run, run_apart
from tests.first_hour.conftest import spotted, tiles, write

PCA_FIT = ("--method", "pca")
SHORT = (
    "--method",
    "ama",
    "--set",
    "epochs=1",
    "--set",
    "steps_per_epoch=2",
    "--set",
    "encoder_width=8",
    "--set",
    "generator_width=8",
)


def test_version_and_short_help(good: Path) -> None:
    assert run("--version").stdout == f"anomirror {version('anomirror')}\n"
    for words in (("-h",), ("fit", "-h"), ("data", "list", "-h")):
        assert "Usage" in run(*words).stdout
    command = [sys.executable, "-m", "anomirror", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(
        "anomirror "
    )


def test_quiet_says_nothing_and_verbose_shows_where(good: Path) -> None:
    for place, words in enumerate((("-q", "fit", good), ("fit", good, "--quiet"))):
        done = run(*words, "--out", good.parent / f"m{place}", *PCA_FIT)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    done = run("fit", good, "-v", "--out", good.parent / "m", "--method", "svm")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "Traceback" not in run("fit", good, "--out", good.parent / "m", "--method", "svm").stderr


def test_score_takes_several_inputs_and_paths_on_standard_input(
    model: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = write(tiles(3, seed=3), good.parent / "more")
    rows = list(csv.DictReader(io.StringIO(run("score", model, more, good / "007.png").stdout)))
    assert [Path(row["path"]).name for row in rows] == ["000.png", "001.png", "002.png", "007.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{good}/003.png\n{more}/001.png\n"))
    rows = list(csv.DictReader(io.StringIO(run("score", model, "-").stdout)))
    assert [row["path"] for row in rows] == [f"{good}/003.png", f"{more}/001.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    failed(run("score", model, "-"), "no path came on standard input")


def test_repeated_anomalies_and_commas_all_count(model: Path, good: Path) -> None:
    kinds = [
        write(spotted(tiles(4 + seed, seed=seed)), good.parent / f"kind{seed}") for seed in range(3)
    ]
    together = f"{kinds[1]},{kinds[2]}"
    done = run(
        "evaluate", model, "--normal", good, "--anomalies", kinds[0], "--anomalies", together
    )
    assert "15 anomalous images" in done.stdout
    comma = write(spotted(tiles(2)), good.parent / "a,b")  # a name with a comma is one name
    assert (
        "2 anomalous images"
        in run("evaluate", model, "--normal", good, "--anomalies", comma).stdout
    )
    fit = (
        "fit",
        good,
        "--out",
        good.parent / "ama",
        "--anomalies",
        kinds[0],
        "--anomalies",
        together,
        *SHORT,
    )
    assert "of 55 images" in run(*fit).stderr


def test_evaluate_leaves_unreadable_files_out_when_told(model: Path, good: Path) -> None:
    (good / "005.png").write_bytes(b"broken")
    defects = write(spotted(tiles(3)), good.parent / "defects")
    words = ("evaluate", model, "--normal", good, "--anomalies", defects)
    failed(run(*words), "1 of 40 files cannot be read")
    done = run(*words, "--skip-bad")
    assert done.returncode == 0
    assert "39 normal, 3 anomalous" in done.stdout


def test_evaluate_tells_how_many_are_flagged(model: Path, good: Path) -> None:
    defects = write(spotted(tiles(6, seed=4)), good.parent / "defects")
    printed = run(
        "evaluate",
        model,
        "--normal",
        write(tiles(20, seed=5), good.parent / "fresh"),
        "--anomalies",
        defects,
    ).stdout
    assert re.search(r"anomalies +│ +6│ +0│ +100.0 % \[54.1, 100.0\]│", printed), printed
    assert re.search(r"normal images +│ +\d+│", printed), printed
    assert re.search(r"false alarms asked for: 5 %; precision .*, recall 1.000, f1 1.000", printed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_fit_names_its_checkpoint_and_leaves_nothing_hidden(
    good: Path, number: int
) -> None:
    out = good.parent / "model"
    many = (
        "--set",
        "epochs=500",
        "--set",
        "steps_per_epoch=2",
        *SHORT[6:],
        *SHORT[:2],
        "--device",
        "cpu",
    )
    command = [sys.executable, "-m", "anomirror", "fit", str(good), "--out", str(out), *many]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        checkpoint = out.with_name("model.partial") / "checkpoint.safetensors"
        for _ in range(1200):
            if checkpoint.exists():
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    last = said.splitlines()[-1]
    assert last.startswith(f"stopped by {signal.Signals(number).name}; the checkpoint is in ")
    assert "--resume goes on from it" in last
    assert "Traceback" not in said
    assert [entry.name for entry in sorted(good.parent.iterdir())] == ["good", "model.partial"]
    assert [entry.name for entry in checkpoint.parent.iterdir()] == ["checkpoint.safetensors"]


def test_disk_full_and_out_of_memory_are_one_line_with_the_way_out(
    model: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomirror.detectors import PCA

    problems: list[tuple[Exception, str]] = [
        (
            OSError(errno.ENOSPC, "No space left on device", "/photos/model"),
            "the disk is full (/photos/model); free some space",
        ),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            ),
            "not enough memory; choose",
        ),
        (MemoryError(), "not enough memory; choose a smaller --size"),
    ]
    for problem, said in problems:

        def fail(*_: object, problem: Exception = problem) -> None:
            raise problem

        monkeypatch.setattr(PCA, "_learn", fail)
        done = run("fit", good, "--out", good.parent / "m", *PCA_FIT)
        assert done.returncode in (1, 2)
        assert done.stderr.splitlines()[-1].startswith(f"error: {said}")
        assert "Traceback" not in done.stderr


def test_a_near_name_is_suggested_in_any_case(good: Path) -> None:
    fit = ("fit", good, "--out", good.parent / "m")
    failed(run(*fit, "--method", "PCA"), "did you mean 'pca'?")
    failed(run(*fit, "--preset", "deflaut"), "did you mean 'default'?")
    failed(run(*fit, "--method", "ama", "--set", "Epoch=3"), "did you mean 'epochs'?")
    failed(run("fit", "Fashion-Mnist", "--out", good.parent / "m"), "did you mean 'fashion-mnist'?")
    failed(run("methods", "amma"), "did you mean 'ama'?")
    assert unknown("method named", "zzz", ["pca"]) == "no method named 'zzz': choose one of pca"


@pytest.mark.parametrize("method", PRESETS)
def test_methods_name_lists_parameters_with_ranges(method: str) -> None:
    done = run("methods", method)
    assert done.returncode == 0, done.stderr
    for said in (
        "in (0, 0.5]",
        "at least 2",
        "false_alarm_rate",
        "image_size",
        "calibration",
        "--preset cpu",
    ):
        assert said in done.stdout
    empty = [
        line
        for line in done.stdout.splitlines()
        if line.count("\u2502") == 4 and line.split("\u2502")[3].strip() == ""
    ]
    assert not [line for line in empty if line.split("\u2502")[1].strip()]


def test_resuming_a_finished_model_with_other_settings_says_so(good: Path) -> None:
    fit = ("fit", good, "--out", good.parent / "m", *PCA_FIT, "--resume")
    assert run(*fit).returncode == 0
    assert "complete already" in run(*fit).stderr
    failed(
        run(*fit, "--set", "n_components=5"),
        "is complete, but was fitted with n_components=64, not 5",
    )
    failed(run(*fit, "--seed", "3"), "random_state=0, not 3")
    failed(
        run("fit", good, "--out", good.parent / "m", "--method", "knn", "--resume"),
        "is complete, but was fitted with",
    )


def test_intervals_hold_at_five_against_five() -> None:
    """Perfectly told apart by chance: of so few images that proves little."""
    found = evaluate(np.arange(5.0) + 10, np.arange(5.0))
    assert found.auroc_ci[0] < 0.6
    assert found.aupr_ci[0] < 0.6
    assert found.fpr95_ci[1] > 0.5
    rng = np.random.default_rng(0)
    truth = evaluate(rng.normal(3, 1, 20_000), rng.normal(0, 1, 20_000), resamples=1)
    covered = np.zeros(2)
    for _ in range(100):
        drawn = evaluate(rng.normal(3, 1, 8), rng.normal(0, 1, 8), resamples=50)
        for place, name in enumerate(("aupr", "fpr95")):
            low, high = getattr(drawn, f"{name}_ci")
            covered[place] += low <= getattr(truth, name) <= high
    assert (covered >= 93).all()  # 35 of 100 before


@pytest.mark.parametrize("method", ["pca", "knn"])
def test_maps_of_methods_without_networks_show_the_spot(good: Path, method: str) -> None:
    defects = write(spotted(tiles(3, seed=6)), good.parent / "defects")
    model, maps = good.parent / "model", good.parent / "maps"
    assert run("fit", good, "--out", model, "--method", method).returncode == 0
    done = run("score", model, defects, "--out", good.parent / "s.csv", "--maps", maps)
    assert done.returncode == 0, done.stderr
    again = run("score", model, good, defects, "--out", good.parent / "s.csv", "--maps", maps)
    assert "note: 3 maps of earlier runs are in" in again.stderr
    assert "earlier runs" not in done.stderr
    detector = load(model)
    shown = detector.explain(spotted(tiles(3, seed=6)))
    assert shown.shape == (3, 48, 48)
    assert shown[:, 20:28, 20:28].mean() > 5 * shown[:, :10].mean()
    assert np.mean(detector.explain(tiles(20, seed=7)) == 0) > 0.9  # normal images stay dark
    with Image.open(maps / "1-000.png") as picture:
        assert picture.size == (256 + 64, 256)
        drawn = np.asarray(picture.convert("RGB"), int)
    redness = drawn[..., 0] - drawn[..., 2]
    assert redness[110:140, 110:140].mean() > 60  # the spot in colour, the rest in grey
    assert redness[110:140, 110:140].mean() > redness[:30, :200].mean() + 30
    assert (drawn[100:150, 262:300].std(axis=(0, 1)) > 5).any()  # the scale next to it


def test_a_failing_command_prints_errors_of_ours_once() -> None:
    done = run_apart("score", "nowhere", "nothing")
    failed(done, "no such model folder")
    assert len(done.stderr.splitlines()) == 1
    # wherever it stands
    assert "Traceback" in run_apart("score", "nowhere", "nothing", "-v").stderr
    assert "Traceback" not in run_apart("score", "nowhere", "--", "-v").stderr  # but for a name
