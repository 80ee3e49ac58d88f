"""Files that hold several images, and formats that need another library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from anomirror import PCA, load
from anomirror.cli.common import resolve
from anomirror.data.sets import _in_test, images_of
from anomirror.detector.training_set import TrainingSet
from anomirror.errors import AnomirrorWarning, ImageError
from anomirror.images import (
    ImageSet,
    check_files,
    in_batches,
    iterate,
    open_images,
    white_of,
)
from anomirror.images.decoding import Header, decode, header
from anomirror.images.sets import Joined

tifffile = pytest.importorskip("tifffile")
pillow_heif = pytest.importorskip("pillow_heif")
pydicom = pytest.importorskip("pydicom")


def pictures(count: int, side: int = 40) -> list[Image.Image]:
    """Grey noise, each as high as wide."""
    rng = np.random.default_rng(0)
    shape = (side, side)
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]


def saved(file: Path, images: Sequence[Image.Image], **how: object) -> Path:
    images[0].save(file, save_all=True, append_images=images[1:], **how)
    return file


def names_in(images: ImageSet) -> list[str]:
    return [Path(name).name for name in images.names]


def opened(folder: Path) -> ImageSet:
    with pytest.warns(AnomirrorWarning, match="hold several images"):
        return open_images(folder)


# ---------------------------------------------------------------------- several images in a file


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.webp"])
def test_each_page_is_an_image_of_its_own(name: str, tmp_path: Path) -> None:
    images = pictures(3)
    saved(tmp_path / name, images, **({"lossless": True} if name == "a.webp" else {}))
    pictures(1)[0].save(tmp_path / "b.png")
    found = opened(tmp_path)
    assert names_in(found) == [f"{name}#1", f"{name}#2", f"{name}#3", "b.png"]
    framed = found.take(range(3))[:, :, 12:52, 12:52].numpy()
    for image, pixels in zip(images, framed, strict=True):
        expected = np.broadcast_to(np.asarray(image), pixels.shape).astype(int)
        assert_allclose(pixels, expected, atol=3 if name == "a.gif" else 0)  # it has a palette
    assert found.shape == (3 if name == "a.webp" else 1, 64, 64)


def test_pages_may_differ_in_size_and_mode(tmp_path: Path) -> None:
    small, large = pictures(1, 36)[0], pictures(1, 60)[0].convert("RGB")
    file = saved(tmp_path / "a.tif", [small, large])
    found = opened(tmp_path)
    assert found.shape == (3, 64, 64)
    assert_array_equal(found.native_sizes(), [[36, 36], [60, 60]])
    assert decode(f"{file}#2").shape == (3, 60, 60)
    assert header(f"{file}#2") == Header(3, 60, 60, deep=False)


def test_16_bit_colour_pages_are_read_one_by_one(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (2, 40, 50, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    found = opened(tmp_path)
    for name, page in zip(found.names, pixels, strict=True):
        assert_allclose(decode(name).numpy(), np.moveaxis(page, 2, 0) / 65535, atol=1e-6)


def test_smaller_copies_in_a_tiff_and_the_preview_of_a_photo_are_no_images(tmp_path: Path) -> None:
    large = np.asarray(pictures(1, 64)[0])
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(large)
        writer.write(large[::2, ::2], subfiletype=1)
    colour = [image.convert("RGB") for image in pictures(2)]
    colour[0].save(tmp_path / "photo.jpg", "MPO", save_all=True, append_images=colour[1:])
    assert names_in(open_images(tmp_path)) == ["photo.jpg", "pyramid.tif"]


def test_a_list_of_paths_counts_each_once_and_may_name_a_page(tmp_path: Path) -> None:
    images = pictures(3)
    file = saved(tmp_path / "a.tif", images)
    with pytest.warns(AnomirrorWarning, match=r"of a list the first of each is read; .*a\.tif#2"):
        found = open_images([str(file)])
    assert len(found) == 1
    third = open_images([f"{file}#3"]).take([0])[0, 0, 12:52, 12:52]
    assert_array_equal(third.numpy(), np.asarray(images[2]))
    (tmp_path / "list.txt").write_text("a.tif#2\na.tif#3\n")
    assert names_in(open_images(tmp_path / "list.txt")) == ["a.tif#2", "a.tif#3"]


def test_one_page_is_scored_by_its_name(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.tif", pictures(3))
    assert names_in(open_images(f"{file}#2")) == ["a.tif#2"]
    assert resolve(f"{file}#2", "test", None) == Path(f"{file}#2")


def test_a_page_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.tif", pictures(2))
    with pytest.raises(ImageError, match=r"a\.tif#3: the file has no image #3"):
        decode(f"{file}#3")
    with pytest.raises(ImageError, match=r"b\.tif#1: no such file"):
        decode(str(tmp_path / "b.tif#1"))


def test_a_damaged_animation_is_one_unreadable_file(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.gif", pictures(3))
    file.write_bytes(file.read_bytes()[:40])
    pictures(1)[0].save(tmp_path / "b.png")
    found = open_images(tmp_path)
    assert names_in(found) == ["a.gif", "b.png"]
    with pytest.raises(ImageError, match=r"a\.gif"):
        TrainingSet.of(found, None, workers=0, skip_bad=False, verbose=False)


# ---------------------------------------------------------------------- other formats


@pytest.mark.parametrize("suffix", ["avif", "jp2", "heic"])
def test_a_folder_of_other_formats_is_read(suffix: str, tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8)
    picture = Image.fromarray(np.stack([smooth, smooth // 2, 255 - smooth], 2))
    if suffix == "heic":
        pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", quality=100)
    else:
        picture.save(tmp_path / f"a.{suffix}", quality=100)
    (found,) = open_images(tmp_path).take([0]).numpy()
    assert found.shape == (3, 64, 64)
    assert np.abs(found - np.moveaxis(np.asarray(picture), 2, 0).astype(int)).mean() < 6


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("a.heic", "pillow_heif", "heic"),
        ("a.dcm", "pydicom", "formats"),
        ("a.tif", "tifffile", "formats"),
    ],
)
def test_without_its_library_a_format_is_refused_with_the_extra_s_name(
    name: str, library: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.write_bytes(b"whatever")
    if name == "a.tif":
        tifffile.imwrite(file, np.zeros((40, 50, 3), np.uint16), photometric="rgb")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImageError, match=rf"pip install 'anomirror\[{extra}\]'"):
        decode(str(file))
    with pytest.raises(ImageError, match="no such file"):
        decode(str(tmp_path / f"missing{file.suffix}"))


def dicom(file: Path, stored: np.ndarray, **values: object) -> Path:
    """A DICOM file of 12 bits in 16, of frames ``(n, h, w)`` or one ``(h, w)``."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    usual = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        **({"NumberOfFrames": len(stored)} if stored.ndim == 3 else {}),
    }
    for name, value in (usual | values).items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.astype(np.uint16).tobytes()
    dataset.save_as(file, enforce_file_format=True)
    return file


STORED = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)


@pytest.mark.parametrize(
    ("values", "white", "black"),
    [
        ({}, 4095, 0),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 0, 4095),
        # C.11.2.1.2.1: black up to c - .5 - (w - 1) / 2, white from c - .5 + (w - 1) / 2
        ({"WindowCenter": 1000.5, "WindowWidth": 401}, 1200, 800),
        ({"WindowCenter": ["1000.5", "50"], "WindowWidth": ["401", "10"]}, 1200, 800),
        (
            {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
            1200,
            800,
        ),
        # in rescaled units: 2 * stored - 100
        (
            {
                "WindowCenter": 1000.5,
                "WindowWidth": 401,
                "RescaleSlope": 2,
                "RescaleIntercept": -100,
            },
            650,
            450,
        ),
    ],
)
def test_a_dicom_is_as_its_window_shows_it(
    values: dict[str, object], white: float, black: float, tmp_path: Path
) -> None:
    found = decode(str(dicom(tmp_path / "a.dcm", STORED, **values)))
    expected = np.clip((STORED.astype(float) - black) / (white - black), 0, 1)
    assert_allclose(found[0].numpy(), expected, atol=2e-3 if values else 1e-4)
    assert header(str(tmp_path / "a.dcm")) is not None


def test_a_sigmoid_window_is_half_at_its_centre(tmp_path: Path) -> None:
    values = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    found = decode(str(dicom(tmp_path / "a.dcm", STORED, **values)))[0].numpy()
    assert_allclose(found, 1 / (1 + np.exp(-4 * (STORED - 2000.0) / 1000)), atol=1e-4)


def test_frames_of_a_dicom_are_images(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", np.stack([STORED, STORED[::-1]]))
    found = opened(tmp_path)
    assert names_in(found) == ["a.dcm#1", "a.dcm#2"]
    first, second = found.take([0, 1]).numpy()
    assert_array_equal(first, second[:, ::-1])


def test_a_dicom_without_pixels_and_16_bit_colour_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((64, 64 * 3), np.uint16)
    file = dicom(
        tmp_path / "a.dcm",
        colour,
        SamplesPerPixel=3,
        Columns=64,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsStored=16,
        HighBit=15,
    )
    with pytest.raises(ImageError, match="16-bit colour DICOM is not supported"):
        decode(str(file))
    (tmp_path / "b.dcm").write_bytes(b"no DICOM at all")
    with pytest.raises(ImageError, match=r"b\.dcm: .*DICOM"):
        decode(str(tmp_path / "b.dcm"))


def test_no_number_in_a_jpeg_2000_makes_it_16_bit_colour(tmp_path: Path) -> None:
    """Pillow tells its decoder the length of the file, in which there may be a 16."""
    rng, lengths = np.random.default_rng(0), set()
    for side in range(24, 64):
        file = tmp_path / f"{side}.jp2"
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(file)
        lengths.add("16" in str(file.stat().st_size))
        assert decode(str(file)).shape == (1, side, side)
    assert lengths == {True, False}


@pytest.mark.parametrize("suffix", ["dcm", "heic", "tif"])
def test_too_many_megapixels_are_refused_in_every_format(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix == "dcm":
        dicom(file, STORED)
    elif suffix == "heic":
        pillow_heif.from_pillow(pictures(1, 64)[0].convert("RGB")).save(file)
    else:
        pictures(1, 64)[0].save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="megapixels, more than"):
        decode(str(file))


def test_a_dicom_that_lies_about_its_frames_is_one_unreadable_file(tmp_path: Path) -> None:
    file = dicom(tmp_path / "a.dcm", STORED, NumberOfFrames=3_000_000)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "b.png")
    assert names_in(open_images(tmp_path)) == ["a.dcm", "b.png"]
    with pytest.raises(ImageError, match="says that it holds 3,000,000 images"):
        decode(str(file))


@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": 1000, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": ["", ""], "WindowWidth": ["", ""]},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
def test_a_window_that_is_none_counts_as_none(values: dict[str, object], tmp_path: Path) -> None:
    found = decode(str(dicom(tmp_path / "a.dcm", STORED, **values)))[0].numpy()
    assert_allclose(found, STORED / 4095, atol=1e-4)


def test_a_frame_has_the_window_of_its_own_or_of_all(tmp_path: Path) -> None:
    def group(**values: float) -> pydicom.Dataset:
        window, all_of = pydicom.Dataset(), pydicom.Dataset()
        for name, value in values.items():
            setattr(window, name, value)
        all_of.FrameVOILUTSequence = [window]
        return all_of

    narrow, wide = (
        group(WindowCenter=1000.5, WindowWidth=401),
        group(WindowCenter=2048, WindowWidth=4096),
    )
    file = dicom(
        tmp_path / "a.dcm",
        np.stack([STORED, STORED]),
        PerFrameFunctionalGroupsSequence=[narrow, pydicom.Dataset()],
        SharedFunctionalGroupsSequence=[wide],
    )
    first, second = (decode(f"{file}#{page}")[0].numpy() for page in (1, 2))
    assert_allclose(first, np.clip((STORED - 800.0) / 400, 0, 1), atol=2e-3)
    assert_allclose(second, STORED / 4095, atol=2e-3)


def test_a_file_that_is_called_like_a_page_is_itself(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.tif", pictures(3))
    other = tmp_path / "a.tif#3"
    Image.new("L", (30, 20), 9).save(other, "PNG")
    assert decode(str(other)).shape == (1, 20, 30)
    assert decode(f"{file}#2").shape == (1, 40, 40)


def test_pages_in_a_list_lie_beside_it_or_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "a.tif", pictures(3))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "list.txt").write_text("a.tif#2\n")
    monkeypatch.chdir(tmp_path)
    assert len(check_files(open_images(tmp_path / "sub" / "list.txt"))[1]) == 0


def test_many_pages_are_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the beginning of the file for each."""
    file, opens = saved(tmp_path / "a.tif", pictures(30)), []
    original = Image.open
    names = opened(tmp_path).names
    monkeypatch.setattr(Image, "open", lambda *args: opens.append(args) or original(*args))
    for name in names:
        decode(name)
    assert len(opens) <= 1
    file.write_bytes(saved(tmp_path / "b.tif", pictures(2, 36)).read_bytes())
    assert decode(f"{file}#1").shape == (1, 36, 36)  # changed since: read again


def test_pages_are_read_by_worker_processes_too(tmp_path: Path) -> None:
    images = pictures(40)
    saved(tmp_path / "a.tif", images)
    found = opened(tmp_path)
    found.take([39])  # this process has the file open
    batches = list(iterate(found, in_batches(40, 4), workers=2))
    framed = np.concatenate([batch.numpy() for batch in batches])[:, 0, 12:52, 12:52]
    assert_array_equal(framed, np.stack([np.asarray(image) for image in images]))


# ---------------------------------------------------------------------- bits in use


def camera(folder: Path, top: int, count: int = 24) -> np.ndarray:
    """16-bit images whose brightest pixel is as bright as this, ``(n, 40, 40)``."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, top + 1, (count, 40, 40)).astype(np.uint16)
    pixels[:, 0, 0] = top
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{index:02}.png")
    return pixels


@pytest.mark.parametrize(("top", "bits"), [(200, 8), (1000, 10), (4095, 12), (4096, 14)])
def test_a_camera_of_fewer_bits_has_its_own_white(top: int, bits: int, tmp_path: Path) -> None:
    pixels = camera(tmp_path / "good", top)
    with pytest.warns(AnomirrorWarning, match=rf"fill {bits} of them, so {2**bits - 1:,} is taken"):
        images = open_images(tmp_path / "good")
    assert_allclose(images.take([3])[0, 0, 12:52, 12:52], pixels[3] / (2**bits - 1), atol=1e-6)
    with pytest.warns(AnomirrorWarning, match="such as those of the array"):
        same = open_images(pixels)
    assert_array_equal(same.take([3]), images.take([3]))


def test_a_model_keeps_the_white_that_it_was_fitted_with(tmp_path: Path) -> None:
    pixels = camera(tmp_path / "good", 4000)
    with pytest.warns(AnomirrorWarning, match="fill 12 of them"):
        model = PCA(random_state=0).fit(tmp_path / "good")
    assert model.white_ == 4095
    again = load(model.save(tmp_path / "model"))
    dark = pixels[:3] // 8  # would have 10 bits by itself
    Image.fromarray(dark[0]).save(tmp_path / "dark.png")
    (from_file,) = again.raw_scores(tmp_path / "dark.png")
    assert_allclose(from_file, again.raw_scores(dark)[0], rtol=1e-6)
    assert_allclose(from_file, again.raw_scores(dark / np.float32(4095))[0], rtol=1e-5)
    white, bright = (np.full((1, 40, 40), value, np.uint16) for value in (4095, 9000))
    assert again.raw_scores(bright) > again.raw_scores(white)  # is not cut off


def test_what_fills_16_bits_and_what_a_window_shows_stay_as_they_are(tmp_path: Path) -> None:
    pixels = camera(tmp_path / "good", 65535)
    images = open_images(tmp_path / "good")
    assert_allclose(images.take([3])[0, 0, 12:52, 12:52], pixels[3] / 65535, atol=1e-6)
    (tmp_path / "dark").mkdir()
    # a window so wide that all that is stored is nearly black
    dicom(tmp_path / "dark" / "a.dcm", STORED, WindowCenter=50_000, WindowWidth=100_001)
    found = open_images(tmp_path / "dark").take([0])
    assert 0.03 < found.max() < 0.05


def test_an_image_that_was_not_looked_at_may_be_brighter(tmp_path: Path) -> None:
    pixels = camera(tmp_path / "good", 900, count=100)
    pixels[1, 5, 5] = 60_000
    Image.fromarray(pixels[1]).save(tmp_path / "good" / "01.png")
    (tmp_path / "bad").mkdir()
    Image.fromarray(np.full((40, 40), 30_000, np.uint16)).save(tmp_path / "bad" / "a.png")
    normal = open_images(tmp_path / "good")
    both = Joined(normal, open_images(tmp_path / "bad", shape=normal.shape, frame=normal.frame))
    with pytest.warns(AnomirrorWarning, match="65,535 is taken for white after all"):
        found, _ = check_files(both)
    assert white_of(found) == 65535
    assert_allclose(found.take([1])[0, 0, 12:52, 12:52], pixels[1] / 65535, atol=1e-6)
    assert_allclose(found.take([100])[0, 0, 12:52, 12:52], 30_000 / 65535, atol=1e-6)


def test_sets_of_a_benchmark_are_in_the_same_units(tmp_path: Path) -> None:
    means = {}
    for name, top in (("good", 4000), ("dark", 900)):
        camera(tmp_path / name, top)
        means[name] = images_of(str(tmp_path / name), None, (64, 1), None).images.mean()
    assert means["dark"] < 0.5 * means["good"]


def test_pages_of_one_file_are_not_parted_by_a_benchmark() -> None:
    assert len({_in_test(f"folder/scan.tif#{page}") for page in range(1, 60)}) == 1
