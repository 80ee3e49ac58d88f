"""Compressed lengths: each codec, the cache, and what is said of a codec that is not there."""

from __future__ import annotations

import io
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from anomirror import codecs
from anomirror.codecs import CODECS, Codec, compressed_bits, installed, pictures
from anomirror.errors import InputError, MissingDependencyError, SettingError

RNG = np.random.default_rng(0)
FLAT, NOISE = np.full((32, 32), 77, np.uint8), RNG.integers(0, 256, (32, 32), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("codec", list(CODECS))
def test_noise_costs_8_bits_a_value_and_a_flat_picture_next_to_nothing(codec: str) -> None:
    if not installed(codec):
        pytest.skip(f"{codec} is not installed")
    flat, noise, colour = compressed_bits([FLAT, NOISE, COLOUR], codec)
    assert 0 < flat < 1000
    assert 8 * 1024 <= noise < 8 * 1024 * 1.25
    assert 8 * 3 * 1024 <= colour < 8 * 3 * 1024 * 1.25


@pytest.mark.parametrize("codec", ["png", "webp"])
def test_a_length_is_that_of_the_file_and_the_file_gives_the_picture_back(
    codec: str, clothes: np.ndarray
) -> None:
    for picture in clothes[:5]:
        stream = io.BytesIO()
        settings = {"png": {"optimize": True}, "webp": {"lossless": True}}[codec]
        Image.fromarray(picture).save(stream, codec.upper(), **settings)
        assert compressed_bits([picture], codec)[0] == 8 * len(stream.getvalue())
        assert_array_equal(np.asarray(Image.open(stream).convert("L")), picture)


def test_codecs_agree_on_what_is_complex(clothes: np.ndarray) -> None:
    by_zlib = np.array(
        [
            len(zlib.compress(np.diff(picture.astype(np.int16)).astype(np.uint8).tobytes(), 9))
            for picture in clothes
        ]
    )
    for codec in filter(installed, CODECS):
        assert np.corrcoef(compressed_bits(clothes, codec), by_zlib)[0, 1] > 0.85, codec


def test_what_was_compressed_is_not_compressed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counting(pictures: list[np.ndarray]) -> list[int]:
        seen.append(len(pictures))
        return [int(picture.sum()) % 1000 + 1 for picture in pictures]

    monkeypatch.setitem(CODECS, "counting", Codec(counting, lambda: "1.0"))  # type: ignore[arg-type]
    first = compressed_bits([FLAT, NOISE, FLAT], "counting", tmp_path)
    again = compressed_bits([NOISE, FLAT, FLAT, COLOUR], "counting", tmp_path)
    assert seen == [2, 1]
    assert first.tolist() == [*again[[1, 0]], again[1]]
    same_bytes = FLAT.reshape(16, 64)
    compressed_bits([same_bytes], "counting", tmp_path)
    assert seen == [2, 1, 1]  # another shape is another image
    assert compressed_bits([], "counting", tmp_path).shape == (0,)
    compressed_bits([FLAT, FLAT], "counting")
    assert seen == [2, 1, 1, 1]  # alike images once, without a folder, too
    monkeypatch.setitem(CODECS, "counting", Codec(counting, lambda: "1.1"))  # type: ignore[arg-type]
    compressed_bits([FLAT], "counting", tmp_path)
    assert seen == [2, 1, 1, 1, 1]  # another version of the program may compress otherwise
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "counting-1.0.sqlite",
        "counting-1.1.sqlite",
    ]


def test_a_cache_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    compressed_bits([FLAT], "png", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=f"{file}: cannot remember lengths .* remove it"):
        compressed_bits([FLAT], "png", tmp_path)
    with pytest.raises(InputError, match="cannot remember lengths"):
        compressed_bits([FLAT], "png", file / "below a file")


def test_pictures_are_grey_coloured_or_channels_one_below_the_other() -> None:
    values = torch.randint(256, (2, 5, 4, 6), dtype=torch.uint8)
    for channels, shape in ((1, (4, 6)), (3, (4, 6, 3)), (5, (20, 6))):
        x = values[:, :channels].float() / 127.5 - 1
        found = pictures(x)
        assert [picture.shape for picture in found] == [shape] * 2
    assert_array_equal(
        pictures(values[:, :3].float() / 127.5 - 1)[1], values[1, :3].permute(1, 2, 0).numpy()
    )
    assert_array_equal(pictures(values.float() / 127.5 - 1)[0][4:8], values[0, 1].numpy())


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(SettingError, match="codec='jpeg': choose one of png, webp, jpeg-xl, flif"):
        compressed_bits([FLAT], "jpeg")


def test_a_codec_that_is_not_there_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'anomirror\[codecs\]'"):
        CODECS["jpeg-xl"].require()
    planted = tmp_path / "node_modules" / "flif-wasm" / "lib"
    planted.mkdir(parents=True)
    (planted / "flif.js").write_text("process.exit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NODE_PATH", raising=False)
    with pytest.raises(MissingDependencyError, match="npm install flif-wasm.* NODE_PATH"):
        CODECS["flif"].require()  # what lies below the working folder is not run
    monkeypatch.setenv("NODE_PATH", "node_modules")
    with pytest.raises(MissingDependencyError, match="by the whole path, in NODE_PATH"):
        CODECS["flif"].require()
    monkeypatch.setenv("NODE_PATH", str(tmp_path / "node_modules"))
    monkeypatch.setattr(codecs.shutil, "which", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"needs Node\.js"):
        CODECS["flif"].require()


def test_a_codec_that_fails_is_told_of_and_counts_as_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("node") is None:
        pytest.skip("no Node.js here")
    package = tmp_path / "flif-wasm"
    (package / "lib").mkdir(parents=True)
    (package / "lib" / "flif.js").write_text("console.error('out of memory'); process.exit(1)")
    monkeypatch.setenv("NODE_PATH", str(tmp_path))
    with pytest.raises(InputError, match="Node ended with 1: out of memory"):
        CODECS["flif"].require()
    installed.cache_clear()
    try:
        assert not installed("flif")
    finally:
        installed.cache_clear()
