"""What a set of images is, and how any input becomes one.

Everything above this floor sees an :class:`ImageSet`: a number of images of one shape ``(channels, size, size)``, read in
batches of uint8 (0..255) or float32 (0..1) tensors. Arrays and tensors stay in memory; folders, file lists and torch
datasets are read image by image, so a set may be larger than memory.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from anomirror.errors import ImageError, InputError, SettingError

SIZES = (32, 64, 128, 256)
"""Side lengths that the networks are built for."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".webp", ".gif"})
"""File name endings, in lower case, that count as images when a folder is searched."""

ROUNDING = 1e-5
"""How far beyond [0, 1] a float pixel may lie and be clipped instead of refused."""

MEMORY_LIMIT = 1 << 30
"""Decoded files up to this many bytes are kept in memory; larger sets are decoded anew for every pass."""

ImageShape = tuple[int, int, int]
ImageInput = Any  # array, tensor, Dataset, path, list of paths, ImageSet: open_images says which


def to_network(images: Tensor) -> Tensor:
    """Pixels as the networks see them: uint8 0..255 or float 0..1, to float32 in [-1, 1]."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(127.5).sub_(1.0)
    return images.to(torch.float32) * 2.0 - 1.0


@dataclass(frozen=True)
class Frame:
    """How an image of any height and width comes into the ``size`` x ``size`` square of the networks.

    The aspect ratio is always kept. With ``resize`` the longer side is scaled to ``size``; without, the pixels stay as they
    are unless the image is larger than the square. What is left over is padded with zeros (black), the image centred.
    Scaling is anti-aliased bilinear.
    """

    size: int
    resize: bool

    @classmethod
    def choose(cls, height: int, width: int, image_size: int | None) -> Frame:
        """``image_size`` itself, or the smallest of :data:`SIZES` that holds the image (256 for all larger ones)."""
        if image_size is None:
            return cls(next((s for s in SIZES if max(height, width) <= s), SIZES[-1]), resize=False)
        if image_size not in SIZES:
            raise SettingError(f"image_size={image_size!r}: choose one of {', '.join(map(str, SIZES))}, or None")
        return cls(int(image_size), resize=True)

    def inner(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image of this size lies in the square: ``(top, left, height, width)``."""
        longest = max(height, width)
        if self.resize or longest > self.size:
            height = max(1, round(height * self.size / longest))
            width = max(1, round(width * self.size / longest))
        return (self.size - height) // 2, (self.size - width) // 2, height, width

    def put(self, images: Tensor) -> Tensor:
        """``(..., c, h, w)`` to ``(..., c, size, size)``, same dtype."""
        top, left, height, width = self.inner(images.shape[-2], images.shape[-1])
        if (height, width) != tuple(images.shape[-2:]):
            images = _resized(images, height, width)
        if (height, width) == (self.size, self.size):
            return images
        return F.pad(images, (left, self.size - left - width, top, self.size - top - height))

    def take_out(self, maps: Tensor, height: int, width: int) -> Tensor:
        """The inverse for ``(..., size, size)`` maps: the padding cut off, scaled back to ``height`` x ``width``."""
        top, left, inner_height, inner_width = self.inner(height, width)
        maps = maps[..., top : top + inner_height, left : left + inner_width]
        if (inner_height, inner_width) == (height, width):
            return maps
        return _resized(maps[..., None, :, :], height, width)[..., 0, :, :]


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    batch = images if images.ndim == 4 else images[None]
    out = F.interpolate(batch.float(), size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    if images.dtype == torch.uint8:
        out = out.round().clamp(0, 255).to(torch.uint8)
    return out if images.ndim == 4 else out[0]


class ImageSet(Protocol):
    """Images of one shape that can be read in any order."""

    names: Sequence[str]
    """One name for each image: its path, or ``image 17``."""
    shape: ImageShape
    in_memory: bool

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> Tensor:
        """``(b, c, size, size)``: uint8, or float32 in [0, 1]."""
        ...

    def native_size(self, index: int) -> tuple[int, int]:
        """Height and width of the image before it was framed."""
        ...


class _Numbered(Sequence[str]):
    """Names of images that have none."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [f"image {number}" for number in self._numbers[index]]
        return f"image {self._numbers[index]}"


class ArrayImages:
    """Images in memory; ``frame`` is applied to each batch as it is read."""

    in_memory = True

    def __init__(self, tensor: Tensor, frame: Frame, names: Sequence[str] | None = None) -> None:
        self._tensor = tensor
        self._frame = frame
        self.names: Sequence[str] = names if names is not None else _Numbered(len(tensor))
        self.shape: ImageShape = (int(tensor.shape[1]), frame.size, frame.size)

    def __len__(self) -> int:
        return len(self._tensor)

    def take(self, indices: Sequence[int]) -> Tensor:
        return self._frame.put(self._tensor[torch.as_tensor(indices)])

    def native_size(self, index: int) -> tuple[int, int]:
        return int(self._tensor.shape[2]), int(self._tensor.shape[3])


class FileImages:
    """Image files, decoded when they are read."""

    in_memory = False

    def __init__(self, paths: Sequence[str], channels: int, frame: Frame) -> None:
        self.names: Sequence[str] = list(paths)
        self._frame = frame
        self.shape: ImageShape = (channels, frame.size, frame.size)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Tensor:
        """One framed image, ``(c, size, size)`` uint8."""
        return self._frame.put(decode(self.names[index], self.shape[0]))

    def take(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.read(int(i)) for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        with Image.open(self.names[index]) as picture:
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientation: sides exchanged
            return (picture.width, picture.height) if turned else (picture.height, picture.width)

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, list[tuple[str, str]]]:
        """Decode every file once: the readable ones as a set, and ``(path, reason)`` of the others.

        The decoded set is kept in memory when it fits into ``memory_limit`` bytes (None: :data:`MEMORY_LIMIT`), so that
        checking costs nothing.
        """
        channels, height, width = self.shape
        keep = len(self) * channels * height * width <= (MEMORY_LIMIT if memory_limit is None else memory_limit)
        good: list[str] = []
        pixels: list[Tensor] = []
        bad: list[tuple[str, str]] = []

        def attempt(index: int) -> Tensor | str:
            try:
                return self.read(index)
            except ImageError as error:
                return error.bad[0][1]

        with ThreadPoolExecutor(max_workers=4) as pool:
            chunk = 256  # bounds what is decoded ahead
            for start in range(0, len(self), chunk):
                indices = range(start, min(start + chunk, len(self)))
                for index, outcome in zip(indices, pool.map(attempt, indices), strict=True):
                    if isinstance(outcome, str):
                        bad.append((self.names[index], outcome))
                        continue
                    good.append(self.names[index])
                    if keep:
                        pixels.append(outcome)
        if keep and pixels:
            return DecodedFiles(torch.stack(pixels), self._frame, good), bad
        return FileImages(good, channels, self._frame), bad


class DecodedFiles(ArrayImages):
    """Files that were decoded and framed once and are kept in memory."""

    def __init__(self, framed: Tensor, frame: Frame, names: Sequence[str]) -> None:
        super().__init__(framed, Frame(frame.size, resize=False), names)
        self._files = FileImages(names, int(framed.shape[1]), frame)

    def native_size(self, index: int) -> tuple[int, int]:
        return self._files.native_size(index)


class DatasetImages:
    """Any torch ``Dataset`` with a length; an item is an image, or a tuple that begins with one."""

    in_memory = False

    def __init__(
        self, dataset: Dataset[Any], channels: int, frame: Frame, checked: Mapping[int, ImageError | None] | None = None
    ) -> None:
        self._checked = checked
        self._dataset = dataset
        self._frame = frame
        self.shape: ImageShape = (channels, frame.size, frame.size)
        self.names: Sequence[str] = _Numbered(len(cast(Any, dataset)))

    def __len__(self) -> int:
        return len(self.names)

    def _item(self, index: int) -> Tensor:
        image = _dataset_item(self._dataset, index)
        if image.shape[0] != self.shape[0]:
            raise _odd_item(index, f"has {image.shape[0]} channels, not {self.shape[0]}")
        return image

    def take(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self._frame.put(self._item(int(i))) for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        height, width = self._item(index).shape[-2:]
        return int(height), int(width)

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, list[tuple[str, str]]]:
        """As :meth:`FileImages.check`; nothing is kept in memory, since items may differ each time they are read."""
        outcomes = self._checked if self._checked is not None else _attempt_all(self._item, len(self))
        bad = [pair for error in outcomes.values() if error is not None for pair in error.bad]
        return (Subset(self, [i for i, error in outcomes.items() if error is None]) if bad else self), bad


class Subset:
    """Some images of another set."""

    def __init__(self, images: ImageSet, indices: Sequence[int]) -> None:
        self._images = images
        self._indices = [int(i) for i in indices]
        self.names: Sequence[str] = [images.names[i] for i in self._indices]
        self.shape = images.shape
        self.in_memory = images.in_memory

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, indices: Sequence[int]) -> Tensor:
        return self._images.take([self._indices[int(i)] for i in indices])

    def native_size(self, index: int) -> tuple[int, int]:
        return self._images.native_size(self._indices[index])


class Joined:
    """Two sets of one shape, one after the other."""

    def __init__(self, first: ImageSet, second: ImageSet) -> None:
        if first.shape != second.shape:
            raise ImageError(f"images of {first.shape} and of {second.shape} cannot be joined")
        self._parts = (first, second)
        self.names: Sequence[str] = [*first.names, *second.names]
        self.shape = first.shape
        self.in_memory = first.in_memory and second.in_memory

    def __len__(self) -> int:
        return len(self.names)

    def _locate(self, index: int) -> tuple[ImageSet, int]:
        first, second = self._parts
        return (first, index) if index < len(first) else (second, index - len(first))

    def take(self, indices: Sequence[int]) -> Tensor:
        located = [self._locate(int(i)) for i in indices]
        return torch.cat([images.take([i]) for images, i in located])

    def native_size(self, index: int) -> tuple[int, int]:
        images, own = self._locate(index)
        return images.native_size(own)

    def check(self, memory_limit: int | None = None) -> tuple[ImageSet, list[tuple[str, str]]]:
        """As :meth:`FileImages.check`, for the parts that are files."""
        (first, bad), (second, more) = (check_files(part, memory_limit) for part in self._parts)
        return Joined(first, second), bad + more


def check_files(images: ImageSet, memory_limit: int | None = None) -> tuple[ImageSet, list[tuple[str, str]]]:
    """The readable images of a set, and ``(name, reason)`` of the others: files, or items of a dataset."""
    if isinstance(images, (FileImages, DatasetImages, Joined)):
        return images.check(memory_limit)
    return images, []


def open_images(X: ImageInput, *, image_size: int | None = None, shape: ImageShape | None = None) -> ImageSet:
    """Any input as an :class:`ImageSet`.

    Parameters
    ----------
    X : what holds the images:

        * an array or tensor of ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``; of axes 1 and 3 the one of 1, 3 or 4
          is taken as channels, else the *smaller*. uint8 is 0..255, uint16 0..65535, float 0..1;
        * a folder (searched recursively), one image file, a ``.txt`` file with one path a line (relative to its folder), an
          ``.npy`` or ``.npz`` array, or a list of image paths;
        * a torch ``Dataset`` with a length, whose items are images or tuples that begin with one.
    image_size : side of the square that the networks see; None keeps the pixels (see :class:`Frame`).
    shape : what a fitted detector expects; images are framed into it and must have its number of channels.

    Raises
    ------
    ImageError : no image, an unreadable one, or another number of channels than ``shape``.
    InputError : an array that is no batch of images, or is not finite, or is out of its range.
    """
    if isinstance(X, (ArrayImages, FileImages, DatasetImages, Subset, Joined)):
        if shape is not None and X.shape != shape:
            raise ImageError(f"images are {X.shape}, the detector was fitted on {shape}")
        return X
    if isinstance(X, (str, PathLike)):
        path = Path(X)
        if path.suffix.lower() in {".npy", ".npz"}:
            return open_images(load_array(path), image_size=image_size, shape=shape)
        return _open_files(find_files(path), image_size, shape)
    if isinstance(X, (list, tuple)) and X and all(isinstance(item, (str, PathLike)) for item in X):
        return _open_files([str(item) for item in X], image_size, shape)
    if isinstance(X, Dataset):
        if not hasattr(X, "__len__"):
            raise InputError(f"{type(X).__name__} has no length: anomirror needs a map-style dataset")
        if len(X) == 0:
            raise ImageError("the dataset is empty")
        return _open_dataset(X, image_size, shape)
    tensor = _as_batch(X, None if shape is None else shape[0])
    return ArrayImages(tensor, _frame_for(tensor[0], image_size, shape))


def _open_dataset(dataset: Dataset[Any], image_size: int | None, shape: ImageShape | None) -> DatasetImages:
    """Framed by the largest readable item, as a folder is; the first one says how many channels."""
    if shape is not None:
        return DatasetImages(dataset, shape[0], Frame(shape[1], resize=image_size is not None))
    shapes: dict[int, ImageShape] = {}

    def attempt(index: int) -> None:
        channels, height, width = (int(side) for side in _dataset_item(dataset, index).shape)
        first = next(iter(shapes.values()), (channels, height, width))
        if channels != first[0]:
            raise _odd_item(index, f"has {channels} channels, not {first[0]}")
        shapes[index] = (channels, height, width)

    checked = _attempt_all(attempt, len(cast(Any, dataset)))
    if not shapes:
        bad = [pair for error in checked.values() if error is not None for pair in error.bad]
        raise ImageError(f"none of the {len(bad)} items of the dataset can be read; {bad[0][0]}: {bad[0][1]}", bad)
    channels, height, width = (max(sides) for sides in zip(*shapes.values(), strict=True))
    return DatasetImages(dataset, channels, Frame.choose(height, width, image_size), checked)


def _attempt_all(attempt: Callable[[int], Any], count: int) -> dict[int, ImageError | None]:
    """What went wrong with each index, in order."""
    outcomes: dict[int, ImageError | None] = {}
    for index in range(count):
        try:
            attempt(index)
            outcomes[index] = None
        except ImageError as error:
            outcomes[index] = error
    return outcomes


def _frame_for(first: Tensor, image_size: int | None, shape: ImageShape | None) -> Frame:
    channels, height, width = (int(side) for side in first.shape)
    if shape is None:
        return Frame.choose(height, width, image_size)
    if channels != shape[0]:
        raise ImageError(f"images have {channels} channels, the detector was fitted on {shape[0]}")
    return Frame(shape[1], resize=image_size is not None)


def _open_files(paths: Sequence[str], image_size: int | None, shape: ImageShape | None) -> FileImages:
    if shape is not None:
        return FileImages(paths, shape[0], Frame(shape[1], resize=image_size is not None))
    headers = [header for header in map(_header, paths) if header is not None]
    if not headers:
        _, bad = FileImages(paths, 1, Frame(SIZES[0], resize=False)).check()
        raise ImageError(f"none of {len(paths)} files can be read as an image; {bad[0][0]}: {bad[0][1]}", bad)
    channels, height, width = (max(sides) for sides in zip(*headers, strict=True))
    return FileImages(paths, channels, Frame.choose(height, width, image_size))


def _header(path: str) -> ImageShape | None:
    """Channels, height and width without decoding: of a mixed folder the widest of each holds for all."""
    try:
        with Image.open(path) as picture:
            return _channels(picture), picture.height, picture.width
    except MemoryError:
        raise
    except Exception:  # over damaged bytes Pillow's decoders stumble with any error
        return None


def _channels(picture: Image.Image) -> int:
    """1 for grey pictures, 3 for all others."""
    return 1 if picture.mode in {"1", "L", "LA", "I", "F"} or picture.mode.startswith("I;16") else 3


def find_files(path: Path) -> list[str]:
    """Image files of a folder (recursively, in sorted order), of a ``.txt`` list, or the one file itself."""
    if path.is_dir():
        found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise ImageError(f"{path}: no image in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        return found
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".txt":
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the list of paths is not UTF-8 ({error.reason})") from error
        listed = [_listed(line, path.parent) for line in lines if line and not line.startswith("#")]
        if not listed:
            raise ImageError(f"{path}: the list names no file")
        return listed
    return [str(path)]


def _listed(line: str, folder: Path) -> str:
    """A path of a list: relative to the list's folder, or, where nothing lies there, as it stands."""
    beside = folder / line
    return line if not beside.exists() and Path(line).exists() else str(beside)


def load_array(path: Path) -> np.ndarray:
    """The array of an ``.npy`` file, or the only one of an ``.npz`` file. Nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            if len(archive.files) != 1:
                names = ", ".join(archive.files)
                raise InputError(f"{path}: holds {len(archive.files)} arrays ({names}); save the images alone")
            return cast(np.ndarray, archive[archive.files[0]])
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable array ({error})") from error


def decode(path: str, channels: int | None = None) -> Tensor:
    """One image file as ``(c, h, w)`` uint8.

    Grey files have one channel, all others three; ``channels`` converts. Alpha is dropped, 16-bit values are divided by
    257, EXIF orientation is applied, of an animation the first frame is taken.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
        array = _pixels(upright, channels)
    except MemoryError:
        raise
    except Exception as error:  # over damaged bytes Pillow's decoders stumble with any error
        reason = "no such file" if isinstance(error, FileNotFoundError) else _one_line(error, path)
        raise ImageError(f"{path}: {reason}", [(path, reason)]) from error
    return torch.from_numpy(array)


def _one_line(error: Exception, path: str) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be identified"
    return " ".join(str(error).replace(path, "").split()) or type(error).__name__


def _pixels(picture: Image.Image, channels: int | None) -> np.ndarray:
    if picture.mode in {"I", "I;16", "I;16B", "I;16L", "F"}:
        values = np.asarray(picture, dtype=np.float64)
        if picture.mode == "F":
            raise ValueError("32-bit float pixels have no known range; save them with 8 or 16 bits")
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError(f"pixel mode {picture.mode} with values outside 0..65535 is not supported")
        picture = Image.fromarray((values / 257.0).round().astype(np.uint8))
    wanted = channels or _channels(picture)
    if wanted not in (1, 3):
        raise ValueError(f"image files give 1 or 3 channels, not {wanted}")
    array = np.array(picture.convert("L" if wanted == 1 else "RGB"), dtype=np.uint8)
    return np.ascontiguousarray(array[None] if wanted == 1 else array.transpose(2, 0, 1))


def _dataset_item(dataset: Dataset[Any], index: int) -> Tensor:
    try:
        item = dataset[index]
        if isinstance(item, (tuple, list)):
            item = item[0]
        if isinstance(item, Image.Image):
            return torch.from_numpy(_pixels(item, None))
        array = _as_array(item)
        if array.ndim not in (2, 3):
            raise InputError(f"an array of shape {array.shape} is not one image")
        return _as_batch(array[None], None)[0]
    except MemoryError:
        raise
    except Exception as error:  # a dataset is the caller's code
        raise _odd_item(index, f"cannot be read: {_one_line(error, '')}") from error


def _odd_item(index: int, reason: str) -> ImageError:
    return ImageError(f"image {index} of the dataset {reason}", [(f"image {index}", reason)])


def _as_batch(X: Any, channels: int | None) -> Tensor:
    """An array or tensor as ``(n, c, h, w)`` uint8 or float32 in [0, 1]; the input is never written to."""
    array = _as_array(X)
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.shape[1] > 4:
        raise InputError(f"an array of {array.shape} looks like one colour image: pass image[None], or (n, h, w, 1) if it is not")
    if array.dtype == object or array.ndim not in (3, 4):
        raise InputError(
            f"expected images as (n, h, w), (n, h, w, c) or (n, c, h, w), got an array of {array.dtype} {array.shape}; "
            "for one image add a first axis: image[None]"
        )
    if len(array) == 0:
        raise ImageError("no image: the array is empty")
    if array.ndim == 3:
        array = array[:, None]
    elif _channels_last(array.shape, channels):
        array = np.moveaxis(array, 3, 1)
    if min(array.shape) == 0:
        raise InputError(f"images of shape {array.shape[1:]} hold no pixel")
    return torch.from_numpy(np.array(_in_range(array), order="C", copy=True))


def _as_array(X: Any) -> np.ndarray:
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    try:
        return np.asarray(X)
    except ValueError as error:
        raise InputError(f"not an array of images: {error}; images of different sizes can come as files or a Dataset") from error


def _channels_last(shape: tuple[int, ...], channels: int | None) -> bool:
    first, last = shape[1], shape[3]
    if channels is not None and (first == channels) != (last == channels):
        return last == channels
    usual = (1, 3, 4)
    if (first in usual) != (last in usual):
        return last in usual
    if first == last == 1:
        return True
    if first == last:
        raise InputError(f"array of {shape}: axes 1 and 3 are equal, so which one is channels cannot be told")
    return last < first


def _in_range(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return (array / np.float32(65535)).astype(np.float32)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"images of {array.dtype}: expected uint8, uint16 or float")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        raise InputError(f"image {int(np.flatnonzero(~finite)[0])} holds NaN or infinity")
    if np.issubdtype(array.dtype, np.integer):
        if low < 0 or high > 255:
            raise InputError(f"integer pixels from {low} to {high}: expected 0 to 255 (or uint16)")
        return array.astype(np.uint8)
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"float pixels from {low:.7g} to {high:.7g}: expected 0 to 1; divide by 255, or pass uint8")
    return array.astype(np.float32).clip(0, 1)


class _Batches(Dataset[Tensor | ImageError]):
    """Whole batches as items, so that worker processes each decode one batch."""

    def __init__(self, images: ImageSet, batches: Sequence[Sequence[int]]) -> None:
        self._images = images
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Tensor | ImageError:
        try:
            return self._images.take(self._batches[index])
        except ImageError as error:  # as a value: raised in a worker it would arrive as the text of a traceback
            return error


def iterate(images: ImageSet, batches: Sequence[Sequence[int]], workers: int = 0) -> Iterator[Tensor]:
    """The batches of ``images`` with these indices, in order; ``workers`` processes decode what is not in memory."""
    if images.in_memory or workers == 0:
        for indices in batches:
            yield images.take(indices)
        return
    private = torch.Generator().manual_seed(0)  # DataLoader would draw its workers' seed from the caller's RNG
    loader = DataLoader(_Batches(images, batches), batch_size=None, num_workers=workers, generator=private)
    for batch in loader:
        if isinstance(batch, ImageError):
            raise batch
        yield batch


def in_batches(count: int, batch_size: int) -> list[range]:
    """``range(count)`` in pieces of ``batch_size``; the last one may be shorter."""
    return [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def fingerprint(images: ImageSet) -> str:
    """A short hash of the number, shape and all pixels: two runs saw the same data, in the same order."""
    digest = hashlib.sha256(f"{len(images)} {images.shape}".encode())
    for batch in in_batches(len(images), 256):
        digest.update(images.take(batch).numpy().tobytes())
    return digest.hexdigest()[:16]
