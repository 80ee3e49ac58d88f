"""Any input becomes a set of images of one shape; bad input is named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch.utils.data import Dataset

from anomirror.errors import ImageError, InputError, SettingError
from anomirror.images import (
    ArrayImages,
    FileImages,
    Frame,
    Joined,
    MappedImages,
    Subset,
    check_files,
    decode,
    find_files,
    fingerprint,
    in_batches,
    iterate,
    open_images,
    to_network,
)

RNG = np.random.default_rng(0)


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five grey PNGs, one of them in a subfolder, and things that are no images."""
    (tmp_path / "sub").mkdir()
    for index in range(4):
        Image.fromarray(picture(30, 20)).save(tmp_path / f"{index}.png")
    Image.fromarray(picture(32, 24)).save(tmp_path / "sub" / "deep.PNG")
    (tmp_path / "notes.md").write_text("no image")
    return tmp_path


def test_pixels_span_minus_one_to_one() -> None:
    assert to_network(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert to_network(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 28, 28, 1), (4, 1, 28, 28)])
def test_layouts_of_one_array_are_the_same_images(shape: tuple[int, ...]) -> None:
    images = np.arange(4 * 28 * 28, dtype=np.uint32).reshape(shape) % 256
    opened = open_images(images.astype(np.uint8))
    assert opened.shape == (1, 32, 32)
    assert_array_equal(opened.take([2])[0, 0, 2:30, 2:30].numpy().ravel(), images.reshape(4, -1)[2])


def test_channels_are_the_smaller_axis_and_a_tie_is_refused() -> None:
    assert open_images(picture(2, 12, 40, 40)).shape == (12, 64, 64)
    assert open_images(picture(2, 40, 40, 12)).shape == (12, 64, 64)
    with pytest.raises(InputError, match="it is unclear which one is channels"):
        open_images(picture(2, 8, 9, 8))
    assert open_images(picture(2, 3, 9, 8), shape=(3, 32, 32)).shape == (3, 32, 32)


def test_floats_and_bytes_of_one_image_reach_the_network_alike() -> None:
    images = picture(3, 32, 32)
    a, b = (to_network(open_images(x).take([0, 1, 2])) for x in (images, (images / 255.0)))
    assert_allclose(a, b, atol=1e-6)


def test_sixteen_bit_and_boolean_arrays_use_their_own_range() -> None:
    deep = np.array([[[0, 65535]]], np.uint16)
    values = open_images(deep).take([0])
    assert (float(values.min()), float(values.max())) == (0.0, 1.0)
    assert open_images(np.ones((1, 2, 2), bool)).take([0]).max() == 255


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 8, 8), np.uint8), "the array is empty"),
        (np.zeros((2, 8, 8, 8, 1), np.uint8), "expected images as"),
        (np.array(["a"], object), "a: no such file"),
        (np.full((2, 8, 8), -1.0), "float pixels from -1 to -1"),
        (np.full((2, 8, 8), 300), "integer pixels from 300"),
        (np.full((2, 8, 8), np.inf), "image 0 holds NaN or infinity"),
        (np.zeros((2, 8, 8), complex), "expected uint8"),
        (np.zeros((2, 0, 8, 1), np.uint8), "hold no pixel"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_images(array)


def test_small_images_are_padded_in_the_middle_and_keep_their_pixels() -> None:
    frame = Frame.choose(28, 20, None)
    assert frame == Frame(32, 1, 32)
    image = torch.from_numpy(picture(1, 28, 20))
    framed = frame.put(image)
    assert framed.shape == (1, 32, 32)
    assert_array_equal(framed[:, 2:30, 6:26], image)
    assert int(framed.sum()) == int(image.sum())


@pytest.mark.parametrize(
    ("height", "width"), [(30, 20), (20, 30), (100, 50), (33, 64), (300, 200), (7, 1)]
)
@pytest.mark.parametrize("image_size", [None, 32, 64])
def test_framing_keeps_the_aspect_and_can_be_taken_back(
    height: int, width: int, image_size: int | None
) -> None:
    frame = Frame.choose(height, width, image_size)
    top, left, inner_height, inner_width = frame.inner(height, width)
    assert inner_height / inner_width == pytest.approx(
        height / width, rel=0.5 / min(inner_height, inner_width) + 0.05
    )
    assert max(top * 2 + inner_height, left * 2 + inner_width) <= frame.size
    maps = frame.put(torch.ones(2, 1, height, width))[:, 0]
    back = frame.take_out(maps, height, width)
    assert back.shape == (2, height, width)
    assert_allclose(back, 1.0, atol=1e-5)


def test_only_the_networks_sizes_are_allowed() -> None:
    with pytest.raises(SettingError, match="image_size=48: choose one of 32, 64, 128, 256"):
        open_images(picture(2, 40, 40), image_size=48)
    assert open_images(picture(1, 600, 300)).shape == (1, 256, 256)


def test_a_folder_is_searched_recursively_in_order(folder: Path) -> None:
    images = open_images(folder)
    assert [Path(n).name for n in images.names] == ["0.png", "1.png", "2.png", "3.png", "deep.PNG"]
    assert images.shape == (1, 32, 32)
    assert images.take([0, 4]).shape == (2, 1, 32, 32)
    assert images.native_size(0) == (30, 20)


def test_a_list_of_paths_a_text_file_and_one_file(folder: Path) -> None:
    (folder / "list.txt").write_text("# two\n0.png\n\nsub/deep.PNG\n")
    assert len(open_images(folder / "list.txt")) == 2
    assert len(open_images([folder / "0.png", folder / "1.png"])) == 2
    assert len(open_images(str(folder / "0.png"))) == 1


def test_arrays_in_files(tmp_path: Path) -> None:
    images = picture(3, 28, 28)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images)
    np.savez(tmp_path / "c.npz", images, images)
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "e.npy").write_bytes(b"nonsense")
    for name in ("a.npy", "b.npz"):
        assert_array_equal(open_images(tmp_path / name).take([1])[0, 0, 2:30, 2:30], images[1])
    with pytest.raises(InputError, match="holds 2 arrays"):
        open_images(tmp_path / "c.npz")
    for name in ("d.npy", "e.npy"):  # a pickle is never opened
        with pytest.raises(InputError, match="not a readable array"):
            open_images(tmp_path / name)
    with pytest.raises(ImageError, match="no such file"):
        open_images(tmp_path / "f.npy")


def test_missing_and_empty_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        find_files(tmp_path / "nothing")
    with pytest.raises(ImageError, match="no image in this folder"):
        find_files(tmp_path)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ImageError, match="names no file"):
        find_files(tmp_path / "list.txt")


def test_corrupt_files_are_listed_with_their_reason(folder: Path) -> None:
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "a.jpg").write_text("not an image")
    opened = open_images(folder)
    images, bad = check_files(opened)
    assert [(Path(opened.names[index]).name, index) for index in bad] == [
        ("1.png", 1),
        ("a.jpg", 4),
    ]
    assert bad[4] == "not an image that can be identified"
    assert len(images) == 4
    assert images.in_memory


def test_when_no_file_can_be_read_the_first_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(ImageError, match="none of 1 files can be read"):
        open_images(tmp_path)


def test_a_set_larger_than_the_limit_is_not_kept_in_memory(folder: Path) -> None:
    opened = open_images(folder)
    kept, _ = check_files(opened)
    streamed, _ = check_files(opened, memory_limit=100)
    assert isinstance(streamed, FileImages)
    assert not streamed.in_memory
    assert torch.equal(kept.take(range(5)), streamed.take(range(5)))
    assert fingerprint(kept) == fingerprint(streamed)


def test_worker_processes_bring_the_same_batches(folder: Path) -> None:
    images = open_images(folder)
    order = [[4, 0], [1, 2, 3]]
    before = torch.get_rng_state()
    alone, together = (list(iterate(images, order, workers)) for workers in (0, 2))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("CMYK", 3), ("I;16", 1)],
)
def test_every_pixel_mode_is_grey_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    base = (
        Image.fromarray((picture(9, 7) / 255 * 65535).astype(np.uint16)) if mode == "I;16" else None
    )
    image = base or Image.fromarray(picture(9, 7, 3)).convert(mode)
    file = tmp_path / "a.tif"
    image.save(file)
    assert decode(str(file)).shape == (channels, 9, 7)
    assert decode(str(file), 3).shape == (3, 9, 7)


def test_sixteen_bit_files_are_scaled_not_cut(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert decode(str(tmp_path / "a.png")).tolist() == [
        [[0.0, float(np.float32(32768 / 65535)), 1.0]]
    ]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(picture(10, 20, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert decode(str(tmp_path / "a.jpg")).shape == (3, 20, 10)
    assert open_images(tmp_path).native_size(0) == (20, 10)


class Pairs(Dataset[tuple[object, int]]):
    def __init__(self, images: list[object]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self.images[index], 7


def test_torch_datasets_of_arrays_tensors_and_pictures() -> None:
    image = picture(20, 24, 3)
    forms = [
        image,
        torch.from_numpy(image).permute(2, 0, 1),
        Image.fromarray(image),
        image.astype(np.float32) / 255,
    ]
    for form in forms:
        opened = open_images(Pairs([form, form]))
        assert opened.shape == (3, 32, 32)
        assert_allclose(
            to_network(opened.take([0, 1]))[1, :, 6:26, 4:28],
            to_network(torch.from_numpy(image).permute(2, 0, 1)),
            atol=1e-6,
        )
    with pytest.raises(ImageError, match="image 1 of the dataset has 1 channels, not 3"):
        open_images(Pairs([image, image[..., 0]])).take([0, 1])
    with pytest.raises(ImageError, match="empty"):
        open_images(Pairs([]))


def test_images_without_a_name_are_numbered() -> None:
    names = open_images(picture(3, 28, 28)).names
    assert list(names) == ["image 0", "image 1", "image 2"]
    assert names[1:] == ["image 1", "image 2"]
    with pytest.raises(IndexError):
        names[3]


def test_subsets_and_joins_keep_names_and_order(folder: Path) -> None:
    files, array = open_images(folder), open_images(picture(3, 28, 28))
    subset = Subset(files, [4, 1])
    assert [Path(n).name for n in subset.names] == ["deep.PNG", "1.png"]
    assert subset.native_size(0) == (32, 24)
    joined = Joined(files, array)
    assert len(joined) == 8
    assert torch.equal(joined.take([0, 6]), torch.cat([files.take([0]), array.take([1])]))
    assert joined.native_size(7) == (28, 28)
    with pytest.raises(ImageError, match="cannot be joined"):
        Joined(files, open_images(picture(3, 40, 40)))


def test_the_fingerprint_changes_with_a_pixel_and_with_the_number() -> None:
    images = picture(10, 8, 8)
    changed = images.copy()
    changed[4, 3, 3] ^= 1
    prints = {fingerprint(open_images(x)) for x in (images, changed, images[:9])}
    assert len(prints) == 3


def test_a_folder_of_grey_and_colour_and_of_sizes_loses_neither(tmp_path: Path) -> None:
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.png")
    Image.fromarray(picture(60, 50, 3)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("broken")
    images = open_images(tmp_path)
    assert images.shape == (3, 64, 64)
    assert len(check_files(images)[0]) == 2


def test_damaged_lists_and_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match="not UTF-8"):
        open_images(tmp_path / "list.txt")
    np.savez_compressed(tmp_path / "a.npz", picture(3, 28, 28))
    whole = (tmp_path / "a.npz").read_bytes()
    for cut in (30, len(whole) // 2, len(whole) - 10):
        (tmp_path / "a.npz").write_bytes(whole[:cut])
        with pytest.raises(InputError, match="not a readable array"):
            open_images(tmp_path / "a.npz")


def test_a_damaged_exif_block_is_a_reason_like_any_other(tmp_path: Path) -> None:
    """A height given as text: Pillow raises struct.error when it turns the image."""
    entries = (
        b"\x01\x01\x00\x02\x00\x00\x00\x02x\x00\x00\x00"
        + b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    )
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" + entries + b"\x00\x00\x00\x00"
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(picture(20, 20)).save(tmp_path / "b.jpg")
    images, bad = check_files(open_images(tmp_path))
    assert list(bad) == [0]
    assert len(images) == 1


def test_an_invalid_exif_orientation_turns_nothing(tmp_path: Path) -> None:
    image = Image.fromarray(picture(20, 28))
    exif = image.getexif()
    exif[0x0112] = 9
    image.save(tmp_path / "a.jpg", exif=exif)
    assert (
        open_images(tmp_path).native_size(0)
        == tuple(decode(str(tmp_path / "a.jpg")).shape[1:])
        == (20, 28)
    )


def test_the_fingerprint_sees_every_image() -> None:
    images = picture(300, 8, 8)
    prints = {fingerprint(open_images(images))}
    for index in range(0, 300, 7):
        changed = images.copy()
        changed[index] ^= 255
        prints.add(fingerprint(open_images(changed)))
    assert len(prints) == 1 + len(range(0, 300, 7))


def test_a_list_with_a_byte_order_mark_and_paths_from_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "l.txt").write_text("\ufeff../0.png\n1.png\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    assert open_images(folder / "lists" / "l.txt").take([0, 1]).shape == (2, 1, 32, 32)
    (folder / "lists" / "l.txt").write_text("nowhere.png\n1.png\n", encoding="utf-8")
    opened = open_images(folder / "lists" / "l.txt")
    assert opened.names[0] == str(folder / "lists" / "nowhere.png")
    assert check_files(opened)[1] == {0: "no such file"}


def test_a_broken_file_is_named_by_worker_processes_too(folder: Path) -> None:
    images = open_images(folder)
    (folder / "1.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"1\.png: not an image that can be identified$") as caught:
        list(iterate(images, [[0], [1], [2]], workers=2))
    assert caught.value.bad == [(str(folder / "1.png"), "not an image that can be identified")]


class Breaks(Pairs):
    def __getitem__(self, index: int) -> tuple[object, int]:
        if index == 2:
            raise OSError("broken file 2")
        return super().__getitem__(index)


def test_a_dataset_is_framed_by_its_largest_item_and_its_bad_items_are_listed() -> None:
    items = [picture(10, 10), picture(60, 50), picture(9, 9), picture(9, 9, 3), picture(8, 8)]
    opened = open_images(Breaks(items))
    assert opened.shape == (1, 64, 64)
    images, bad = check_files(opened)
    assert bad == {2: "cannot be read: broken file 2", 3: "has 3 channels, not 1"}
    assert len(images) == 3
    assert images.native_size(2) == (8, 8)
    with pytest.raises(ImageError, match="image 2 of the dataset cannot be read: broken file 2"):
        open_images(Breaks(items), shape=(1, 64, 64)).take([2])


def test_narrow_grey_items_are_images() -> None:
    sizes = [(28, 4), (28, 3), (1, 28), (28, 1), (1, 1)]
    opened = open_images(Pairs([picture(*size) for size in sizes]))
    assert opened.shape == (1, 32, 32)
    assert [opened.native_size(index) for index in range(len(sizes))] == sizes


def test_what_is_unreadable_in_joined_sets_is_known_by_its_place() -> None:
    """Both parts name their images alike."""
    joined = Joined(
        open_images(Pairs([picture(9, 9)] * 4)), open_images(Breaks([picture(9, 9)] * 4))
    )
    images, bad = check_files(joined)
    assert bad == {6: "cannot be read: broken file 2"}
    assert len(images) == 7


def test_sizes_of_checked_files_are_known_without_the_files(folder: Path) -> None:
    checked, _ = check_files(open_images(folder))
    streamed, _ = check_files(open_images(folder), memory_limit=0)
    for file in folder.rglob("*.[pP]*"):
        file.unlink()
    for images in (checked, streamed):
        assert [images.native_size(index) for index in (0, 4)] == [(30, 20), (32, 24)]


def test_axes_of_usual_channel_counts_are_channels() -> None:
    assert open_images(picture(20, 2, 40, 3)).shape == (3, 64, 64)
    assert open_images(picture(20, 3, 40, 2)).shape == (3, 64, 64)
    assert open_images(picture(20, 1, 1, 1)).shape == (1, 32, 32)
    with pytest.raises(InputError, match="it is unclear which one is channels"):
        open_images(picture(20, 1, 28, 1))
    with pytest.raises(InputError, match="images have 3 channels, the detector was fitted on 1"):
        open_images(picture(28, 28, 3), shape=(1, 32, 32))


def test_bfloat16_rounding_errors_and_ragged_lists() -> None:
    assert open_images(torch.rand(2, 8, 8).bfloat16()).take([0]).dtype == torch.float32
    assert float(open_images(np.full((1, 8, 8), 1.000001)).take([0]).max()) == 1.0
    with pytest.raises(InputError, match=r"float pixels from 1\.001 to 1\.001"):
        open_images(np.full((1, 8, 8), 1.001))
    with pytest.raises(InputError, match="images of different sizes can come as files"):
        open_images([[[1, 2], [3, 4]], [[1, 2, 3]]])


def test_float_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="save them with 8 or 16 bits"):
        decode(str(tmp_path / "a.tif"))


def test_an_array_is_not_copied_and_its_batches_are() -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    images = cast(ArrayImages, open_images(array))
    array[3] = 7
    batch = images.take([3])
    assert (batch[..., 2:30, 2:30] == 7).all()
    batch.zero_()
    assert array[3].any()


def test_a_file_larger_than_memory_is_checked_and_read_in_pieces(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((6000, 28, 28), dtype=np.float32)
    np.save(tmp_path / "a.npy", array)
    size = (tmp_path / "a.npy").stat().st_size
    tracemalloc.start()
    images = open_images(tmp_path / "a.npy")
    for batch in in_batches(len(images), 256):
        images.take(batch)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < size / 3
    array[5000, 3, 3] = np.nan
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match="image 5000 holds NaN"):
        open_images(tmp_path / "a.npy")
    array[5000, 3, 3] = 7
    with pytest.raises(InputError, match="to 7: expected 0 to 1"):
        open_images(array)


def test_part_of_a_folder_is_its_own_set(folder: Path) -> None:
    files = cast(FileImages, open_images(folder))
    part = files.part(range(1, 3))
    assert list(part.names) == list(files.names)[1:3]
    assert torch.equal(part.take([0]), files.take([1]))


def test_an_npy_file_is_read_in_pieces_or_taken_into_memory_if_it_fits_and_refused_once_it_changes(
    tmp_path: Path,
) -> None:
    array = picture(40, 28, 28)
    np.save(tmp_path / "a.npy", array)
    images = open_images(tmp_path / "a.npy")
    assert isinstance(images, MappedImages)
    in_memory, _ = check_files(images)
    assert not isinstance(in_memory, MappedImages)
    assert check_files(images, memory_limit=1000)[0] is images
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes())
    # a new file of that name leaves the mapped one as it is
    (tmp_path / "b.npy").replace(tmp_path / "a.npy")
    assert torch.equal(images.take([39]), in_memory.take([39]))
    other = open_images(tmp_path / "a.npy")
    # numpy writes into the same file, which is now too short
    np.save(tmp_path / "a.npy", array[:5])
    with pytest.raises(InputError, match=r"a.npy: was changed while it was read"):
        other.take([39])
    with pytest.raises(InputError, match=r"a.npy: was changed while it was read"):
        check_files(other)
    assert torch.equal(in_memory.take([39])[0, 0, 2:30, 2:30], torch.from_numpy(array[39]))


def test_sixteen_bits_have_their_range_in_every_byte_order() -> None:
    values = np.array([[[0, 65535], [257, 514]]], dtype=np.uint16)
    expected = open_images(values).take([0])
    assert torch.equal(open_images(values.astype(">u2")).take([0]), expected)


def test_a_folder_that_links_into_itself_is_searched_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub" / "again").symlink_to(folder)
    (folder / "linked.png").symlink_to(folder / "0.png")
    expected = ["0.png", "1.png", "2.png", "3.png", "linked.png", "sub/deep.PNG"]
    assert [str(Path(found).relative_to(folder)) for found in find_files(folder).paths] == expected
    monkeypatch.chdir(folder)
    assert find_files(Path()).paths == expected


def test_finding_files_holds_their_paths_and_no_more(tmp_path: Path) -> None:
    for index in range(2000):
        (tmp_path / f"{index:04d}.png").touch()
    tracemalloc.start()
    found = find_files(tmp_path).paths
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest / len(found) < 49 + len(found[0]) + 40
