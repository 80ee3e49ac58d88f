"""4. What is in a folder, and what Python may be given."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomirror import PCA
from anomirror.errors import AnomirrorWarning, ImageError
from anomirror.images import decode, defect_layout, find_files, open_images
from tests.commands import failed, run
from tests.first_hour.conftest import spotted, tiles, write

PCA_FIT = ("--method", "pca")


def test_linked_folders_are_read_once_and_loops_end(good: Path) -> None:
    outside = write(tiles(5, seed=1), good.parent / "outside")
    (good / "link").symlink_to(outside)
    (good / "again").symlink_to(outside)
    (good / "loop").symlink_to(good.parent)
    found = find_files(good)
    assert len(found.paths) == 45
    assert found.left_out.counts == {"link to a folder that is read already": 2}
    assert (
        "fitted on 45 of 45 images"
        in run("fit", good, "--out", good.parent / "model", *PCA_FIT).stderr
    )


def test_hidden_files_broken_links_and_other_files_are_left_out_and_named(good: Path) -> None:
    write(tiles(3), good / ".Trash-1000")
    (good / "._000.png").write_bytes(b"resource fork")
    (good / "photo.psd").write_bytes(b"psd")
    (good / "Thumbs.db").write_bytes(b"db")
    (good / "gone.png").symlink_to(good / "nowhere.png")
    done = run("fit", good, "--out", good.parent / "model", *PCA_FIT)
    assert "fitted on 40 of 40 images" in done.stderr
    note = next(line for line in done.stderr.splitlines() if line.startswith("note: left out of"))
    for said in (
        "2 hidden (",
        ".Trash-1000",
        "1 .psd file (photo.psd)",
        "1 .db file (Thumbs.db)",
        "1 broken link (gone.png)",
    ):
        assert said in note, note
    with pytest.warns(AnomirrorWarning, match=r"1 \.psd file"):
        PCA().fit(good)
    quiet = run("fit", good, "--out", good.parent / "quiet", *PCA_FIT, "-q")
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_a_folder_below_a_hidden_one_is_read(tmp_path: Path) -> None:
    assert len(find_files(write(tiles(3), tmp_path / ".cache" / "images")).paths) == 3


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A folder laid out as MVTec AD is."""
    root = tmp_path / "bottle"
    write(tiles(40), root / "train" / "good")
    write(tiles(10, seed=1), root / "test" / "good")
    for seed, kind in enumerate(("spot", "crack"), start=2):
        write(spotted(tiles(6, seed=seed)), root / "test" / kind)
        write(np.zeros((6, 48, 48), np.uint8), root / "ground_truth" / kind)
    return root


def test_mvtecs_layout_is_recognised_by_fit_score_evaluate_and_benchmark(mvtec: Path) -> None:
    model = mvtec.parent / "model"
    done = run("fit", mvtec, "--out", model, *PCA_FIT)
    assert "fitted on 40 of 40 images" in done.stderr
    assert "ground_truth" in done.stderr
    scored = run("score", model, mvtec).stdout.splitlines()
    assert len(scored) == 1 + 10 + 12
    assert not any("ground_truth" in line or "train" in line for line in scored)
    found = json.loads(run("evaluate", model, mvtec, "--json").stdout)
    assert (found["normal"], found["anomalies"], sorted(found["kinds"])) == (
        10,
        12,
        ["crack", "spot"],
    )
    assert found["kinds"]["spot"]["score"]["auroc"] == 1.0
    printed = run("evaluate", model, mvtec).stdout
    assert all(name in printed for name in ("crack, score", "spot, score", "all, score"))
    done = run(
        "benchmark", "--normal", mvtec, "--methods", "pca", "--out", mvtec.parent / "results"
    )
    assert done.returncode == 0, done.stderr
    assert "crack" in done.stdout
    assert "spot" in done.stdout
    layout = defect_layout(mvtec)
    assert layout is not None
    assert layout.kinds == ("crack", "spot")
    failed(run("evaluate", model, mvtec / "test"), "has no train/good, test/good and test/<kind>")


def test_one_image_in_two_roles_is_refused_in_fit(good: Path, tmp_path: Path) -> None:
    ama = ("--method", "ama", "--set", "epochs=1", "--set", "steps_per_epoch=1")
    inside = write(tiles(3, seed=5), good / "defects")
    failed(
        run("fit", good, "--anomalies", inside, "--out", tmp_path / "m", *ama),
        "3 of 3 anomalies are also given as normal",
    )
    images = tiles(20)
    with pytest.raises(ImageError, match="image 20 is image 3"):
        PCA().fit(np.concatenate([images, images[3:4]]), [1] * 20 + [-1])


def test_evaluate_warns_of_images_that_were_fitted(model: Path, good: Path, tmp_path: Path) -> None:
    defects = write(spotted(tiles(8, seed=7)), tmp_path / "defects")
    done = run("evaluate", model, "--normal", model.parent / "good", "--anomalies", defects)
    assert "60 of 60 normal images were given to the fit or calibrate" in done.stderr
    fresh = write(tiles(8, seed=8), tmp_path / "fresh")
    assert "warning" not in run("evaluate", model, "--normal", fresh, "--anomalies", defects).stderr
    done = run("evaluate", model, "--normal", fresh, "--anomalies", fresh)
    assert "8 of 8 anomalies" in done.stderr


def test_anomalies_for_a_method_that_cannot_learn_from_them_are_refused(
    good: Path, tmp_path: Path
) -> None:
    defects = write(spotted(tiles(4)), tmp_path / "defects")
    done = run("fit", good, "--anomalies", defects, "--out", tmp_path / "m", *PCA_FIT)
    failed(done, "pca cannot learn from anomalies (ama can)")
    done = run("fit", good, "--anomalies", defects, "--out", tmp_path / "m")
    failed(done, "auto cannot learn from anomalies (ama can); pass --method ama")


# ---------------------------------------------------------------------- 16 bits


def faint(count: int, seed: int = 0) -> np.ndarray:
    """Of 16 bits the lowest 12."""
    return tiles(count, seed).astype(np.uint16) * 16


def write_deep(images: np.ndarray, folder: Path, suffix: str) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03d}.{suffix}")
    return folder


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    folder = write_deep(faint(30), tmp_path / "deep", suffix)
    from_files, from_array = (PCA().fit(source) for source in (folder, faint(30)))
    np.testing.assert_array_equal(from_files.raw_scores(folder), from_array.raw_scores(faint(30)))
    np.testing.assert_array_equal(from_files.raw_scores(folder), from_files.raw_scores(faint(30)))
    seen = open_images(folder).take([0])
    assert len(seen.unique()) > 60  # 6 grey levels were left
    assert seen.dtype == torch.float32


def test_deep_and_shallow_files_of_one_folder_keep_their_values(tmp_path: Path) -> None:
    folder = write_deep(faint(1), tmp_path / "mixed", "png")
    write(tiles(2), folder / "eight")
    with pytest.warns(AnomirrorWarning, match="1 of 3 files have 16 bits a channel, such as .*000"):
        images = open_images(folder)
    assert images.take([0, 1, 2]).dtype == torch.float32
    shallow = open_images(tiles(2), image_size=None).take([0])[0].float() / 255
    torch.testing.assert_close(images.take([1])[0].float() / 255, shallow)
    torch.testing.assert_close(images.take([0, 1])[1], shallow)


def png_of_deep_colour(file: Path) -> None:
    """A 16-bit colour PNG, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + b"\x12\x34" * 3 * 4 for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_deep_colour_that_would_be_cut_is_refused(tmp_path: Path) -> None:
    png_of_deep_colour(tmp_path / "deep.png")
    with pytest.raises(ImageError, match="16-bit colour, of which only 8 bits could be read here"):
        decode(str(tmp_path / "deep.png"))
    (tmp_path / "deep.ppm").write_bytes(b"P6\n2 2\n65535\n" + b"\x12\x34" * 12)
    with pytest.raises(ImageError, match="16-bit colour"):
        decode(str(tmp_path / "deep.ppm"))
    (tmp_path / "eight.ppm").write_bytes(b"P6\n2 2\n255\n" + b"\x12" * 12)
    assert decode(str(tmp_path / "eight.ppm")).tolist() == [[[0x12, 0x12], [0x12, 0x12]]] * 3


def test_deep_colour_tiff_is_read_whole_with_its_extra_or_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    expected = open_images(values[None]).take([0])[0][:, :9, :7]
    assert torch.equal(
        decode(str(tmp_path / "a.tif")),
        torch.from_numpy(values.astype(np.float32) / 65535).permute(2, 0, 1),
    )
    assert expected.dtype == decode(str(tmp_path / "a.tif")).dtype
    assert decode(str(tmp_path / "a.tif"), 1).shape == (1, 9, 7)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageError, match=r"pip install 'anomirror\[formats\]'"):
        decode(str(tmp_path / "a.tif"))


def test_a_picture_of_too_many_megapixels_is_refused_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(
        ImageError,
        match="megapixels, more than the .* that are read; cut it into tiles, or reduce it",
    ):
        decode(str(tmp_path / "a.png"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8000)
    # up to twice as many, without a warning
    assert decode(str(tmp_path / "a.png")).shape == (1, 100, 100)


# ---------------------------------------------------------------------- from Python


class Series:
    """What pandas gives: it can be walked and has a length, and is no list."""

    def __init__(self, values: list[object]) -> None:
        self.values = np.array(values, dtype=object)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[object]:
        return iter(self.values)


def test_python_takes_what_people_have(good: Path) -> None:
    detector = PCA().fit(good)
    files = sorted(good.iterdir())
    expected = detector.raw_scores(good)
    for same in (
        Series([str(file) for file in files]),
        np.array([str(file) for file in files]),
        files,
        [Image.open(file) for file in files],
        [np.asarray(Image.open(file)) for file in files],
    ):
        np.testing.assert_array_equal(detector.raw_scores(same), expected)
    one = np.asarray(Image.open(files[0]))
    for same in (one, Image.open(files[0]), str(files[0]), [one]):
        np.testing.assert_allclose(detector.raw_scores(same), expected[:1])
    of_two_sizes = [one, np.repeat(np.repeat(one, 2, 0), 2, 1)]
    assert detector.raw_scores(of_two_sizes).shape == (2,)
    assert PCA().fit([Image.fromarray(one).resize((40 + i, 40)) for i in range(8)]).n_train_ == 8
    colour = PCA().fit(np.stack([np.stack([image] * 3, -1) for image in tiles(12)]))
    assert colour.raw_scores(np.stack([one] * 3, -1)).shape == (1,)


def test_errors_fit_what_was_given() -> None:
    for given, said in (
        ([], "the list is empty"),
        ([Image.new("L", (8, 8)), "a.png"], "image 1: cannot be read"),
    ):
        with pytest.raises(ImageError, match=said):
            PCA().fit(given)


# ---------------------------------------------------------------------- what a hostile reader found


def test_sixteen_bit_files_score_from_the_command_line_as_in_python(tmp_path: Path) -> None:
    good = write_deep(faint(40), tmp_path / "good", "png")
    unseen = write_deep(faint(12, seed=1), tmp_path / "unseen", "png")
    bad = write_deep(spotted(tiles(6, seed=2)).astype(np.uint16) * 16, tmp_path / "bad", "png")
    model = tmp_path / "model"
    assert run("fit", good, "--out", model, "--method", "knn").returncode == 0
    rows = run("score", model, unseen).stdout.splitlines()[1:]
    from anomirror import load

    np.testing.assert_allclose(
        [float(row.split(",")[4]) for row in rows], load(model).raw_scores(unseen), rtol=1e-6
    )
    done = run("evaluate", model, "--normal", unseen, "--anomalies", bad, "--json")
    # .5 where all of them were read as black
    assert json.loads(done.stdout)["score"]["auroc"] > 0.9
    assert "warning" not in done.stderr


def test_eight_bit_pixels_are_known_again_among_sixteen_bit_ones(tmp_path: Path) -> None:
    from anomirror.images import fingerprints

    folder = write(tiles(3), tmp_path / "mixed")
    alone = fingerprints(open_images(folder))[1]
    Image.fromarray(faint(1)[0]).save(folder / "zzz.png")
    assert fingerprints(open_images(folder))[1][:3].tolist() == alone.tolist()


def test_a_link_that_leads_to_itself_is_left_out(good: Path) -> None:
    (good / "loop").symlink_to(good / "loop")
    found = find_files(good)
    assert (len(found.paths), found.left_out.counts) == (40, {"link that leads to itself": 1})
    out = good.parent / "self"
    out.symlink_to(out)
    failed(run("fit", good, "--out", out, *PCA_FIT), "is a link that leads to itself")


def test_a_folder_of_several_data_sets_is_refused_and_their_masks_are_never_images(
    mvtec: Path, model: Path
) -> None:
    done = run("fit", mvtec.parent, "--out", mvtec.parent.parent / "m", *PCA_FIT)
    failed(done, "holds 1 data set(s) with train/good and test (bottle)")
    assert not any("ground_truth" in path for path in find_files(mvtec.parent).paths)
    found = json.loads(
        run("evaluate", model, "--normal", mvtec, "--anomalies", mvtec, "--json").stdout
    )
    assert (found["normal"], found["anomalies"]) == (10, 12)
    (mvtec / "test" / "empty").mkdir()
    (mvtec / "test" / "crack").rename(mvtec / "test" / "all")
    done = run("evaluate", model, mvtec, "--json")
    assert sorted(json.loads(done.stdout)["kinds"]) == ["all", "spot"]
    assert "test/empty: no image" in done.stderr


def test_pil_images_are_what_their_files_are(tmp_path: Path, good: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(tiles(1)[0]).save(tmp_path / "turned.png", exif=exif)
    detector = PCA().fit(good)
    file = tmp_path / "turned.png"
    np.testing.assert_array_equal(detector.raw_scores(Image.open(file)), detector.raw_scores(file))
    colour = Image.open(good / "000.png").convert("RGB")
    np.testing.assert_array_equal(
        detector.raw_scores([colour]), detector.raw_scores(good / "000.png")
    )
    assert (
        PCA()
        .fit([Image.open(good / "000.png"), colour, *map(Image.fromarray, tiles(8, seed=3))])
        .image_shape_[0]
        == 3
    )


def test_odd_forms_are_taken_or_refused_for_what_they_are(good: Path) -> None:
    detector = PCA().fit(good)
    assert len(detector.predict(tiles(1)[0][..., None])) == 1
    assert len(detector.predict(good.glob("*.png"))) == 40
    assert len(detector.predict(np.array([*tiles(1), *tiles(1, size=60)], dtype=object))) == 2
    for given, said in (
        (tiles(5).reshape(5, -1), "looks like rows of pixels"),
        (None, "got None"),
        ([good], "is a folder"),
    ):
        with pytest.raises(ImageError if said == "is a folder" else ValueError, match=said):
            detector.predict(given)


def test_reading_files_in_threads_leaves_the_callers_warning_filters_alone(good: Path) -> None:
    before = list(warnings.filters)
    for _ in range(3):
        PCA().fit(good)
    assert warnings.filters == before
