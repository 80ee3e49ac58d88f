"""Colours, polarity and size: what is done to pixels, and that it is told."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror.data import Split, images_of, natural_form
from anomirror.data.conversions import brought_to, colour_to_grey, grey_to_colour, inverted
from anomirror.data.generated import COUNT, GENERATED
from anomirror.errors import InputError, SettingError

RNG = np.random.default_rng(0)
COLOURED = RNG.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_grey_is_pillows_luma() -> None:
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOURED])[
        ..., None
    ]
    assert np.abs(colour_to_grey(COLOURED).astype(int) - expected).max() <= 1


def test_grey_in_three_equal_channels_and_back() -> None:
    grey = COLOURED[..., :1]
    coloured = grey_to_colour(grey[..., 0])
    assert (coloured == grey).all()
    assert coloured.shape == COLOURED.shape
    assert np.array_equal(colour_to_grey(coloured), grey)
    with pytest.raises(InputError, match="expected 1 channel"):
        grey_to_colour(COLOURED)


def test_polarity() -> None:
    assert np.array_equal(inverted(np.array([[0, 1, 255]], np.uint8)), [[255, 254, 0]])
    assert np.array_equal(inverted(inverted(COLOURED)), COLOURED)


def test_shrinking_is_anti_aliased() -> None:
    """Stripes finer than the small image can show become grey; taking every second pixel would
    make them black or white.
    """
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 255
    small = brought_to(stripes, 32, 1)
    assert small.images.shape == (1, 32, 32, 1)
    assert np.abs(small.images.astype(int) - 128).max() < 20
    assert small.steps == ("64x64 shrunk to 32x32 (bilinear, anti-aliased)",)
    assert set(np.unique(stripes[:, ::2, ::2])) == {255}


def test_smaller_images_keep_their_pixels_and_every_step_is_told() -> None:
    grey = COLOURED[:, :28, :28, 0]
    converted = brought_to(grey, 32, 3)
    assert np.array_equal(converted.images[:, 2:30, 2:30, 1], grey)
    assert converted.images[:, :2].max() == 0
    assert converted.steps == ("grey to three equal channels", "padded with black to 32x32")
    assert brought_to(COLOURED, 32, 3).steps == ()
    assert brought_to(COLOURED[:, :16], 8, 3).steps == (
        "32x16 shrunk to 8x4 (bilinear, anti-aliased)",
        "padded with black to 8x8",
    )


def test_generated_sets_are_what_their_names_say() -> None:
    uniform, gaussian, constant = (
        GENERATED[name](300, 16, 3) for name in ("uniform", "gaussian", "constant")
    )
    assert np.histogram(uniform, bins=4, range=(0, 256))[0].min() > 0.24 * uniform.size
    clipped = 0.3085  # of a Gaussian around .5 with deviation 1, below 0 and above 1 each
    for edge in (0, 255):
        assert np.mean(gaussian == edge) == pytest.approx(clipped, abs=0.01)
    assert (constant == constant[:, :1, :1]).all()
    assert len({image.tobytes() for image in constant}) > 290
    for name, make in GENERATED.items():
        assert np.array_equal(make(300, 16, 3), make(300, 16, 3)), name
        assert not np.array_equal(make(9, 16, 3), make(9, 16, 3, seed=1)), name


def test_generated_sets_take_the_form_of_the_normal_images() -> None:
    grey, coloured = images_of("uniform", "test", (28, 1)), images_of("uniform", "test", (32, 3))
    assert grey.images.shape == (COUNT, 28, 28, 1)
    assert coloured.images.shape == (COUNT, 32, 32, 3)
    with pytest.raises(SettingError, match="it can only be an anomaly set"):
        natural_form("uniform")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(40):
        Image.fromarray(np.full((80, 40), index, np.uint8)).save(tmp_path / f"{index}.png")
    return tmp_path


def test_a_folder_is_split_by_a_hash_of_its_names(folder: Path) -> None:
    assert natural_form(str(folder)) == (32, 1)
    train, test = (images_of(str(folder), split, (64, 1)) for split in ("train", "test"))  # type: ignore[arg-type]
    assert train.images.shape[1:] == (64, 64, 1)
    values = [set(part.images[:, 32, 32, 0].tolist()) for part in (train, test)]
    assert values[0] | values[1] == set(range(40))
    assert not values[0] & values[1]
    assert 2 <= len(test.images) <= 16
    assert "aspect kept" in train.preparation[0]
    assert images_of(str(folder), "test", (32, 3)).images.shape[1:] == (32, 32, 3)


def test_a_folder_with_splits_of_its_own_keeps_them(folder: Path) -> None:
    for name in ("train", "test"):
        (folder / name).mkdir()
    for index, file in enumerate(sorted(folder.glob("*.png"))):
        file.rename(folder / ("test" if index < 5 else "train") / file.name)
    assert len(images_of(str(folder), "train", (32, 1)).images) == 35
    assert len(images_of(str(folder), "test", (32, 1)).images) == 5
    assert len(images_of(str(folder), None, (32, 1)).images) == 40
    shutil.rmtree(folder / "train")
    with pytest.raises(SettingError, match="has a folder test but not its counterpart"):
        images_of(str(folder), "train", (32, 1))


def test_folders_that_cannot_be_used_are_told(folder: Path) -> None:
    with pytest.raises(SettingError, match="choose one of 32, 64, 128, 256"):
        natural_form(str(folder), folder_size=48)
    with pytest.raises(SettingError, match="no folder, nor a data set"):
        natural_form("desserts")
    (folder / "7.png").write_bytes(b"no image")
    split: Split = "test" if hashlib.sha256(b"7.png").digest()[0] < 256 // 5 else "train"
    with pytest.raises(InputError, match=r"7\.png"):
        images_of(str(folder), split, (64, 1))
