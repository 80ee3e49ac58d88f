"""1. Nothing of the user's is ever destroyed."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror import PCA, load
from anomirror.errors import InputError
from anomirror.storage import model_target, remove_ours
from tests.commands import failed, run
from tests.first_hour.conftest import tiles, write

PCA_FIT = ("--method", "pca")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_roundabout_way_into_the_photos_deletes_none(good: Path) -> None:
    before = contents(good)
    failed(
        run("fit", "good", "--out", "nodir2/../good", *PCA_FIT, cwd=good.parent),
        "lies in the images that are read",
    )
    assert contents(good) == before
    assert not (good.parent / "nodir2").exists()


@pytest.mark.parametrize("out", ["photos", "nowhere/../photos", "link", "photos/../photos/"])
def test_a_folder_that_is_no_model_is_left_alone_by_every_name(good: Path, out: str) -> None:
    photos = write(tiles(5), good.parent / "photos")
    (good.parent / "link").symlink_to(photos)
    before = contents(photos)
    for more in ((), ("--overwrite",)):
        failed(
            run("fit", good, "--out", out, *PCA_FIT, *more, cwd=good.parent),
            "is not a model of anomirror",
        )
    assert contents(photos) == before


def test_a_model_is_not_written_inside_or_above_the_images(good: Path) -> None:
    (good.parent / "link").symlink_to(good)
    for out in (good, good / "model", good.parent / "link" / "model"):
        failed(run("fit", good, "--out", out, *PCA_FIT), "lies in the images that are read")
    failed(run("fit", good, "--out", good.parent, *PCA_FIT), "holds the images that are read")
    assert len(contents(good)) == 40


def test_a_name_in_other_case_is_the_same_folder_where_the_disk_says_so(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = good.parent / "GOOD"
    # what a disk that ignores case answers: the same device and inode under another name
    other.symlink_to(good)
    failed(run("fit", good, "--out", other, *PCA_FIT), "lies in the images that are read")


def test_a_folder_that_appears_while_the_model_is_fitted_is_left_alone(tmp_path: Path) -> None:
    detector = PCA().fit(tiles(40))
    target = model_target(tmp_path / "model")
    write(tiles(3), tmp_path / "model")
    with pytest.raises(InputError, match=r"was taken by something else .* the model is .*model-2"):
        detector.save(target)
    assert len(contents(tmp_path / "model")) == 3
    assert load(tmp_path / "model-2").n_train_ == 40
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "model-2"]


def test_a_model_that_becomes_another_folder_meanwhile_is_left_alone(tmp_path: Path) -> None:
    detector = PCA().fit(tiles(40))
    detector.save(tmp_path / "model")
    target = model_target(tmp_path / "model", overwrite=True)
    (tmp_path / "model").rename(tmp_path / "moved")
    write(tiles(2), tmp_path / "model")
    with pytest.raises(InputError, match="was taken by something else"):
        detector.save(target)
    assert len(contents(tmp_path / "model")) == 2


def test_files_that_a_user_put_into_a_model_survive_its_replacement(good: Path) -> None:
    fit = ("fit", good, "--out", good.parent / "model", *PCA_FIT)
    assert run(*fit).returncode == 0
    (good.parent / "model" / "scores.csv").write_text("mine")
    write(tiles(1), good.parent / "model" / "maps")
    assert run(*fit, "--overwrite", "--set", "n_components=3").returncode == 0
    assert (good.parent / "model" / "scores.csv").read_text() == "mine"
    assert (good.parent / "model" / "maps" / "000.png").exists()
    assert load(good.parent / "model").get_params()["n_components"] == 3
    assert not [entry for entry in good.parent.iterdir() if entry.name.startswith(".")]


def test_a_folder_of_the_users_that_is_called_as_ours_keeps_its_files(good: Path) -> None:
    partial = write(tiles(2), good.parent / "model.partial")
    assert run("fit", good, "--out", good.parent / "model", *PCA_FIT).returncode == 0
    assert len(contents(partial)) == 2


def test_only_files_that_are_ours_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.json").write_text("{}")
    scratch = tmp_path / "scratch" / "epochs" / "1"
    scratch.mkdir(parents=True)
    for name in (
        "model.json",
        "weights.safetensors",
        "history.csv",
        ".checkpoint.safetensors.abc.safetensors",
        "note.txt",
    ):
        (scratch / name).write_text("")
    (tmp_path / "scratch" / "link").symlink_to(outside)
    remove_ours(tmp_path / "scratch")
    assert [file.name for file in scratch.iterdir()] == ["note.txt"]
    assert (outside / "model.json").exists()


def test_scores_and_maps_never_replace_photos(model: Path, good: Path) -> None:
    photo = good / "000.png"
    before = photo.read_bytes()
    failed(run("score", model, good, "--out", photo), "exists, and is no such table of ours")
    failed(run("score", model, good, "--out", good), "is a folder")
    failed(run("score", model, good, "--maps", good), "lies in the images that are read")
    assert photo.read_bytes() == before
    maps = good.parent / "maps"
    maps.mkdir()
    (maps / "01-000.png").write_bytes(before)  # as the first map would be called
    failed(
        run("score", model, good, "--out", good.parent / "s.csv", "--maps", maps),
        "is there, and is no map",
    )
    assert (maps / "01-000.png").read_bytes() == before
    (maps / "01-000.png").unlink()
    for _ in range(2):  # our own are replaced
        assert (
            run("score", model, good, "--out", good.parent / "s.csv", "--maps", maps).returncode
            == 0
        )
    assert len(list(maps.iterdir())) == 40


def test_the_demo_writes_into_no_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"mine": 1}))
    failed(run("demo", "--out", tmp_path), "is no folder of an earlier demo")
    assert json.loads((tmp_path / "results.json").read_text()) == {"mine": 1}


def test_a_place_that_cannot_be_written_is_noticed_before_training(good: Path) -> None:
    done = run("fit", good, "--out", "/proc/model", "--method", "ama")  # trains for minutes
    assert done.returncode == 2
    assert "training" not in done.stderr
    failed(run("fit", good, "--out", good / "000.png" / "model", *PCA_FIT), "lies in the images")
    file = good.parent / "file"
    file.write_text("")
    assert run("fit", good, "--out", file / "model", *PCA_FIT).returncode == 2
    assert file.read_text() == ""


def test_python_saves_over_nothing_but_models(tmp_path: Path) -> None:
    detector = PCA().fit(tiles(20))
    write(tiles(3), tmp_path / "photos")
    for path in (tmp_path / "photos", tmp_path / "missing" / ".." / "photos"):
        with pytest.raises(InputError, match="is not a model"):
            detector.save(path, overwrite=True)
    assert np.asarray(Image.open(tmp_path / "photos" / "002.png")).shape == (48, 48)


def test_models_where_checkpoints_would_be_are_not_removed(good: Path) -> None:
    partial = good.parent / "model.partial"
    for place in (partial, good.parent / "other"):
        assert run("fit", good, "--out", place, *PCA_FIT).returncode == 0
    (good.parent / "other").rename(partial / "inner")
    before = contents(partial)
    assert run("fit", good, "--out", good.parent / "model", *PCA_FIT).returncode == 0
    assert contents(partial) == before
    failed(
        run("fit", good, "--out", good.parent / "model", "--overwrite", "--method", "ama"),
        "checkpoints would be written there",
    )
    assert contents(partial) == before


def test_a_pipe_is_written_to_and_not_replaced(model: Path, good: Path) -> None:
    pipe = good.parent / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert run("score", model, good, "--out", pipe).returncode == 0
    reader.join(10)
    assert pipe.is_fifo()
    assert len(read[0].splitlines()) == 41
    link = good.parent / "link.csv"
    link.symlink_to(good.parent / "real.csv")
    for _ in range(2):
        assert run("score", model, good, "--out", link).returncode == 0
    assert link.is_symlink()
    assert len((good.parent / "real.csv").read_text().splitlines()) == 41


def test_maps_never_lie_among_the_images(
    model: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linking = good.parent / "linking"
    linking.mkdir()
    (linking / "good").symlink_to(good)
    said = "lies in the images that are read"
    failed(run("score", model, *sorted(good.iterdir())[:2], "--maps", good), said)
    failed(run("score", model, linking, "--maps", good / "maps"), said)
    monkeypatch.setattr("sys.stdin", io.StringIO("000.png\r\n"))
    failed(run("score", model, "-", "--maps", ".", cwd=good), said)
    failed(run("fit", linking, "--out", good / "model", *PCA_FIT), said)
    assert len(contents(good)) == 40
