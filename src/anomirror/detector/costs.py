"""What a fit will take on this machine: seconds and memory, before it starts."""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from torch import nn

from anomirror.detector.calibration import HELD_OUT_FROM, fold_count
from anomirror.detector.streaming import SAMPLE_BYTES, spaced
from anomirror.images import (
    SIZES,
    ImageSet,
    ImageShape,
    SizeRange,
    framed,
    known_sizes,
)
from anomirror.minibatch import TrainingData
from anomirror.progress import duration
from anomirror.schedule import Phase, Schedule
from anomirror.scorers import Scores
from anomirror.training import Run, train

if sys.platform != "win32":  # no figure for memory there
    import resource

PER_SECOND = 2e10
"""Multiplications and additions of a linear fit, on one core of the last years: the figure is
"about".
"""


@dataclass(frozen=True)
class Cost:
    """What a whole fit takes."""

    seconds: float
    gigabytes: float | None
    fitting: float
    """Seconds that grow with the pixels: without the reading of files."""


class Costed(ABC):
    """The part of every detector that knows what a fit will take, before it starts."""

    @abstractmethod
    def validate(self) -> None: ...

    def fit_seconds(self, images: ImageSet) -> float:
        """About how long a fit takes, without the reading of files.

        Of a method without networks: a randomised decomposition of the sample, once or in folds.
        """
        count, pixels = len(images), math.prod(images.shape)
        rows = min(count, SAMPLE_BYTES // (4 * pixels))
        fits = 1 if count >= HELD_OUT_FROM else 1 + fold_count(count, pixels)
        return 0.5 + fits * (2 * rows * pixels * 74 * 16 + count * pixels * 2 * 128) / PER_SECOND

    def fit_bytes(self, images: ImageSet) -> int:
        """Memory of a fit next to the images and the process: three copies of the sample."""
        return 3 * min(SAMPLE_BYTES, 4 * len(images) * math.prod(images.shape))


class Rehearsed(Costed):
    """The part of every detector that trains networks: a copy of it can take some steps."""

    batch_size: int
    steps_per_epoch: int | None
    max_steps: int | None
    ema_decay: float | None
    image_shape_: ImageShape
    sizes_: SizeRange | None
    networks_: nn.ModuleDict

    _monitored: ClassVar[int] = 256
    """Images of each kind whose raw score enters the history."""

    @abstractmethod
    def _phases(self) -> list[Phase]: ...

    @abstractmethod
    def begin_run(self, seed: int) -> Run: ...

    @abstractmethod
    def finish(self, normal: ImageSet) -> None: ...

    @abstractmethod
    def stream(self, images: ImageSet) -> Scores: ...

    @abstractmethod
    def _scoring_batch(self) -> int: ...

    @abstractmethod
    def _calibrated(self) -> int: ...

    def phases(self) -> list[Phase]:
        """What a fit trains, in which order."""
        return self._phases()

    def untrained(self, image_shape: ImageShape, *, seed: int = 0) -> tuple[Self, Run]:
        """A copy with first weights, in training mode, and a run for its steps.

        To time a step, to count operations, or to check one by hand::

            copy, run = detector.untrained((1, 32, 32))
            copy.phases()[0].step(batch, run)
        """
        fresh = copy.copy(self)
        fresh.image_shape_, fresh.sizes_ = image_shape, None
        return fresh, fresh.begin_run(seed)

    def fit_seconds(self, images: ImageSet) -> float:
        """About how long a fit takes, without the reading of files.

        Each phase for two steps on noise, the second one timed, and a batch of scores.
        """
        channels, size, _ = images.shape
        batch_size = min(self.batch_size, len(images))
        noise = np.random.default_rng(0).integers(
            0, 256, (max(batch_size, 2), channels, size, size), dtype=np.uint8
        )
        normal = framed(noise)
        fresh, run = self.untrained(images.shape)
        run.schedule = Schedule(batch_size=batch_size, steps_per_epoch=1, ema_decay=self.ema_decay)
        phases = fresh.phases()
        history = train([replace(phase, epochs=2) for phase in phases], TrainingData(normal), run)
        fresh.networks_.eval()
        per_epoch = self.steps_per_epoch or max(1, len(images) // batch_size)
        steps = sum(
            phase.epochs * per_epoch * history[2 * place + 1]["seconds"]
            for place, phase in enumerate(phases)
        )
        planned = sum(phase.epochs for phase in phases)
        if self.max_steps is not None:
            steps *= min(1.0, self.max_steps / (planned * per_epoch))
        fresh.finish(normal)
        watched = 2 * min(self._monitored, len(images)) * planned
        scored = watched + min(self._calibrated(), len(images))
        return steps + scored * fresh.seconds_per_score(noise)

    def seconds_per_score(self, noise: np.ndarray) -> float:
        """Of an image, in one batch."""
        count = min(len(noise), self._scoring_batch())
        started = time.perf_counter()
        self.stream(framed(noise[:count]))
        return (time.perf_counter() - started) / count

    def fit_bytes(self, images: ImageSet) -> int:
        """Memory of a fit next to the images and the process: none that counts."""
        return 0


def cost_of(detector: Costed, images: ImageSet) -> Cost:
    """What a fit will cost, from a few images and a step of each phase of a copy of the detector.

    Nothing of the copy is kept.
    """
    fitting = detector.fit_seconds(images)
    gigabytes = None
    if sys.platform != "win32":
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        pixels = min(len(images) * math.prod(images.shape), 1 << 30)
        gigabytes = (peak + pixels + detector.fit_bytes(images)) / 1e9
    return Cost(_seconds_of_reading(images) + fitting, gigabytes, fitting)


def sentence(detector: Costed, images: ImageSet) -> str:
    """For a person, before a fit.

    "1,000 images of 300x300 at 32x32: about 3 minutes, 0.9 GB (--size 64: 12 minutes)".
    """
    detector.validate()
    cost = cost_of(detector, images)
    size = images.shape[1]
    known = known_sizes(images)
    of = f" of {_span(known)}" if len(known) else ""
    larger = next((other for other in SIZES if other > size), None)
    way = ""
    if larger is not None and len(known) and known.max() > size:
        factor = (larger / size) ** 2
        way = f" (--size {larger}: {duration(cost.seconds + (factor - 1) * cost.fitting)})"
    memory = "" if cost.gigabytes is None else f", {cost.gigabytes:.1f} GB"
    return (
        f"{len(images):,} images{of} at {size}x{size}: about {duration(cost.seconds)}{memory}{way}"
    )


def _span(sizes: np.ndarray) -> str:
    """Of heights and widths: "300x300", or the smallest and the largest."""
    (low_height, low_width), (height, width) = sizes.min(0), sizes.max(0)
    smallest = f"{low_width}x{low_height}"
    largest = f"{width}x{height}"
    return largest if smallest == largest else f"{smallest} to {largest}"


def _seconds_of_reading(images: ImageSet) -> float:
    if images.in_memory:
        return 0.0
    sample = spaced(len(images), 3).tolist()
    started = time.perf_counter()
    for index in sample:
        try:
            images.take([index])
        except ValueError:  # unreadable: the fit reports it
            continue
    return (time.perf_counter() - started) / len(sample) * len(images) / min(4, os.cpu_count() or 1)
