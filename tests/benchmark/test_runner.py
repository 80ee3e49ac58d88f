"""One training, all cells: written once, resumed, side by side, and the same from every place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomirror.benchmark import runner
from anomirror.benchmark.protocols import Known
from anomirror.benchmark.runner import Training, measure, run, unfinished
from anomirror.benchmark.tables import all_tables, read_cells
from anomirror.detectors import load
from anomirror.errors import InputError, SettingError
from anomirror.metrics import auroc
from anomirror.scorers import SCORERS
from tests.tiny import TINY

PCA = Training("pca", "cpu", {"n_components": 8}, "fashion-mnist", ("mnist", "constant"), 0)
AMA = Training("ama", "cpu", TINY["ama"], "fashion-mnist", ("mnist",), 0)


def read(file: Path) -> dict[str, Any]:
    cell: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return cell


def test_one_training_writes_every_cell_and_is_not_repeated(data_dir: Path, tmp_path: Path) -> None:
    files = measure(PCA, tmp_path, data_dir)
    assert sorted(file.name for file in files) == [
        f"pca-seed0-{column}-{side}.json" for column in ("constant", "mnist") for side in ("one-sided", "two-sided")
    ]
    cell = read(files[0])
    assert cell["metrics"]["auroc"] > 0.7
    assert cell["metrics"]["auroc_ci"][0] <= cell["metrics"]["auroc"] <= cell["metrics"]["auroc_ci"][1]
    told = "method variant side normal anomalies seed protocol preset parameters split preparation metrics cost versions command"
    assert set(told.split()) <= cell.keys()
    assert cell["copies_left_out"] == {"normal": 0, "mnist": 20}
    with np.load(files[0].parent / cell["scores_file"]) as scores:
        assert scores["raw_normal"].dtype == np.float32
        assert scores["raw_mnist"].shape == (120,)
        assert scores["sampled_mnist"].shape == (40,)
    before = files[0].stat().st_mtime_ns
    assert run([PCA], tmp_path, data_dir=data_dir) == []
    assert files[0].stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.partial"))


def test_the_metrics_of_a_cell_follow_from_its_stored_scores(data_dir: Path, tmp_path: Path) -> None:
    """And the published A-scores are those that the detector gives; a further scoring has scores of its own."""
    training = replace(AMA, scorings={"plain-r": {"structure_power": 0.0, "scorer": "gaussian"}})
    files = measure(training, tmp_path, data_dir)
    cells = [read(file) for file in files]
    for file, cell in zip(files, cells, strict=True):
        assert cell["metrics"]["auroc"] == pytest.approx(recomputed(file), abs=1e-3)
    assert [(cell["variant"], cell["scorer"]) for cell in cells] == [
        ("", "negate"),
        ("", "log-gaussian"),
        ("plain-r", "negate"),
        ("plain-r", "gaussian"),
    ]
    with np.load(tmp_path / "fashion-mnist" / cells[0]["scores_file"]) as scores:
        assert not np.array_equal(scores["raw_normal"], scores["plain-r_raw_normal"])
        assert scores["reconstructed_normal"].shape == (8, 28, 28, 1)
        assert scores["reconstructed_normal"].dtype == np.uint8
    assert (tmp_path / "fashion-mnist" / "ama-seed0-history.csv").is_file()
    assert not cells[2]["parameters"]["structure_power"]
    assert {0 <= cell["fitted"]["structure_power"] <= 1 for cell in cells} == {True}


def recomputed(file: Path) -> float:
    """A cell's AUROC from the scores that it names."""
    cell = read(file)
    with np.load(file.parent / cell["scores_file"]) as scores:
        scorer = SCORERS[cell["scorer"]]().restore(cell["scorer_state"])
        normal, whole = (scorer.normality(scores[cell["scores"][kind]].astype(float)) for kind in ("normal", "anomalies"))
        return auroc(normal, whole[scores[f"sampled_{cell['anomalies']}"]])


def test_a_further_column_leaves_what_was_measured_alone(data_dir: Path, tmp_path: Path) -> None:
    """Each cell goes on naming the scores that it came from, although the training is another one bit by bit."""
    first = measure(replace(AMA, anomalies=("mnist",)), tmp_path, data_dir)
    before = [file.read_bytes() for file in first]
    torch.set_num_threads(threads := torch.get_num_threads() + 1)
    try:
        both = measure(replace(AMA, anomalies=("mnist", "constant")), tmp_path, data_dir)
    finally:
        torch.set_num_threads(threads - 1)
    assert [file.read_bytes() for file in first] == before
    for file in both:
        assert read(file)["metrics"]["auroc"] == pytest.approx(recomputed(file), abs=2e-3)
    names = {read(file)["scores_file"] for file in both}
    assert names == {"ama-seed0.npz", "ama-seed0-2.npz"}


def folder(place: Path, values: range) -> str:
    place.mkdir(parents=True)
    for value in values:
        picture = np.full((32, 32), value, np.uint8)
        picture[value % 32] = 255 - value
        Image.fromarray(picture).save(place / f"{value}.png")
    return str(place)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    return {
        "normal": folder(tmp_path / "a" / "good", range(90)),
        "other": folder(tmp_path / "b" / "good", range(100, 190)),
        "odd": folder(tmp_path / "train", range(200, 240)),  # named as a part of a comparison is
    }


def test_folders_of_one_name_are_two_sets_and_no_name_is_taken_for_a_part(folders: dict[str, str], tmp_path: Path) -> None:
    training = Training(
        "pca", "cpu", {"n_components": 2}, folders["normal"], (folders["other"], folders["odd"]), 0, folder_size=32
    )
    cells = [read(file) for file in measure(training, tmp_path / "out")]
    assert len({(cell["anomalies"], cell["side"]) for cell in cells}) == len(cells) == 4
    with np.load(training.folder(tmp_path / "out") / cells[0]["scores_file"]) as scores:
        assert len(scores["raw_train"]) > 60
        assert len([name for name in scores.files if name.startswith("raw_good-")]) == 1
        assert len([name for name in scores.files if name.startswith("raw_train-")]) == 1
    assert {cell["counts"]["anomalies"] for cell in cells} == {90, 40}  # a folder of anomalies is tested whole
    turned = replace(training, normal=folders["other"], anomalies=(folders["odd"],))
    assert unfinished([turned], tmp_path / "out") == [turned]


def test_other_sizes_and_other_pictures_are_not_taken_for_these(folders: dict[str, str], tmp_path: Path) -> None:
    training = Training("pca", "cpu", {"n_components": 2}, folders["normal"], ("uniform",), 0, folder_size=32)
    measure(training, tmp_path / "out")
    assert unfinished([training], tmp_path / "out") == []
    larger = replace(training, folder_size=64)
    assert unfinished([larger], tmp_path / "out") == [larger]
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(Path(folders["normal"]) / "3.png")
    with pytest.raises(SettingError, match="was measured with other pictures than lie there now"):
        unfinished([training], tmp_path / "out")


def test_two_commands_at_once_do_not_train_in_one_place(data_dir: Path, tmp_path: Path) -> None:
    place = PCA.folder(tmp_path)
    place.mkdir(parents=True)
    with runner._alone(place / "pca-seed0.lock"), pytest.raises(InputError, match="another process measures this training"):
        measure(PCA, tmp_path, data_dir)
    assert measure(PCA, tmp_path, data_dir)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_killed_training_goes_on_and_gives_the_same(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(AMA, tmp_path / "whole", data_dir)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        measure(AMA, tmp_path / "killed", data_dir)
    monkeypatch.undo()
    assert list((tmp_path / "killed").rglob("checkpoint.safetensors"))
    resumed = measure(AMA, tmp_path / "killed", data_dir)
    assert [read(file)["metrics"] for file in resumed] == [read(file)["metrics"] for file in whole]
    assert not list((tmp_path / "killed").rglob("*.partial"))


def test_a_kept_model_is_scored_again_and_not_trained(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(AMA, tmp_path, data_dir, keep_model=True)
    place = tmp_path / "fashion-mnist"
    model = load(place / f"{AMA.stem}.model", device="cpu")
    with np.load(place / f"{AMA.stem}.npz") as scores:
        assert np.allclose(model.raw_scores(AMA.comparison(data_dir).normal), scores["raw_normal"], rtol=1e-6)
    before = [read(file) for file in first]
    assert not any(cell["cost"]["kept_model"] for cell in before)

    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(type(model), "fit", trained)
    for file in first:
        file.unlink()
    wider = replace(AMA, anomalies=("mnist", "constant"))
    cells = [read(file) for file in measure(wider, tmp_path, data_dir, keep_model=True)]
    assert [cell["metrics"] for cell in cells if cell["anomalies"] == "mnist"] == [cell["metrics"] for cell in before]
    assert all(cell["cost"]["kept_model"] for cell in cells)
    assert cells[0]["cost"]["fit_seconds"] == sum(row["seconds"] for row in model.history_)  # not of loading it
    assert all_tables(read_cells(tmp_path))  # a model's own JSON is no cell
    for file in place.glob("*.json"):
        file.unlink()
    plain = replace(AMA, parameters={**TINY["ama"], "structure_power": 0.0})
    assert {read(file)["parameters"]["structure_power"] for file in measure(plain, tmp_path, data_dir, keep_model=True)} == {0.0}
    for file in place.glob("*.json"):
        file.unlink()
    other = replace(AMA, parameters={**TINY["ama"], "negatives": None})
    with pytest.raises(SettingError, match="has negatives='inward', and now it would be None; remove it to train again"):
        measure(other, tmp_path, data_dir, keep_model=True)


def test_protocol_paper_takes_each_columns_best_epoch(data_dir: Path, tmp_path: Path) -> None:
    training = replace(AMA, protocol="paper", anomalies=("mnist", "constant"), parameters={**TINY["ama"], "epochs": 3})
    cells = [read(file) for file in measure(training, tmp_path, data_dir)]
    lines = (tmp_path / "fashion-mnist" / "ama-protocol-paper-seed0-history.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    for cell in cells:
        validated = [float(row[f"validation {cell['anomalies']} {cell['side']}"]) for row in rows]
        assert cell["epoch"] == 1 + int(np.argmax(validated))
        assert cell["scores"]["normal"] == f"epoch{cell['epoch']}_raw_normal"
        assert cell["protocol"] == "paper"
        assert cell["parts"][f"validation {cell['anomalies']}"]["count"] == 50
        assert cell["counts"]["train"] == 475


def test_several_at_once_measure_the_same_and_one_failure_does_not_end_the_others(data_dir: Path, tmp_path: Path) -> None:
    trainings = [replace(PCA, seed=seed) for seed in (0, 1)]
    broken = replace(PCA, normal="fashion-mnist:5", anomalies=("rest",))
    told: list[tuple[int, int]] = []
    failed = run(
        [*trainings, broken],
        tmp_path / "two",
        jobs=2,
        data_dir=data_dir,
        report=lambda training, done, total, left, error: told.append((done, total)),
    )
    assert [(training, type(error)) for training, error in failed] == [(broken, SettingError)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [type(error) for _, error in run([broken], tmp_path / "one", data_dir=data_dir)] == [SettingError]
    for training in trainings:
        one = [read(file)["metrics"] for file in measure(training, tmp_path / "one", data_dir)]
        assert [read(file)["metrics"] for file in training.cells(tmp_path / "two").values()] == one
    with pytest.raises(InputError, match="jobs=0"):
        run(trainings, tmp_path, jobs=0)


def test_each_training_is_done_once_with_every_wanted_column(tmp_path: Path) -> None:
    wanted = unfinished([replace(PCA, anomalies=("mnist",)), PCA, PCA], tmp_path)
    assert [training.anomalies for training in wanted] == [("mnist", "constant")]


def test_cells_of_other_parameters_are_not_taken_for_these(data_dir: Path, tmp_path: Path) -> None:
    measure(PCA, tmp_path, data_dir)
    with pytest.raises(SettingError, match="was measured with n_components=8, and now it would be 4"):
        unfinished([replace(PCA, parameters={"n_components": 4})], tmp_path)
    with pytest.raises(SettingError, match="was measured with n_components=8"):  # of a further column as well
        unfinished([replace(PCA, parameters={"n_components": 4}, anomalies=("uniform",))], tmp_path)
    with pytest.raises(SettingError, match="was measured with scorer='gaussian', and now it would be 'log-gaussian'"):
        unfinished([replace(PCA, parameters={"n_components": 8, "scorer": "log-gaussian"})], tmp_path)
    with pytest.raises(SettingError, match="wanted twice, with different parameters"):
        unfinished([PCA, replace(PCA, parameters={"n_components": 4})], tmp_path / "elsewhere")


def test_names_tell_variants_protocols_and_known_anomalies_apart() -> None:
    stems = [
        replace(AMA, **changes).stem  # type: ignore[arg-type]
        for changes in ({}, {"variant": "box"}, {"protocol": "paper"}, {"known": Known("mnist", 10)}, {"seed": 1})
    ]
    assert stems == ["ama-seed0", "ama-box-seed0", "ama-protocol-paper-seed0", "ama-known-mnist-10-seed0", "ama-seed1"]
    assert replace(AMA, normal="mnist:3").folder(Path("out")) == Path("out/mnist-3")


def test_known_anomalies_are_trained_on(data_dir: Path, tmp_path: Path) -> None:
    cell = read(measure(replace(AMA, known=Known("mnist", 10)), tmp_path, data_dir)[0])
    assert cell["known_anomalies"] == {"set": "mnist", "count": 10}
    assert cell["metrics"] != read(measure(AMA, tmp_path, data_dir)[0])["metrics"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(data_dir: Path, tmp_path: Path, end: signal.Signals) -> None:
    """Killed without a chance to clean up, or interrupted; the same command again must not find them training still."""
    code = f"""
import signal
from dataclasses import replace
from pathlib import Path
from anomirror.benchmark.runner import run
from tests.benchmark.test_runner import AMA

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and so their tests, ignore Ctrl-C
    long = replace(AMA, parameters={{**AMA.parameters, "epochs": 1000}})
    run([replace(long, seed=seed) for seed in range(6)], Path({str(tmp_path)!r}), jobs=2, data_dir=Path({str(data_dir)!r}))
"""
    (tmp_path / "go.py").write_text(code)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, str(tmp_path / "go.py")], env={**os.environ, "PYTHONPATH": str(root)})

    try:
        while len(list(tmp_path.rglob("checkpoint.safetensors"))) < 2:
            assert parent.poll() is None
            time.sleep(0.2)
        children = _children(parent.pid)
        assert len(children) >= 2
        parent.send_signal(end)
        parent.wait(30)
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not [child for child in children if Path(f"/proc/{child}").exists()]
    finally:
        parent.kill()


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
