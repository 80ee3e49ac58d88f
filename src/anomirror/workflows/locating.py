"""How well the maps of a model find defects that masks show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from anomirror.detectors import Detector
from anomirror.errors import ImageError, InputError, warn
from anomirror.images import MASKS, DefectLayout, ImageSet, decode
from anomirror.pixel_metrics import PixelCounts, PixelMetrics
from anomirror.workflows.reading import readable

_SAMPLE = 4_000_000
"""Pixels from which the levels of maps are taken, at most."""


@dataclass(frozen=True)
class _Mapped:
    """Images of one role and their maps, as the detector sees them."""

    images: ImageSet
    maps: Tensor

    @classmethod
    def of(cls, detector: Detector, folder: Path, *, skip_bad: bool) -> _Mapped:
        images, _ = readable(detector.open_to_score(folder), skip_bad=skip_bad)
        return cls(images, detector.unscaled_maps(images))

    def native(self, detector: Detector, index: int) -> np.ndarray:
        """One map in the size of its image."""
        size = self.images.native_size(index)
        return np.asarray(detector.frame_.take_out(self.maps[index], *size).numpy())


@dataclass(frozen=True)
class Located:
    """Pixel metrics of all defects that masks show, and of each kind."""

    total: PixelMetrics
    kinds: Mapping[str, PixelMetrics]

    def as_dict(self) -> dict[str, object]:
        """Plain numbers, for JSON."""
        kinds = {name: each.as_dict() for name, each in self.kinds.items()}
        return {**self.total.as_dict(), "kinds": kinds}


def locate(detector: Detector, layout: DefectLayout, *, skip_bad: bool = False) -> Located | None:
    """Maps next to masks, of each kind of defect with the normal test images.

    None where no mask shows a defect. Masks lie in ``ground_truth/<kind>`` under the name of the
    image, or with ``_mask`` after it; what is not black is a defect. Pixels are those of the files:
    maps are brought back from the frame of the detector.

    Raises
    ------
    SettingError : the detector has no maps.
    InputError : a mask of another size than its image.
    """
    masks = {kind: found for kind in layout.kinds if (found := _masks(layout, kind))}
    if not masks:
        return None
    detector.refuse_without_maps()
    good = _Mapped.of(detector, layout.normal, skip_bad=skip_bad)
    odd = {kind: _Mapped.of(detector, layout.defects(kind), skip_bad=skip_bad) for kind in masks}
    sample = _sample([good, *odd.values()])
    total, kinds = PixelCounts(sample), {kind: PixelCounts(sample) for kind in odd}
    for index in range(len(good.images)):
        one = good.native(detector, index)
        for each in (total, *kinds.values()):
            each.add(one)
    for kind, mapped in odd.items():
        for one, mask in _masked(detector, kind, mapped, masks[kind]):
            for each in (total, kinds[kind]):
                each.add(one, mask)
    if not total.regions:
        warn(f"the masks below {layout.root / MASKS} show no defect: no figures of pixels")
        return None
    shown = {kind: each.metrics() for kind, each in kinds.items() if each.regions}
    return Located(total.metrics(), shown)


def _masks(layout: DefectLayout, kind: str) -> dict[str, Path]:
    """Masks of a kind, by the stem of the image that each belongs to."""
    folder = layout.root / MASKS / kind
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.stem.removesuffix("_mask"): file for file in files if file.is_file()}


def _sample(parts: list[_Mapped]) -> np.ndarray:
    values = np.concatenate([part.maps.numpy().ravel() for part in parts])
    return values[:: max(1, len(values) // _SAMPLE)]


def _masked(
    detector: Detector, kind: str, mapped: _Mapped, masks: Mapping[str, Path]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Map and mask of each image that has one."""
    without = []
    for index, name in enumerate(mapped.images.names):
        if (file := masks.get(Path(name).stem)) is None:
            without.append(name)
            continue
        one, mask = mapped.native(detector, index), _mask(file)
        if mask.shape != one.shape:
            raise InputError(
                f"{file}: a mask of {mask.shape[1]}x{mask.shape[0]} pixels, and {name} has "
                f"{one.shape[1]}x{one.shape[0]}"
            )
        yield one, mask
    if without:
        warn(
            f"{len(without)} of {len(mapped.images)} images of {kind} have no mask, such as "
            f"{without[0]}: they are left out of the figures of pixels"
        )


def _mask(file: Path) -> np.ndarray:
    try:
        return np.asarray(decode(str(file), 1)[0].numpy() > 0)
    except ImageError as error:
        raise InputError(f"the mask {error}") from error
