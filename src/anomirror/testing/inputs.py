"""Checks of what a detector takes, and of what it refuses."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torch.utils.data import Dataset

from anomirror.errors import ImageError, InputError, NotFittedError, SettingError
from anomirror.images import Joined, open_images
from anomirror.testing.subject import Check, Subject, all_kept, refused

SHAPES = ((40, 28, 28, 3), (40, 3, 28, 28), (40, 20, 32), (40, 33, 24, 1))
"""Colour at both ends, and images that are not square."""


class _Items(Dataset[np.ndarray]):
    """Images one by one, of which one may be broken."""

    def __init__(self, images: np.ndarray, broken: int = -1) -> None:
        self._images = images
        self._broken = broken

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:
        if index == self._broken:
            raise OSError("broken")
        image: np.ndarray = self._images[index]
        return image


def check_the_input_is_not_changed(subject: Subject) -> None:
    """Neither bytes nor floats."""
    scaled = (subject.normal[:60] / 255.0).astype(np.float32)
    for images in (subject.normal[:60].copy(), scaled):
        before = images.copy()
        subject.make().fit(images).score_samples(images)
        assert_array_equal(images, before)


def check_images_of_any_channels_and_sides(subject: Subject) -> None:
    """As arrays and as tensors."""
    for shape in SHAPES:
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        detector = subject.make().fit(images)
        assert detector.score_samples(images[:3]).shape == (3,)
        assert detector.score_samples(torch.from_numpy(images[:3])).shape == (3,)


def check_a_dataset_and_a_folder_score_as_the_array_does(subject: Subject) -> None:
    """Bit for bit."""
    images = subject.normal[:12]
    expected = subject.fitted.score_samples(images)
    assert_array_equal(subject.fitted.score_samples(_Items(images)), expected)
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(images):
            Image.fromarray(image).save(Path(folder) / f"{index:02d}.png")
        assert_array_equal(subject.fitted.score_samples(folder), expected)


def check_labelled_anomalies_do_not_count_as_normal(subject: Subject) -> None:
    """And labels stay with their images where some images cannot be read."""
    normal, anomalies = subject.normal[:40], subject.anomalies[:40]
    labels = np.r_[np.ones(len(normal), int), -np.ones(len(anomalies), int)]
    first = open_images(_Items(normal))
    joined = Joined(first, open_images(_Items(anomalies, broken=3)))
    detector = subject.make(skip_bad=True, **all_kept(subject.detector)).fit(joined, labels)
    assert (detector.skipped_, detector.n_train_) == (1, len(normal))


def check_before_a_fit_scoring_is_refused(subject: Subject) -> None:
    """With the way out."""
    with refused(NotFittedError, "call fit"):
        subject.make().score_samples(subject.normal)


def check_bad_input_is_refused_with_the_reason(subject: Subject) -> None:
    """NaN, a wrong range, wrong labels, too few images, other channels."""
    images = subject.normal
    nan = (images / 255.0).astype(np.float32)
    nan[3, 0, 0] = np.nan
    with refused(InputError, "image 3 holds NaN"):
        subject.make().fit(nan)
    with refused(InputError, "float pixels from 0 to 255"):
        subject.make().fit(images.astype(np.float32))
    with refused(InputError, "y holds 0"):
        subject.make().fit(images, np.zeros(len(images), dtype=int))
    with refused(InputError, "one label for each"):
        subject.make().fit(images, [1, -1])
    with refused(ImageError, "at least 2"):
        subject.make().fit(images[:1])
    with refused(ImageError, "channels"):
        subject.fitted.score_samples(np.zeros((2, 28, 28, 3), np.uint8))


def check_a_refused_fit_changes_nothing(subject: Subject) -> None:
    """A parameter out of its range is named, and what was fitted before still predicts."""
    images = subject.normal[:60]
    detector = subject.make().fit(images)
    before = detector.predict(images[:5])
    for name, value in (("false_alarm_rate", 2.0), ("batch_size", "64")):
        good = detector.get_params()[name]
        with refused(SettingError, f"{name}={value!r}"):
            detector.set_params(**{name: value}).fit(images)
        detector.set_params(**{name: good})
        assert_array_equal(detector.predict(images[:5]), before)


CHECKS: tuple[Check, ...] = (
    check_the_input_is_not_changed,
    check_images_of_any_channels_and_sides,
    check_a_dataset_and_a_folder_score_as_the_array_does,
    check_labelled_anomalies_do_not_count_as_normal,
    check_before_a_fit_scoring_is_refused,
    check_bad_input_is_refused_with_the_reason,
    check_a_refused_fit_changes_nothing,
)
