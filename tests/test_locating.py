"""Maps next to masks of defects, in MVTec AD's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror import PCA, DeepSVDD, Detector
from anomirror.errors import AnomirrorWarning, InputError
from anomirror.images import DefectLayout, defect_layout
from anomirror.workflows.locating import locate
from tests.commands import run
from tests.tiny import tiny

SIDE = 80


def good_images(count: int, seed: int) -> np.ndarray:
    """Smooth ones of one kind, ``(n, 80, 80)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    phases = rng.uniform(0, 0.6, (count, 2, 1, 1))
    waves = np.sin(6 * (x + phases[:, 0])) + np.cos(5 * (y + phases[:, 1]))
    return np.asarray(128 + 40 * waves + rng.normal(0, 2, waves.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spots and large squares, with masks; one image has none."""
    root = tmp_path_factory.mktemp("mvtec")
    parts = {"train/good": good_images(60, 0), "test/good": good_images(12, 1)}
    rng = np.random.default_rng(2)
    for kind, side in (("spot", 8), ("square", 24)):
        images, masks = good_images(8, side), np.zeros((8, SIDE, SIDE), np.uint8)
        for image, mask in zip(images, masks, strict=True):
            top, left = rng.integers(0, SIDE - side, 2)
            place = slice(top, top + side), slice(left, left + side)
            image[place], mask[place] = 250, 255
        parts[f"test/{kind}"], parts[f"ground_truth/{kind}"] = images, masks
    for part, images in parts.items():
        (root / part).mkdir(parents=True)
        for index, image in enumerate(images):
            mask = "_mask" if part == "ground_truth/spot" else ""
            Image.fromarray(image).save(root / part / f"{index:03}{mask}.png")
    (root / "ground_truth" / "square" / "007.png").unlink()
    return root


@pytest.fixture(scope="module")
def model(root: Path) -> Detector:
    return PCA(image_size=64, random_state=0).fit(root)


def _layout(folder: Path) -> DefectLayout:
    layout = defect_layout(folder)
    assert layout is not None
    return layout


def test_maps_find_what_masks_show(model: Detector, root: Path) -> None:
    layout = _layout(root)
    with pytest.warns(AnomirrorWarning, match=r"1 of 8 images of square have no mask, .*007\.png"):
        found = locate(model, layout)
    assert found is not None
    assert {name: each.regions for name, each in found.kinds.items()} == {"spot": 8, "square": 7}
    assert found.total.regions == 15
    for each in (found.total, *found.kinds.values()):
        assert each.auroc > 0.9
        assert each.aupro > 0.7
        assert 0.1 < each.recall <= 1


def test_a_map_lies_where_its_image_does(model: Detector, root: Path, tmp_path: Path) -> None:
    """Masks moved to another place are hardly found."""
    (tmp_path / "ground_truth").mkdir()
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(root / part)
    folder = tmp_path / "ground_truth" / "spot"
    folder.mkdir()
    for file in (root / "ground_truth" / "spot").iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.roll(mask, (40, 40), (0, 1))).save(folder / file.name)
    layout = _layout(tmp_path)
    both = locate(model, layout), locate(model, _layout(root))
    moved, there = (each.kinds["spot"] for each in both if each is not None)
    assert moved.recall < 0.3 * there.recall
    assert moved.aupro < there.aupro - 0.1


def test_the_command_prints_them_by_kind(model: Detector, root: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    done = run("evaluate", tmp_path / "model", root)
    assert "pixels of maps" in done.stdout
    assert "AUPRO, to 30 %" in done.stdout
    said = json.loads(run("evaluate", tmp_path / "model", root, "--json").stdout)["pixels"]
    assert said["kinds"].keys() == {"spot", "square"}
    assert said["regions"] == 15


def test_a_mask_of_another_size_is_named(model: Detector, root: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(root / part)
    (tmp_path / "ground_truth" / "spot").mkdir(parents=True)
    Image.new("L", (10, 20), 255).save(tmp_path / "ground_truth" / "spot" / "003.png")
    layout = _layout(tmp_path)
    with pytest.raises(InputError, match=r"003\.png: a mask of 10x20 pixels, and .* has 80x80"):
        locate(model, layout)


def test_without_masks_or_maps_there_are_no_figures(
    model: Detector, root: Path, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(root / part)
    layout = _layout(tmp_path)
    assert locate(model, layout) is None
    (tmp_path / "ground_truth" / "spot").mkdir(parents=True)
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "ground_truth" / "spot" / "003.png")
    with pytest.warns(AnomirrorWarning, match="show no defect"):
        assert locate(model, layout) is None
    blind = tiny("deep_svdd").fit(root)
    assert isinstance(blind, DeepSVDD)
    blind.save(tmp_path / "blind")
    done = run("evaluate", tmp_path / "blind", root)
    assert "deep_svdd cannot say where" in done.stderr
    assert "pixels of maps" not in done.stdout
