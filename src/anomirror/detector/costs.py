"""What a fit will take on this machine: seconds and memory, before it starts."""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from anomirror.detector.calibration import FOLDS, HELD_OUT_FROM
from anomirror.detector.contract import Detector
from anomirror.detector.network import NetworkDetector
from anomirror.detector.streaming import SAMPLE_BYTES, spaced
from anomirror.devices import choose_device
from anomirror.images import SIZES, ArrayImages, Frame, ImageSet, known_sizes
from anomirror.minibatch import TrainingData
from anomirror.progress import duration
from anomirror.schedule import Schedule
from anomirror.training import Run, train

try:
    import resource
except ImportError:  # not on Windows: no figure for memory there
    resource = None  # type: ignore[assignment]

_PER_SECOND = 2e10
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


def cost_of(detector: Detector, images: ImageSet) -> Cost:
    """What a fit will cost, from a few images and a step of each phase of a copy of the detector.

    Nothing of the copy is kept.
    """
    fitting = (
        _seconds_of_training(detector, images)
        if isinstance(detector, NetworkDetector)
        else _seconds_of_algebra(images)
    )
    pixels = math.prod(images.shape)
    kept = len(images) * pixels
    rows = 0 if isinstance(detector, NetworkDetector) else 3 * min(SAMPLE_BYTES, 4 * kept)
    gigabytes = None
    if resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
        gigabytes = (peak + min(kept, 1 << 30) + rows) / 1e9
    return Cost(_seconds_of_reading(images) + fitting, gigabytes, fitting)


def sentence(detector: Detector, images: ImageSet) -> str:
    """For a person, before a fit.

    "1,000 images of 300x300 at 32x32: about 3 minutes, 0.9 GB (--size 64: 12 minutes)".
    """
    detector.validate()
    cost = cost_of(detector, images)
    size = images.shape[1]
    known = known_sizes(images)
    of = ""
    if len(known):
        (low_height, low_width), (height, width) = known.min(0), known.max(0)
        smallest = (
            f"{low_width}x{low_height} to " if (low_height, low_width) != (height, width) else ""
        )
        of = f" of {smallest}{width}x{height}"
    larger = next((other for other in SIZES if other > size), None)
    way = ""
    if larger is not None and len(known) and known.max() > size:
        factor = (larger / size) ** 2
        way = f" (--size {larger}: {duration(cost.seconds + (factor - 1) * cost.fitting)})"
    memory = "" if cost.gigabytes is None else f", {cost.gigabytes:.1f} GB"
    return (
        f"{len(images):,} images{of} at {size}x{size}: about {duration(cost.seconds)}{memory}{way}"
    )


def _seconds_of_reading(images: ImageSet) -> float:
    if images.in_memory:
        return 0.0
    some = spaced(len(images), 3).tolist()
    started = time.perf_counter()
    for index in some:
        try:
            images.take([index])
        except ValueError:  # unreadable: the fit tells of it
            continue
    return (time.perf_counter() - started) / len(some) * len(images) / min(4, os.cpu_count() or 1)


def _seconds_of_algebra(images: ImageSet) -> float:
    """A randomised decomposition of the sample, once or in folds."""
    count, pixels = len(images), math.prod(images.shape)
    rows = min(count, SAMPLE_BYTES // (4 * pixels))
    fits = 1 if count >= HELD_OUT_FROM else 1 + FOLDS
    return 0.5 + fits * (2 * rows * pixels * 74 * 16 + count * pixels * 2 * 128) / _PER_SECOND


def _seconds_of_training(detector: NetworkDetector, images: ImageSet) -> float:
    """Each phase for two steps on noise, the second one timed, and a batch of scores."""
    probe = copy.copy(detector)
    channels, size, _ = probe.image_shape_ = images.shape
    probe.sizes_ = None
    device = choose_device(probe.device)
    batch_size = min(probe.batch_size, len(images))
    noise = np.random.default_rng(0).integers(
        0, 256, (max(batch_size, 2), channels, size, size), dtype=np.uint8
    )
    normal = ArrayImages(noise, Frame(size, 1, size))
    probe.networks_, make_optimizers = probe._build_seeded(0, device)
    run = Run(
        modules=dict(probe.networks_.items()),
        optimizers=make_optimizers(),
        device=device,
        generator=torch.Generator().manual_seed(0),
        schedule=Schedule(batch_size=batch_size, steps_per_epoch=1, ema_decay=probe.ema_decay),
        precision=probe.precision,
    )
    phases = probe._phases()
    history = train([replace(phase, epochs=2) for phase in phases], TrainingData(normal), run)
    probe.networks_.eval()
    per_epoch = probe.steps_per_epoch or max(1, len(images) // batch_size)
    steps = sum(
        phase.epochs * per_epoch * history[2 * place + 1]["seconds"]
        for place, phase in enumerate(phases)
    )
    if probe.max_steps is not None:
        steps *= min(1.0, probe.max_steps / sum(phase.epochs * per_epoch for phase in phases))
    scored = min(len(noise), probe._scoring_batch())
    probe._finish(normal)
    started = time.perf_counter()
    probe.stream(ArrayImages(noise[:scored], Frame(size, 1, size)))
    per_image = (time.perf_counter() - started) / scored
    watched = 2 * min(probe._monitored, len(images)) * sum(phase.epochs for phase in phases)
    return steps + per_image * (watched + min(probe._calibrated(), len(images)))
