"""Whatever lies in a folder is read, refused by name, or left out and counted."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomirror.errors import ImageError
from anomirror.images import check_files, open_images
from anomirror.images.decoding import decode
from tests.corpus.kinds import GREY, KINDS, Kind

GOOD = "z good.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One good image, last in order."""
    made = tmp_path / "images"
    made.mkdir()
    Image.fromarray(GREY).save(made / GOOD)
    return made


def test_there_are_enough_kinds_and_each_has_a_name() -> None:
    assert len(KINDS) == len({kind.name for kind in KINDS}) >= 60


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_file(kind: Kind, folder: Path) -> None:
    kind.make(folder)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images = open_images(folder)
        _, bad = check_files(images)
    assert bool(bad) == bool(kind.refused)
    assert len(images) - len(bad) == kind.images * (not kind.refused) + 1
    if kind.refused:
        with pytest.raises(ImageError, match=kind.refused):
            decode(images.names[0])
    if kind.left_out:
        assert any(kind.left_out in str(each.message) for each in said)
    if kind.expected is not None:
        found = np.moveaxis(decode(images.names[0]).numpy(), 0, 2)
        deep = kind.expected.dtype == np.uint16
        expected = kind.expected / (65535 if deep else 1)
        found = found[..., 0] if expected.ndim == 2 else found
        assert found.shape == expected.shape
        assert np.abs(found.astype(float) - expected).mean() * (256 if deep else 1) <= max(
            kind.tolerance, 0.01 if deep else 0
        )
