"""One training, all cells: written once, resumed, side by side, and the same from every place."""

from __future__ import annotations

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

from anomirror.benchmark import measure as measuring
from anomirror.benchmark.cells import (
    PACK,
    Entry,
    Record,
    array_name,
    arrays_file,
    entries_of,
    read_arrays,
    read_entries,
)
from anomirror.benchmark.measure import measure
from anomirror.benchmark.pool import run
from anomirror.benchmark.protocols import Labelled
from anomirror.benchmark.resume import unfinished
from anomirror.benchmark.tables import all_tables
from anomirror.benchmark.trial import Trial
from anomirror.detectors import load
from anomirror.errors import InputError, SettingError
from anomirror.metrics import auroc
from tests.tiny import TINY

PCA = Trial("pca", "cpu", {"n_components": 8}, "fashion-mnist", ("mnist", "constant"), 0)
AMA = Trial("ama", "cpu", TINY["ama"], "fashion-mnist", ("mnist",), 0)


def recomputed(entry: Entry) -> float:
    """A cell's AUROC from the scores that are stored."""
    scorer = entry.cell.restored_scorer()
    return auroc(
        *(scorer.normality(entry.raw_scores(images)) for images in ("normal", "anomalies"))
    )


def entries(trial: Trial, out: Path, record: Record) -> list[Entry]:
    return entries_of(trial.file(out), record)


def metrics(record: Record) -> list[dict[str, Any]]:
    return [cell.metrics for cell in record.cells]


def test_one_training_writes_every_cell_and_is_not_repeated(data_dir: Path, tmp_path: Path) -> None:
    record = measure(PCA, tmp_path, data_dir)
    file = tmp_path / "fashion-mnist" / "pca-seed0.json"
    assert [entry.record for entry in read_entries(tmp_path)] == [record] * 4
    assert [tuple(cell.place) for cell in record.cells] == [
        ("", column, side)
        for column in ("mnist", "constant")
        for side in ("one-sided", "two-sided")
    ]
    cell = record.cells[0]
    value, (low, high) = cell.value("auroc"), cell.interval("auroc") or (1, 0)
    assert value is not None
    assert value > 0.7
    assert low <= value <= high
    assert record.columns["mnist"].copies_left_out == {"normal": 0, "mnist": 20}
    assert record.columns["mnist"].counts.anomalies == 40
    assert record.columns["mnist"].counts.whole_set == 120
    normal, anomalies, tested = read_arrays(file, "own/normal", "own/mnist", "tested/mnist")
    assert normal.dtype == np.float32
    assert anomalies.shape == (40,)
    assert tested.sum() == 40
    before = file.stat().st_mtime_ns
    assert run([PCA], tmp_path, data_dir=data_dir) == []
    assert file.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.partial"))


def test_the_metrics_of_a_cell_follow_from_its_stored_scores(
    data_dir: Path, tmp_path: Path
) -> None:
    """A further scoring has scores of its own."""
    trial = replace(AMA, scorings={"plain-r": {"structure_power": 0.0, "scorer": "gaussian"}})
    record = measure(trial, tmp_path, data_dir)
    for entry in entries(trial, tmp_path, record):
        assert entry.cell.value("auroc") == pytest.approx(recomputed(entry), abs=1e-3)
    assert [(cell.scoring, cell.scorer) for cell in record.cells] == [
        ("", "negate"),
        ("", "log-gaussian"),
        ("plain-r", "negate"),
        ("plain-r", "gaussian"),
    ]
    file = trial.file(tmp_path)
    own, plain, shown = read_arrays(file, "own/normal", "plain-r/normal", "reconstructed/normal")
    assert not np.array_equal(own, plain)
    assert shown.shape == (8, 28, 28, 1)
    assert shown.dtype == np.uint8
    assert len(record.history) == TINY["ama"]["epochs"]
    assert record.parameters_of(record.cells[2])["structure_power"] == 0
    assert record.scorings == {"": {}, "plain-r": {"structure_power": 0.0}}
    assert all(0 <= cell.fitted["structure_power"] <= 1 for cell in record.cells)


def test_scores_are_read_from_a_pack_of_the_folder_as_well(data_dir: Path, tmp_path: Path) -> None:
    record = measure(PCA, tmp_path, data_dir)
    (entry, *_) = entries(PCA, tmp_path, record)
    before = entry.raw_scores("anomalies")
    arrays = arrays_file(entry.file)
    with np.load(arrays) as stored:
        packed = {f"{entry.file.stem}/{name}": stored[name] for name in stored}
    np.savez_compressed(arrays.with_name(PACK), **packed)
    arrays.unlink()
    assert np.array_equal(entry.raw_scores("anomalies"), before)
    with pytest.raises(InputError, match="no array 'own/taste' is stored next to it"):
        read_arrays(entry.file, "own/taste")
    wider = replace(PCA, anomalies=("mnist", "uniform"))
    found = entries(wider, tmp_path, measure(wider, tmp_path, data_dir))
    for each in found:  # some from the pack, the new ones from a file of their own
        assert each.cell.value("auroc") == pytest.approx(recomputed(each), abs=1e-3)


def test_a_further_column_leaves_what_was_measured_alone(data_dir: Path, tmp_path: Path) -> None:
    """Each cell goes on naming the scores that it came from, although the training is another one
    bit by bit.
    """
    first = measure(replace(AMA, anomalies=("mnist",)), tmp_path, data_dir)
    torch.set_num_threads(threads := torch.get_num_threads() + 1)
    wider = replace(AMA, anomalies=("mnist", "constant"))
    try:
        both = measure(wider, tmp_path, data_dir)
    finally:
        torch.set_num_threads(threads - 1)
    assert both.cells[: len(first.cells)] == first.cells
    assert both.runs[0] == first.runs[0]
    assert [cell.run for cell in both.cells] == [0, 0, 1, 1]
    for entry in entries(wider, tmp_path, both):
        assert entry.cell.value("auroc") == pytest.approx(recomputed(entry), abs=2e-3)
    again = both.array_name(both.cells[-1], "normal")
    assert again == array_name("", "normal", run=1) == "own/run2/normal"
    assert read_arrays(wider.file(tmp_path), again)[0].shape == (200,)


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


def test_folders_of_one_name_are_two_sets_and_no_name_is_taken_for_a_part(
    folders: dict[str, str], tmp_path: Path
) -> None:
    columns = (folders["other"], folders["odd"])
    trial = Trial("pca", "cpu", {"n_components": 2}, folders["normal"], columns, 0, folder_size=32)
    record = measure(trial, tmp_path / "out")
    assert len({cell.place for cell in record.cells}) == len(record.cells) == 4
    assert [name.split("-")[0] for name in (column.name for column in record.columns.values())] == [
        "good",
        "train",
    ]
    for entry in entries(trial, tmp_path / "out", record):
        assert len(entry.raw_scores("train")) > 60
        assert len(entry.raw_scores("anomalies")) == entry.column.counts.anomalies
    counts = {column.counts.anomalies for column in record.columns.values()}
    assert counts == {90, 40}  # a folder of anomalies is tested whole
    turned = replace(trial, normal=folders["other"], anomalies=(folders["odd"],))
    assert unfinished([turned], tmp_path / "out") == [turned]


def test_other_sizes_and_other_pictures_are_not_taken_for_these(
    folders: dict[str, str], tmp_path: Path
) -> None:
    trial = Trial(
        "pca", "cpu", {"n_components": 2}, folders["normal"], ("uniform",), 0, folder_size=32
    )
    measure(trial, tmp_path / "out")
    assert unfinished([trial], tmp_path / "out") == []
    larger = replace(trial, folder_size=64)
    assert unfinished([larger], tmp_path / "out") == [larger]
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(Path(folders["normal"]) / "3.png")
    with pytest.raises(SettingError, match="was measured with other images than are there now"):
        unfinished([trial], tmp_path / "out")


def test_two_commands_at_once_do_not_train_in_one_place(data_dir: Path, tmp_path: Path) -> None:
    place = PCA.file(tmp_path).parent
    place.mkdir(parents=True)
    with (
        measuring.alone(place / "pca-seed0.lock"),
        pytest.raises(InputError, match="another process measures this training"),
    ):
        measure(PCA, tmp_path, data_dir)
    assert measure(PCA, tmp_path, data_dir)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_killed_training_goes_on_and_gives_the_same(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(AMA, tmp_path / "whole", data_dir)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        measure(AMA, tmp_path / "killed", data_dir)
    monkeypatch.undo()
    assert list((tmp_path / "killed").rglob("checkpoint.safetensors"))
    resumed = measure(AMA, tmp_path / "killed", data_dir)
    assert metrics(resumed) == metrics(whole)
    assert not list((tmp_path / "killed").rglob("*.partial"))


def test_a_kept_model_is_scored_again_and_not_trained(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measure(AMA, tmp_path, data_dir, keep_model=True)
    file = AMA.file(tmp_path)
    model = load(file.with_suffix(".model"), device="cpu")
    (normal,) = read_arrays(file, "own/normal")
    assert np.allclose(model.raw_scores(AMA.comparison(data_dir).normal), normal, rtol=1e-5)
    assert not before.runs[0].kept_model

    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(type(model), "fit", trained)
    file.unlink()
    wider = replace(AMA, anomalies=("mnist", "constant"))
    record = measure(wider, tmp_path, data_dir, keep_model=True)
    assert [cell.metrics for cell in record.cells if cell.anomalies == "mnist"] == metrics(before)
    assert record.runs[0].kept_model
    # not of loading it
    assert record.runs[0].fit_seconds == sum(row["seconds"] for row in model.history_)
    assert all_tables(read_entries(tmp_path))  # a model's own JSON is no record
    file.unlink()
    plain = replace(AMA, parameters={**TINY["ama"], "structure_power": 0.0})
    assert measure(plain, tmp_path, data_dir, keep_model=True).parameters["structure_power"] == 0
    file.unlink()
    other = replace(AMA, parameters={**TINY["ama"], "negatives": None})
    with pytest.raises(
        SettingError,
        match="has negatives='inward', and now it would be None; remove it to train again",
    ):
        measure(other, tmp_path, data_dir, keep_model=True)


def test_protocol_paper_takes_each_columns_best_epoch(data_dir: Path, tmp_path: Path) -> None:
    trial = replace(
        AMA,
        protocol="paper",
        anomalies=("mnist", "constant"),
        parameters={**TINY["ama"], "epochs": 3},
    )
    record = measure(trial, tmp_path, data_dir)
    assert trial.file(tmp_path).name == "ama-protocol-paper-seed0.json"
    for entry in entries(trial, tmp_path, record):
        cell, column = entry.cell, entry.column
        validated = [row[f"validation {cell.anomalies} {cell.side}"] for row in record.history]
        assert cell.epoch == 1 + int(np.argmax(validated))
        assert record.array_name(cell, "normal") == f"own/epoch{cell.epoch}/normal"
        assert column.parts[f"validation {cell.anomalies}"].count == 50
        assert column.counts.train == 475
        assert cell.value("auroc") == pytest.approx(recomputed(entry), abs=1e-3)


def test_several_at_once_measure_the_same_and_one_failure_does_not_end_the_others(
    data_dir: Path, tmp_path: Path
) -> None:
    trials = [replace(PCA, seed=seed) for seed in (0, 1)]
    broken = replace(PCA, normal="fashion-mnist:5", anomalies=("rest",))
    told: list[tuple[int, int]] = []
    failed = run(
        [*trials, broken],
        tmp_path / "two",
        jobs=2,
        data_dir=data_dir,
        report=lambda trial, done, total, left, error: told.append((done, total)),
    )
    assert [(trial, type(error)) for trial, error in failed] == [(broken, SettingError)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [type(error) for _, error in run([broken], tmp_path / "one", data_dir=data_dir)] == [
        SettingError
    ]
    for trial in trials:
        two = trial.record(tmp_path / "two")
        assert two is not None
        assert metrics(two) == metrics(measure(trial, tmp_path / "one", data_dir))
    with pytest.raises(InputError, match="jobs=0"):
        run(trials, tmp_path, jobs=0)


def test_each_training_is_done_once_with_every_wanted_column(tmp_path: Path) -> None:
    wanted = unfinished([replace(PCA, anomalies=("mnist",)), PCA, PCA], tmp_path)
    assert [trial.anomalies for trial in wanted] == [("mnist", "constant")]


def test_cells_of_other_parameters_are_not_taken_for_these(data_dir: Path, tmp_path: Path) -> None:
    measure(PCA, tmp_path, data_dir)
    with pytest.raises(
        SettingError, match="was measured with n_components=8, and now it would be 4"
    ):
        unfinished([replace(PCA, parameters={"n_components": 4})], tmp_path)
    # of a further column as well
    with pytest.raises(SettingError, match="was measured with n_components=8"):
        unfinished([replace(PCA, parameters={"n_components": 4}, anomalies=("uniform",))], tmp_path)
    with pytest.raises(
        SettingError,
        match="was measured with scorer='gaussian', and now it would be 'log-gaussian'",
    ):
        unfinished(
            [replace(PCA, parameters={"n_components": 8, "scorer": "log-gaussian"})], tmp_path
        )
    with pytest.raises(SettingError, match="wanted twice, with different parameters"):
        unfinished([PCA, replace(PCA, parameters={"n_components": 4})], tmp_path / "elsewhere")


def test_names_tell_variants_protocols_and_labelled_anomalies_apart() -> None:
    names = [
        replace(AMA, **changes).name  # type: ignore[arg-type]
        for changes in (
            {},
            {"variant": "box"},
            {"protocol": "paper"},
            {"labelled": Labelled("mnist", 10)},
            {"seed": 1},
        )
    ]
    assert names == [
        "ama-seed0",
        "ama-box-seed0",
        "ama-protocol-paper-seed0",
        "ama-labelled-mnist-10-seed0",
        "ama-seed1",
    ]
    assert replace(AMA, normal="mnist:3").file(Path("out")) == Path("out/mnist-3/ama-seed0.json")


def test_labelled_anomalies_are_trained_on(data_dir: Path, tmp_path: Path) -> None:
    labelled = Labelled("mnist", 10)
    record = measure(replace(AMA, labelled=labelled), tmp_path, data_dir)
    assert record.labelled_anomalies == labelled
    assert metrics(record) != metrics(measure(AMA, tmp_path, data_dir))
    assert [entry.record.labelled_anomalies for entry in read_entries(tmp_path)] == [
        None,
        None,
        labelled,
        labelled,
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(
    data_dir: Path, tmp_path: Path, end: signal.Signals
) -> None:
    """Killed without a chance to clean up, or interrupted; the same command again must not find
    them training still.
    """
    code = f"""
import signal
from dataclasses import replace
from pathlib import Path
from anomirror.benchmark.pool import run
from tests.benchmark.test_trials import AMA

if __name__ == "__main__":
    # a shell's background jobs, and so their tests, ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    long = replace(AMA, parameters={{**AMA.parameters, "epochs": 1000}})
    todo = [replace(long, seed=seed) for seed in range(6)]
    run(todo, Path({str(tmp_path)!r}), jobs=2, data_dir=Path({str(data_dir)!r}))
"""
    (tmp_path / "go.py").write_text(code)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "go.py")], env={**os.environ, "PYTHONPATH": str(root)}
    )

    try:
        while len(list(tmp_path.rglob("checkpoint.safetensors"))) < 2:
            assert parent.poll() is None
            time.sleep(0.2)
        children = _children(parent.pid)
        assert len(children) >= 2
        parent.send_signal(end)
        parent.wait(30)
        deadline = time.monotonic() + 30
        while (
            any(Path(f"/proc/{child}").exists() for child in children)
            and time.monotonic() < deadline
        ):
            time.sleep(0.2)
        assert not [child for child in children if Path(f"/proc/{child}").exists()]
    finally:
        parent.kill()


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
