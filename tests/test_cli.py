"""The command line as a user meets it: exit codes, streams, files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from anomirror import AMA, load
from anomirror.data.sample import Sample
from anomirror.decisions import select
from anomirror.workflows import scoring
from tests.commands import failed, run, run_apart
from tests.tiny import TINY

SETTINGS = ["--method", "ama"]
SETTINGS += [word for key, value in TINY["ama"].items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    """good/ (64 clothes), defects/ (20 digits), and a fitted model/."""
    root = tmp_path_factory.mktemp("cli")
    for name, images in (("good", sample.train[:64]), ("defects", sample.anomalies[:20])):
        (root / name).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{index:02d}.png")
    done = run("fit", root / "good", "--out", root / "model", "--device", "cpu", *SETTINGS)
    assert done.returncode == 0, done.stderr
    return root


def digest(file: Path) -> str:
    # pytest's difference of long bytes fills the memory
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("command", ["demo", "fit", "score", "evaluate", "info", "methods"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"anomirror {command}" in done.stdout


def test_fit_writes_a_model_that_python_loads_and_cleans_up(place: Path) -> None:
    model = load(place / "model", device="cpu")
    # of few a fifth is held out, but at least 20
    assert (model.n_train_, model.calibrated_on_) == (44, 20)
    assert not (place / "model.partial").exists()


def test_score_prints_one_row_per_image_in_order(place: Path) -> None:
    done = run("score", place / "model", place / "good", "--device", "cpu")
    assert done.returncode == 0
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["path", "p_value", "is_anomaly", "score", "raw_score", "error"]
    assert [Path(row["path"]).name for row in rows] == [f"{i:02d}.png" for i in range(64)]
    model = load(place / "model", device="cpu")
    np.testing.assert_allclose(
        [float(r["raw_score"]) for r in rows], model.raw_scores(place / "good"), rtol=1e-4
    )
    assert all(r["is_anomaly"] == str(int(float(r["p_value"]) <= 0.05)) for r in rows)


def test_score_decides_at_another_rate_or_among_all_images_and_shows_statistics(
    place: Path,
) -> None:
    def rows(*words: object) -> list[dict[str, str]]:
        done = run("score", place / "model", place / "defects", place / "good", *words)
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))

    def flagged(found: list[dict[str, str]]) -> int:
        return sum(row["is_anomaly"] == "1" for row in found)

    usual, loose = rows(), rows("--alpha", 0.4)
    assert [row["p_value"] for row in usual] == [row["p_value"] for row in loose]
    assert flagged(loose) == sum(float(row["p_value"]) <= 0.4 for row in loose) > flagged(usual)
    values = np.array([float(row["p_value"]) for row in usual])
    chosen = rows("--fdr", 0.5)
    assert flagged(chosen) == int(select(values, 0.5).sum())
    measured = rows("--statistics")
    assert list(measured[0])[5:-1] == list(load(place / "model").statistic_names)
    assert all(float(row["r"]) > 0 for row in measured)
    score = ("score", place / "model", place / "good")
    failed(run(*score, "--alpha", 0.1, "--fdr", 0.1), "choose one")
    failed(run(*score, "--fdr", 3), "expected a number in (0, 1)")
    strict = run(*score, "--alpha", 0.01)
    assert "false alarms below 4.8 % cannot be asked for" in strict.stderr


def test_a_model_that_was_calibrated_on_fitted_images_has_no_p_values(
    place: Path, tmp_path: Path
) -> None:
    fit = ("fit", place / "good", "--out", tmp_path / "model", "--method", "pca")
    assert run(*fit, "--set", "calibration=train").returncode == 0
    done = run("score", tmp_path / "model", place / "good")
    assert "the column p_value is empty" in done.stderr
    assert {row["p_value"] for row in csv.DictReader(io.StringIO(done.stdout))} == {""}
    failed(run("score", tmp_path / "model", place / "good", "--fdr", 0.1), "has no p-values")
    told = run("info", tmp_path / "model").stdout
    assert "far more than 5 %" in " ".join(told.split())


def test_an_unreadable_picture_is_a_row_with_its_error_and_the_command_still_ends_0(
    place: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in range(3):
        Image.fromarray(np.full((28, 28), 50 * index, np.uint8)).save(data / f"{index}.png")
    (data / "1.png").write_bytes(b"broken")
    done = run(
        "score",
        place / "model",
        data,
        "--out",
        tmp_path / "s.csv",
        "--maps",
        tmp_path / "maps",
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 3 images could not be read" in done.stderr
    with (tmp_path / "s.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[1]["raw_score"] == ""
    maps = sorted((tmp_path / "maps").iterdir())
    assert [m.name for m in maps] == ["1-0.png", "3-2.png"]  # numbered as the rows are
    with Image.open(maps[0]) as picture:
        # enlarged so that a person sees something, with the scale next to it
        assert picture.size == (256 + 64, 256)


def test_a_folder_of_only_unreadable_pictures_still_gives_rows(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    done = run("score", place / "model", tmp_path, "--device", "cpu")
    assert done.returncode == 1, done.stderr  # nothing could be scored
    assert "not an image" in done.stdout


def test_evaluate_as_json_prints_only_json(place: Path) -> None:
    done = run(
        "evaluate",
        place / "model",
        "--normal",
        place / "good",
        "--anomalies",
        place / "defects",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["normal"], result["anomalies"]) == (64, 20)
    assert 0 <= result["score"]["auroc"] <= 1
    assert len(result["raw_score"]["fpr95_ci"]) == 2


def test_evaluate_info_and_methods_print_tables(place: Path) -> None:
    done = run(
        "evaluate", place / "model", "--normal", place / "good", "--anomalies", place / "defects"
    )
    assert "AUROC" in done.stdout
    assert "trained_on" in run("info", place / "model").stdout
    assert json.loads(run("info", place / "model", "--json").stdout)["method"] == "ama"
    methods = run("methods").stdout
    assert all(name in methods for name in ("ama", "pca", "knn", "paper-cifar10"))


def test_arrays_lists_single_images_and_data_sets_are_data(
    place: Path, tmp_path: Path, sample: Sample
) -> None:
    np.save(tmp_path / "a.npy", sample.normal[:5, ..., None])
    (tmp_path / "list.txt").write_text(f"{place}/good/00.png\n{place}/good/01.png\n")
    for data, count in (
        (tmp_path / "a.npy", 5),
        (tmp_path / "list.txt", 2),
        (place / "good" / "00.png", 1),
    ):
        done = run("score", place / "model", data)
        assert len(done.stdout.splitlines()) == count + 1, done.stderr
    failed(
        run("score", place / "model", "mnist", ANOMIRROR_DATA=str(tmp_path)),
        "put the data set's official file there",
    )
    failed(run("score", place / "model", "mnist", ANOMIRROR_DATA=""), "need --data-dir")


def test_labelled_anomalies_a_config_file_and_other_methods(place: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('n_neighbors = 3\nscorer = "gaussian"\nimage_size = "none"\n')
    done = run(
        *("fit", place / "good", "--out", tmp_path / "knn", "--method", "knn"),
        *("--config", tmp_path / "c.toml", "--set", "n_components=5"),
    )
    assert done.returncode == 0, done.stderr
    model = load(tmp_path / "knn")
    assert (model.get_params()["n_neighbors"], model.get_params()["n_components"]) == (3, 5)
    done = run(
        "fit",
        place / "good",
        "--anomalies",
        place / "defects",
        "--out",
        tmp_path / "ama",
        *SETTINGS,
    )
    assert done.returncode == 0, done.stderr
    assert "gap_negative" in (tmp_path / "ama" / "history.csv").read_text()


def test_bad_input_is_one_clear_line_and_exit_code_2(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    good = place / "good"
    failed(
        run_apart("fit", tmp_path / "nothing", "--out", out),
        "no such file or folder, nor a data set",
    )
    failed(
        run("fit", good, "--out", out, "--method", "svm"),
        "no method named 'svm': choose one of alad, ama, anogan",
    )
    failed(run("fit", good, "--out", out, "--preset", "gpu"), "choose one of cpu, default")
    ama = ("--method", "ama")
    failed(run("fit", good, "--out", out, "--set", "epoch=3", *ama), "ama has no parameter 'epoch'")
    failed(run("fit", good, "--out", out, "--set", "epochs=many", *ama), "epochs='many'")
    failed(
        run("fit", good, "--out", out, "--set", "critic_width=3"),
        "auto has no parameter 'critic_width': choose among",
    )
    failed(run("fit", good, "--out", out, "--set", "critic_width=3"), "that is one of ama")
    failed(run("fit", good, "--out", out, "--set", "epochs"), "expected key=value")
    failed(run("fit", good, "--out", out, "--config", tmp_path / "no.toml"), "No such file")
    failed(run("fit", good, "--out", out, "--device", "abacus"), "use cpu")
    failed(run("fit", good, "--out", out, "--device", "meta"), "device='meta' cannot be used here")
    failed(
        run("fit", good, "--out", out, "--set", "random_state=none", *ama), "choose one with --seed"
    )
    failed(
        run("fit", good, "--out", out, "--set", "checkpoint_dir=x"),
        "checkpoint_dir is set by the command line itself",
    )
    failed(run("fit", good, "--out", good / "00.png"), "lies in the images that are read")
    failed(run("fit", good, "--out", ".", cwd=good), "lies in the images that are read")
    failed(run("fit", good, "--out", "..", cwd=good), "holds the images that are read")
    failed(run("fit", good, "--out", "/"), "holds the images that are read")
    failed(run("fit", good, "--out", place / "defects"), "is not a model of anomirror")
    failed(
        run("fit", good, "--out", place / "defects" / "00.png"), "is a file; choose another place"
    )
    failed(
        run("score", place / "model", good, "--maps", good / "00.png"),
        "lies in the images that are read",
    )
    failed(
        run("score", place / "model", good, "--maps", place / "defects" / "00.png"), "File exists"
    )
    failed(run("fit", good, "--out", place / "model"), "exists already")
    failed(run("score", tmp_path, good), "model.json: missing")
    failed(run("score", place / "model", tmp_path), "no image in this folder")
    failed(run("info", tmp_path / "nothing"), "no such model folder")
    assert not out.exists()
    for done in (run("fit", good), run("nonsense"), run("fit", good, "--out")):
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_corrupt_files_are_refused_with_their_paths_or_skipped(place: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in range(20):
        Image.fromarray(
            np.random.default_rng(index).integers(0, 256, (28, 28), dtype=np.uint8)
        ).save(data / f"{index}.png")
    (data / "7.png").write_bytes(b"broken")
    done = run("fit", data, "--out", tmp_path / "m", "--method", "pca")
    failed(done, "1 of 20 files cannot be read")
    assert "7.png: not an image" in done.stderr
    assert "--skip-bad" in done.stderr
    done = run("fit", data, "--out", tmp_path / "m", "--method", "pca", "--skip-bad")
    assert done.returncode == 0
    assert "fitted on 19 of 20 images" in done.stderr


def test_labelled_anomalies_that_cannot_be_read_are_not_left_out_silently(
    place: Path, tmp_path: Path
) -> None:
    (tmp_path / "defects").mkdir()
    (tmp_path / "defects" / "a.png").write_bytes(b"broken")
    (tmp_path / "defects" / "b.png").write_bytes((place / "defects" / "00.png").read_bytes())
    fit = (
        "fit",
        place / "good",
        "--anomalies",
        tmp_path / "defects",
        *SETTINGS,
        "--out",
        tmp_path / "m",
    )
    failed(run(*fit), "1 of 66 files cannot be read")
    assert "1 unreadable ones left out" in run(*fit, "--skip-bad").stderr
    (tmp_path / "defects" / "b.png").write_bytes(b"broken")
    failed(run(*fit, "--skip-bad", "--overwrite"), "none of the labelled anomalies can be read")


def test_divergence_is_one_line_with_the_epoch(place: Path, tmp_path: Path) -> None:
    wild = ("--set", "spectral=false", "--set", "learning_rate=30.0")
    done = run("fit", place / "good", "--out", tmp_path / "m", "--device", "cpu", *SETTINGS, *wild)
    failed(done, "training diverged in epoch 1")
    assert not (tmp_path / "m").exists()


def test_maps_of_a_method_without_them_are_refused(place: Path, tmp_path: Path) -> None:
    settings = [
        word
        for key, value in TINY["deep_svdd"].items()
        for word in ("--set", f"{key}={list(value) if isinstance(value, tuple) else value}")
    ]
    assert (
        run(
            "fit", place / "good", "--out", tmp_path / "m", "--method", "deep_svdd", *settings
        ).returncode
        == 0
    )
    failed(
        run("score", tmp_path / "m", place / "good", "--maps", tmp_path / "maps"),
        "deep_svdd cannot say where",
    )
    assert not (tmp_path / "maps").exists()


def test_resume_after_kill_9_gives_the_same_model(place: Path, tmp_path: Path) -> None:
    arguments = ["fit", place / "good", "--device", "cpu", *SETTINGS, "--set", "epochs=40"]
    assert run_apart(*arguments, "--out", tmp_path / "whole").returncode == 0
    command = [
        sys.executable,
        "-m",
        "anomirror.cli",
        *map(str, arguments),
        "--out",
        str(tmp_path / "killed"),
    ]
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        checkpoint = tmp_path / "killed.partial" / "checkpoint.safetensors"
        for _ in range(600):
            if checkpoint.exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert checkpoint.exists()
    assert not (tmp_path / "killed").exists()
    failed(run(*arguments, "--out", tmp_path / "killed"), "pass --resume")
    failed(
        run(*arguments, "--seed", "5", "--resume", "--out", tmp_path / "killed"),
        "random_state was 0, is 5",
    )
    resumed = run_apart(*arguments, "--resume", "--out", tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    weights = [digest(tmp_path / name / "weights.safetensors") for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert not checkpoint.parent.exists()


def test_resume_without_a_checkpoint_starts_afresh_and_on_a_finished_model_changes_nothing(
    place: Path, tmp_path: Path
) -> None:
    arguments = [
        "fit",
        place / "good",
        "--device",
        "cpu",
        *SETTINGS,
        "--resume",
        "--out",
        tmp_path / "m",
    ]
    assert run(*arguments).returncode == 0
    before = {
        file.name: (digest(file), file.stat().st_mtime_ns) for file in (tmp_path / "m").iterdir()
    }
    again = run(*arguments)
    assert again.returncode == 0
    assert "complete already" in again.stderr
    assert before == {
        file.name: (digest(file), file.stat().st_mtime_ns) for file in (tmp_path / "m").iterdir()
    }


def test_settings_of_a_config_file_are_not_overwritten_by_options_that_were_not_given(
    place: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text("random_state = 7\n")
    fit = ("fit", place / "good", "--method", "pca", "--config", tmp_path / "c.toml", "--out")
    assert run(*fit, tmp_path / "a").returncode == 0
    assert run(*fit, tmp_path / "b", "--seed", "3").returncode == 0
    # without checkpoints, without a seed
    assert run(*fit, tmp_path / "d", "--set", "random_state=none").returncode == 0
    assert [load(tmp_path / name).get_params()["random_state"] for name in "ab"] == [7, 3]
    failed(run(*fit, tmp_path / "c", "--set", "method=knn"), "pca has no parameter 'method'")


def test_overwrite_replaces_only_models_and_can_be_resumed(place: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    failed(
        run("fit", place / "good", "--overwrite", "--out", tmp_path / "photos"),
        "is not a model of anomirror",
    )
    arguments = ["fit", place / "good", "--device", "cpu", *SETTINGS, "--out", tmp_path / "m"]
    assert run(*arguments).returncode == 0
    (tmp_path / "m.partial").mkdir()
    (tmp_path / "m.partial" / "checkpoint.safetensors").write_bytes(
        b"an interrupted fit --overwrite"
    )
    failed(run(*arguments, "--overwrite", "--resume"), "damaged")  # it is read, not passed over
    assert "complete already" in run(*arguments, "--resume").stderr


def test_names_with_brackets_and_names_that_are_no_text_are_written_as_they_are(
    place: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "m[/b][v2]"
    done = run("fit", place / "good", "--method", "pca", "--out", odd)
    assert done.returncode == 0, done.stderr
    announced, told = done.stderr.splitlines()
    assert announced.startswith("64 images of 28x28 at 32x32: about ")
    assert (
        told
        == f"pca fitted on 64 of 64 images; threshold from 64 cross-fitted ones; written to {odd}"
    )
    assert "m[/b][v2]" in run("info", odd).stdout
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in (b"\xff\xfe.png", b"n" * 250 + b".png"):
        (pictures / os.fsdecode(name)).write_bytes((place / "good" / "00.png").read_bytes())
    done = run_apart(
        "score", place / "model", pictures, "--maps", tmp_path / "maps", "--out", tmp_path / "s.csv"
    )
    assert done.returncode == 0, done.stderr
    assert "\\udcff" in (tmp_path / "s.csv").read_text(encoding="utf-8")
    assert len(list((tmp_path / "maps").iterdir())) == 2
    assert "\\udcff" in run_apart("score", place / "model", pictures).stdout


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_comes_without_importing_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from anomirror.cli import app as cli
sys.argv = ["anomirror", *{arguments}]
try:
    cli.main()
except SystemExit as stopped:
    assert stopped.code == 0, stopped.code
print([name for name in ("torch", "sklearn", "scipy") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc gives freed blocks back at once"
)
def test_freed_memory_is_used_again_without_faulting_it_in_anew() -> None:
    code = """
import resource, torch
from anomirror.cli.app import keep_freed_memory
KEEP
for _ in range(2):
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(48_000_000, dtype=torch.uint8)  # larger than what glibc would ever keep
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")
    }
    faults = []
    for first in ("keep_freed_memory()", ""):
        command = [sys.executable, "-c", code.replace("KEEP", first)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        faults.append(int(done.stdout))
    kept, given_back = faults
    assert kept * 10 < given_back


def test_scores_and_maps_are_written_in_pieces_with_the_right_rows(
    place: Path, tmp_path: Path, sample: Sample
) -> None:
    """Pieces of two in place of a thousand: bad files at the end of one, at the beginning of one,
    and all of one.
    """
    for index in range(8):
        size = 20 + index  # a map comes in the size of its own image
        Image.fromarray(sample.normal[index]).resize((size, size)).save(tmp_path / f"{index}.png")
    for index in (1, 4, 5):
        (tmp_path / f"{index}.png").write_bytes(b"broken")
    model = cast(AMA, load(place / "model", device="cpu"))
    images = model.open_to_score(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "PIECE", 2)
        patch.setattr(scoring, "MAPPED_PIECE", 2)
        rows = list(scoring.score_rows(model, images))
        scoring.write_maps(model, images, tmp_path / "maps")
    good = [index for index in range(8) if index not in (1, 4, 5)]
    assert [index for index, row in enumerate(rows) if not row.error] == good
    assert [row.path for row in rows] == images.names
    alone = [model.raw_scores([tmp_path / f"{index}.png"])[0] for index in good]
    np.testing.assert_allclose([rows[index].raw_score for index in good], alone, rtol=1e-4)
    maps = sorted((tmp_path / "maps").iterdir())
    assert [m.name for m in maps] == [f"{index + 1}-{index}.png" for index in good]
    assert [Image.open(m).size[0] for m in maps] == [256 + 64] * len(good)


def test_scoring_a_list_of_files_takes_little_memory_for_each_further_one(
    place: Path, tmp_path: Path
) -> None:
    """What Python and numpy allocate; studies/speed/memory.py measures the whole process on a
    million.

    The larger number is scored twice: what is allocated once in a process, by whatever ran before,
    is no growth.
    """
    model = load(place / "model", device="cpu")
    model._statistics = lambda x, names: dict.fromkeys(names, x.mean((1, 2, 3)))  # type: ignore[method-assign]
    highest = []
    for count in (2_500, 7_500, 7_500):
        listed = tmp_path / f"{count}.txt"
        listed.write_text("".join(f"{place}/good/{index % 64:02d}.png\n" for index in range(count)))
        tracemalloc.start()
        assert (
            sum(not row.error for row in scoring.score_rows(model, model.open_to_score(listed)))
            == count
        )
        highest.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (min(highest[1:]) - highest[0]) / 5_000 <= 200
