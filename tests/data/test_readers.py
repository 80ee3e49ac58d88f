"""Official formats, on small files made in them."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror.data import DATASETS, load_dataset
from anomirror.data.proxies import bold, noises, shapes
from anomirror.data.readers import read_idx
from anomirror.data.sample import load_sample
from anomirror.errors import InputError, SettingError

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_idx_sets_packed_and_plain(tmp_path: Path, packed: bool) -> None:
    images, labels = RNG.integers(0, 256, (5, 28, 28)), np.arange(5)
    (tmp_path / "mnist").mkdir()
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        raw = idx(array)
        file = tmp_path / "mnist" / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(raw) if packed else raw)
    read, read_labels = load_dataset("mnist", "test", tmp_path)
    assert np.array_equal(read, images)
    assert read_labels.tolist() == [0, 1, 2, 3, 4]


def test_damaged_idx_files_are_named(tmp_path: Path) -> None:
    whole = idx(np.zeros((2, 3, 3)))
    for content, message in ((whole[:-1], "truncated"), (b"PNG", "not an IDX"), (b"\x00\x00\x0d\x01", "not an IDX")):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_idx(tmp_path / "a")
    (tmp_path / "a.gz").write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(InputError, match="damaged archive"):
        read_idx(tmp_path / "a.gz")


def test_cifar_binaries(tmp_path: Path) -> None:
    pictures = RNG.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    for folder, name, heads in (
        ("cifar-10-batches-bin", "test_batch.bin", [[7], [1], [0]]),
        ("cifar-100-binary", "test.bin", [[9, 7], [9, 1], [9, 0]]),
    ):
        (tmp_path / folder).mkdir()
        records = [bytes(head) + picture.tobytes() for head, picture in zip(heads, pictures, strict=True)]
        (tmp_path / folder / name).write_bytes(b"".join(records))
    for name in ("cifar10", "cifar100"):
        images, labels = load_dataset(name, "test", tmp_path)
        assert np.array_equal(images, pictures.transpose(0, 2, 3, 1))
        assert labels.tolist() == [7, 1, 0]
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(InputError, match="no multiple of 3073"):
        load_dataset("cifar10", "test", tmp_path)


def test_omniglot_is_inverted_and_antialiased(tmp_path: Path) -> None:
    (tmp_path / "omniglot").mkdir()
    drawing = np.full((105, 105), 255, np.uint8)
    drawing[50:55] = 0  # a dark stroke on white
    with zipfile.ZipFile(tmp_path / "omniglot" / "images_evaluation.zip", "w") as archive:
        for name in ("A/character01/1.png", "A/character02/1.png"):
            stream = io.BytesIO()
            Image.fromarray(drawing).convert("1").save(stream, "PNG")
            archive.writestr(f"images_evaluation/{name}", stream.getvalue())
    images, labels = load_dataset("omniglot", "test", tmp_path)
    assert images.shape == (2, 28, 28)
    assert images[0, 0, 0] == 0
    assert images[0].max() > 150
    assert len(np.unique(images[0])) - 2 > 0  # grey between black and white
    assert labels.tolist() == [0, 1]


def test_gtsrb_is_halved_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "GTSRB/Final_Test/Images"
    folder.mkdir(parents=True)
    for index in range(4):
        Image.fromarray(np.full((32, 32, 3), index, np.uint8)).save(folder / f"{index:05d}.ppm")
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    lines += [f"{i:05d}.ppm;32;32;0;0;31;31;{i + 10}" for i in range(4)]
    (folder / "GT-final_test.csv").write_text("\n".join(lines))
    train, labels = load_dataset("gtsrb", "train", tmp_path)
    assert (train[:, 0, 0, 0].tolist(), labels.tolist()) == ([0, 2], [10, 12])
    assert load_dataset("gtsrb", "test", tmp_path)[1].tolist() == [11, 13]


def test_missing_files_splits_and_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte.gz: no such file; put"):
        load_dataset("fashion-mnist", "test", tmp_path)
    with pytest.raises(SettingError, match="no data set named 'svhn'"):
        load_dataset("svhn", "test", tmp_path)
    with pytest.raises(SettingError, match="no train split"):
        load_dataset("imagenet-resize", "train", tmp_path)


def test_every_data_set_states_terms_and_source() -> None:
    assert all(d.terms and d.source and d.splits for d in DATASETS.values())


def test_the_sample_is_what_its_provenance_says() -> None:
    sample = load_sample()
    assert [part.shape for part in sample] == [(6000, 28, 28), (1000, 28, 28), (200, 28, 28)]
    assert all(part.dtype == np.uint8 for part in sample)
    import hashlib
    from importlib.resources import files

    root = Path(str(files("anomirror.data.sample")))
    lines = [line.split() for line in (root / "PROVENANCE.md").read_text().splitlines() if line.endswith(".gz")]
    assert len(lines) == 3
    for digest, name in lines:
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("channels", [1, 3])
def test_proxies_are_reproducible_and_varied(channels: int) -> None:
    for make in (shapes, noises):
        images = make(20, 28, channels, seed=1)
        assert images.shape == (20, 28, 28, channels)
        assert np.array_equal(images, make(20, 28, channels, seed=1))
        assert len({image.tobytes() for image in images}) == 20
        assert images.std() > 20


def test_bold_drawings_have_strokes_one_pixel_wider_and_stay_apart() -> None:
    drawings = np.zeros((2, 6, 6), np.uint8)
    drawings[0, 2, 2:5] = 200
    drawings[1, 5, 5] = 9
    wider = bold(drawings)
    assert np.array_equal(np.argwhere(wider[0] == 200), [[r, c] for r in (1, 2) for c in (1, 2, 3, 4)])
    assert np.count_nonzero(wider[0]) == 8
    assert np.array_equal(np.argwhere(wider[1]), [[4, 4], [4, 5], [5, 4], [5, 5]])  # nothing of the other drawing
    assert wider.dtype == np.uint8
