"""Official formats, on small files made in them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from anomirror.data import DATASETS, load_dataset
from anomirror.data.proxies import bold, defects, noises, shapes
from anomirror.data.readers import read_idx
from anomirror.data.sample import load_sample
from anomirror.errors import InputError, MissingDataError, SettingError

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
    for content, message in (
        (whole[:-1], "truncated"),
        (b"PNG", "not an IDX"),
        (b"\x00\x00\x0d\x01", "not an IDX"),
    ):
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
        records = [
            bytes(head) + picture.tobytes() for head, picture in zip(heads, pictures, strict=True)
        ]
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


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def test_cifar_is_read_from_its_archive_without_unpacking_it(tmp_path: Path) -> None:
    pictures = RNG.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    records = [bytes([label]) + picture.tobytes() for label, picture in enumerate(pictures)]
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for number in (5, 3, 1, 2, 4):  # in another order than that of the batches
            raw = b"".join(records[2 * number - 2 : 2 * number])
            member = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{number}.bin")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    images, labels = load_dataset("cifar10", "train", tmp_path)
    assert np.array_equal(images, pictures.transpose(0, 2, 3, 1))
    assert labels.tolist() == list(range(10))
    assert [file.name for file in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]
    with pytest.raises(MissingDataError, match="none of the expected files"):
        load_dataset("cifar10", "test", tmp_path)


def test_svhn_from_matlab_files(tmp_path: Path) -> None:
    (tmp_path / "svhn").mkdir()
    pictures = RNG.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    content = {"X": pictures.transpose(1, 2, 3, 0), "y": np.array([[1], [10], [9]], np.uint8)}
    savemat(tmp_path / "svhn" / "test_32x32.mat", content)
    images, labels = load_dataset("svhn", "test", tmp_path)
    assert np.array_equal(images, pictures)
    assert labels.tolist() == [1, 0, 9]
    savemat(
        tmp_path / "svhn" / "train_32x32.mat", {"X": content["X"].astype(float), "y": content["y"]}
    )
    with pytest.raises(InputError, match="X is float64"):
        load_dataset("svhn", "train", tmp_path)
    (tmp_path / "svhn" / "train_32x32.mat").write_bytes(b"not MATLAB" * 100)
    with pytest.raises(InputError, match="not SVHN's format"):
        load_dataset("svhn", "train", tmp_path)


def test_emnist_letters_come_upright_from_the_official_archive(tmp_path: Path) -> None:
    (tmp_path / "emnist").mkdir()
    upright = RNG.integers(0, 256, (4, 28, 28))
    with zipfile.ZipFile(tmp_path / "emnist" / "gzip.zip", "w") as archive:
        stem = "gzip/emnist-letters-test"
        archive.writestr(
            f"{stem}-images-idx3-ubyte.gz", gzip.compress(idx(upright.transpose(0, 2, 1)))
        )
        archive.writestr(f"{stem}-labels-idx1-ubyte.gz", gzip.compress(idx(np.arange(1, 5))))
        archive.writestr(
            "gzip/emnist-digits-test-images-idx3-ubyte.gz", gzip.compress(idx(upright))
        )
    images, labels = load_dataset("emnist", "test", tmp_path)
    assert np.array_equal(images, upright)
    assert labels.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "archive", "member"),
    [
        (
            "imagenet-resize",
            "Imagenet_resize.tar.gz",
            "Imagenet_resize/Imagenet_resize/test_{}.png",
        ),
        ("lsun-resize", "LSUN_resize.tar.gz", "LSUN_resize/LSUN_resize/{}.png"),
        ("isun", "iSUN.tar.gz", "iSUN/iSUN_patches/{}.jpeg"),
    ],
)
def test_unlabelled_pictures_from_archive_and_folder(
    tmp_path: Path, name: str, archive: str, member: str
) -> None:
    kind = "JPEG" if member.endswith("jpeg") else "PNG"
    pictures = [png(np.full((32, 32, 3), 60 * (index + 1), np.uint8), kind) for index in range(3)]
    with tarfile.open(tmp_path / archive, "w:gz") as tar:
        for index in (2, 0, 1):
            head = tarfile.TarInfo(member.format(index))
            head.size = len(pictures[index])
            tar.addfile(head, io.BytesIO(pictures[index]))
    packed, labels = load_dataset(name, "test", tmp_path)
    assert packed[:, 0, 0, 0].tolist() == pytest.approx([60, 120, 180], abs=2)  # sorted by name
    assert labels.tolist() == [-1, -1, -1]
    for index, content in enumerate(pictures):
        file = tmp_path / member.format(index)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert np.array_equal(load_dataset(name, "test", tmp_path)[0], packed)
    file.write_bytes(b"no image")
    with pytest.raises(InputError, match=f"{file.name}: cannot be read as an image"):
        load_dataset(name, "test", tmp_path)


def test_aliased_pictures_are_every_second_pixel_of_the_test_split(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[1::2, 1::2] = 240  # anti-aliased, this is dark grey
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as archive:
        for name, level in (
            ("test/images/test_1.JPEG", 1.0),
            ("test/images/test_0.JPEG", 0.5),
            ("val/images/val_0.JPEG", 0.0),
        ):
            archive.writestr(
                f"tiny-imagenet-200/{name}", png((stripes * level).astype(np.uint8), "PNG")
            )
    images, labels = load_dataset("tiny-imagenet-aliased", "test", tmp_path)
    assert labels.tolist() == [-1, -1]
    assert images.shape == (2, 32, 32, 3)
    assert (
        images.reshape(2, -1).min(1).tolist() == images.reshape(2, -1).max(1).tolist() == [120, 240]
    )


def test_gtsrb_is_halved_by_a_hash_of_the_names(tmp_path: Path) -> None:
    names = [f"{index:05d}.ppm" for index in range(40)]
    with zipfile.ZipFile(tmp_path / "GTSRB_Final_Test_Images.zip", "w") as archive:
        for index, name in enumerate(names):
            archive.writestr(
                f"GTSRB/Final_Test/Images/{name}", png(np.full((40, 50, 3), index, np.uint8), "PPM")
            )
        # has no classes
        archive.writestr("GTSRB/Final_Test/Images/GT-final_test.test.csv", "Filename;Width\n")
    lines = [
        "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId",
        *(f"{n};32;32;0;0;31;31;{i}" for i, n in enumerate(names)),
    ]
    with zipfile.ZipFile(tmp_path / "GTSRB_Final_Test_GT.zip", "w") as archive:
        archive.writestr("GT-final_test.csv", "\n".join(lines))
    halves = [load_dataset("gtsrb", split, tmp_path) for split in ("train", "test")]  # type: ignore[arg-type]
    for images, labels in halves:
        assert images.shape[1:] == (32, 32, 3)
        assert np.array_equal(images[:, 0, 0, 0], labels)  # each with its own label
        assert 10 < len(images) < 30
    assert sorted([*halves[0][1], *halves[1][1]]) == list(range(40))
    (tmp_path / "GTSRB_Final_Test_GT.zip").unlink()  # the labels are an archive of their own
    assert set(load_dataset("gtsrb", "test", tmp_path)[1]) == {-1}


def test_celeba_follows_the_official_partition_and_crop(tmp_path: Path) -> None:
    (tmp_path / "celeba").mkdir()
    face = np.zeros((218, 178, 3), np.uint8)
    face[39:179, 19:159] = 200  # the central 140x140
    with zipfile.ZipFile(tmp_path / "celeba" / "img_align_celeba.zip", "w") as archive:
        for number in range(1, 4):
            archive.writestr(f"img_align_celeba/{number:06d}.jpg", png(face, "JPEG"))
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(
        "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n"
    )
    for split in ("train", "test"):
        images, _ = load_dataset("celeba", split, tmp_path)  # type: ignore[arg-type]
        assert images.shape == (1, 32, 32, 3)
        assert images[:, 1:-1, 1:-1].min() > 190  # nothing of the black border
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("")
    with pytest.raises(InputError, match="names no image of the train split"):
        load_dataset("celeba", "train", tmp_path)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    for name, file in (
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("omniglot", "omniglot/images_evaluation.zip"),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"PK no archive")
        with pytest.raises(InputError, match=f"{Path(file).name}: damaged archive"):
            load_dataset(name, "test", tmp_path)


def test_a_damaged_byte_within_an_archive_is_found(tmp_path: Path) -> None:
    """By gzip's checksum, which lies behind the last file."""
    raw = b"".join(
        bytes([0]) + bytes(RNG.integers(0, 256, 3072, dtype=np.uint8)) for _ in range(40)
    )
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        head = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        head.size = len(raw)
        tar.addfile(head, io.BytesIO(raw))
    assert len(load_dataset("cifar10", "test", tmp_path)[0]) == 40
    whole = bytearray(archive.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    archive.write_bytes(whole)
    with pytest.raises(InputError, match="damaged archive"):
        load_dataset("cifar10", "test", tmp_path)


def test_missing_files_splits_and_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"t10k-images-idx3-ubyte.gz: no such file; put"):
        load_dataset("fashion-mnist", "test", tmp_path)
    with pytest.raises(SettingError, match="no data set named 'dessert'"):
        load_dataset("dessert", "test", tmp_path)
    with pytest.raises(SettingError, match="no train split"):
        load_dataset("imagenet-resize", "train", tmp_path)


def test_every_data_set_states_terms_and_source() -> None:
    for name, dataset in DATASETS.items():
        assert dataset.terms, name
        assert dataset.source, name
        assert dataset.files, name
        assert set(dataset.contents) <= set(dataset.splits) <= {"train", "test"}
        assert all(file.md5 is None or len(file.md5) == 32 for file in dataset.files)


def test_the_sample_is_what_its_provenance_says() -> None:
    sample = load_sample()
    assert [part.shape for part in sample] == [(6000, 28, 28), (1000, 28, 28), (200, 28, 28)]
    assert all(part.dtype == np.uint8 for part in sample)
    import hashlib
    from importlib.resources import files

    root = Path(str(files("anomirror.data.sample")))
    lines = [
        line.split()
        for line in (root / "PROVENANCE.md").read_text().splitlines()
        if line.endswith(".gz")
    ]
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
    assert np.array_equal(
        np.argwhere(wider[0] == 200), [[r, c] for r in (1, 2) for c in (1, 2, 3, 4)]
    )
    assert np.count_nonzero(wider[0]) == 8
    # nothing of the other drawing
    assert np.array_equal(np.argwhere(wider[1]), [[4, 4], [4, 5], [5, 4], [5, 5]])
    assert wider.dtype == np.uint8


@pytest.mark.parametrize("shape", [(28, 28), (32, 32, 3), (64, 64, 1)])
def test_defects_are_local_reproducible_and_of_every_kind(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (90, *shape)).astype(np.uint8)
    before = images.copy()
    found = defects(images, seed=3)
    assert np.array_equal(found, defects(images, seed=3))
    assert not np.array_equal(found, defects(images, seed=4))
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    assert np.array_equal(images, before)
    # the share of an image's pixels
    changed = (found != images).reshape(90, shape[0] * shape[1], -1).any(2).mean(1)
    assert changed.min() > 0
    assert changed.max() < 0.35
    for kind in range(3):
        assert changed[kind::3].mean() > 0.01
