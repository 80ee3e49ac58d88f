"""A detector of one's own: the example of CONTRIBUTING, inside a process and from another
package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from anomirror import PCA, Detector, load, make_detector, register
from anomirror.detectors import DETECTORS
from anomirror.errors import SettingError
from anomirror.testing import check_detector

ROOT = Path(__file__).parents[1]


def example() -> str:
    """The code of CONTRIBUTING."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def own() -> Iterator[type[Detector]]:
    module = ModuleType("own_detector")
    sys.modules[module.__name__] = module
    exec(compile(example(), "CONTRIBUTING.md", "exec"), module.__dict__)
    yield module.PixelDeviation
    del DETECTORS["pixel_deviation"], sys.modules[module.__name__]


def test_the_example_is_short_and_keeps_the_contract(own: type[Detector]) -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 40
    check_detector(own(device="cpu"))


def test_it_finds_what_is_far_from_the_mean_and_is_made_and_loaded_by_name(
    own: type[Detector], clothes: np.ndarray, tmp_path: Path
) -> None:
    detector = make_detector("pixel_deviation", quantile=1.0, floor=0.1).fit(clothes)
    inverted = 255 - clothes[:20]
    assert detector.raw_scores(inverted).min() > np.median(detector.raw_scores(clothes))
    rows = clothes.reshape(len(clothes), -1) / 127.5 - 1
    loaded = load(detector.save(tmp_path / "model"))
    assert type(loaded) is own
    z = np.abs(rows - rows.mean(0)) / (rows.std(0, ddof=1) + 0.1)
    np.testing.assert_allclose(loaded.raw_scores(clothes), z.max(1), rtol=1e-3)


def test_a_name_is_given_once_and_must_be_one() -> None:
    class Other(PCA):
        pass

    with pytest.raises(SettingError, match="pca: PCA has that name already"):
        register(Other)
    Other.method = "no name"
    with pytest.raises(SettingError, match=r"Other\.method is 'no name'"):
        register(Other)
    assert register(PCA) is PCA
    with pytest.raises(SettingError, match="expected a class of detectors"):
        register(int)  # type: ignore[type-var]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder as of an installed package that offers it."""
    place = tmp_path / "site"
    info = place / "own_detector-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "own_detector.py").write_text(example().replace("@register\n", ""))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-detector\nVersion: 1.0\n")
    points = (
        "pixel_deviation = own_detector:PixelDeviation",
        "broken = nowhere:Nothing",
        "odd = os:sep",
    )
    (info / "entry_points.txt").write_text("\n".join(["[anomirror.detectors]", *points]) + "\n")
    return place


def test_another_package_brings_one_to_the_command_line(
    package: Path, tmp_path: Path, clothes: np.ndarray
) -> None:
    good = tmp_path / "good"
    good.mkdir()
    for index, image in enumerate(clothes[:30]):
        Image.fromarray(image).save(good / f"{index:02d}.png")
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "anomirror", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    listed = run("methods", "pixel_deviation")
    assert "How far the pixels of an image are" in listed.stdout, listed.stderr
    every = run("methods").stdout
    assert "pixel_deviation" in every
    assert "cannot be imported" in every  # the broken one hides none
    settings = ("--method", "pixel_deviation", "--set", "quantile=0.9")
    fitted = run("fit", good, "--out", tmp_path / "model", *settings)
    assert fitted.returncode == 0, fitted.stderr
    assert run("score", tmp_path / "model", good).stdout.count("\n") == 31
    for name, message in (
        ("broken", "cannot be imported: ModuleNotFoundError"),
        ("odd", "names no detector"),
    ):
        refused = run("fit", good, "--out", tmp_path / "other", "--method", name)
        assert message in refused.stderr
        assert refused.returncode == 2
