"""Candidates next to each other: what finds anomalies that are made up of a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from anomirror.detector.costs import cost_of
from anomirror.detectors import Auto, Detector
from anomirror.detectors.auto import Trial
from anomirror.errors import ImageError, SettingError
from anomirror.images import ImageInput, ImageSet, frame_of, open_images
from anomirror.metrics import auroc, auroc_interval
from anomirror.workflows.reading import readable


@dataclass(frozen=True)
class Found:
    """How well one candidate finds one kind of anomalies."""

    auroc: float
    low: float
    """Of the interval with 95 % confidence."""
    high: float


@dataclass(frozen=True)
class Compared:
    """One candidate."""

    name: str
    chosen: bool
    """Whether ``auto`` would keep it."""
    mean: float
    """AUROC over the kinds of made-up anomalies."""
    kinds: dict[str, Found]
    """By kind of made-up anomalies."""
    real: Found | None
    """Of real anomalies, where some are given."""
    fit_seconds: float
    """Of a fit of the images that were tried."""
    images_per_second: float
    """Scored."""
    megabytes: float
    """Of what is fitted."""


@dataclass(frozen=True)
class Comparison:
    """Candidates on the same images."""

    candidates: tuple[Compared, ...]
    unseen: int
    """Normal images that were not fitted."""
    made: int
    """Made-up anomalies of each kind."""
    real: int = 0
    """Real anomalies."""


def compare_on(
    auto: Auto,
    images: ImageSet,
    groups: np.ndarray | None = None,
    anomalies: Sequence[ImageInput] = (),
) -> Comparison:
    """Try the candidates of ``auto`` on normal images.

    Parameters
    ----------
    anomalies : real ones, which choose nothing.

    Raises
    ------
    ImageError : fewer than 50 normal images; anomalies that cannot be read.
    """
    trials = auto.compare(images, groups)
    chosen = auto.chosen({trial.name: trial.mean for trial in trials})
    sets = [_real(source, images) for source in anomalies]
    real = {
        trial.name: np.concatenate([trial.raw_scores(each) for each in sets]) if sets else None
        for trial in trials
    }
    return Comparison(
        tuple(_compared(trial, trial.name in chosen, real[trial.name]) for trial in trials),
        len(trials[0].normal),
        len(next(iter(trials[0].made.values()))),
        sum(map(len, sets)),
    )


def _real(source: ImageInput, images: ImageSet) -> ImageSet:
    """In the frame of the normal images."""
    opened = open_images(source, shape=images.shape, frame=frame_of(images), part="test")
    good, _ = readable(opened, skip_bad=False)
    if not len(good):
        raise ImageError("no anomaly is there")
    return good


def _compared(trial: Trial, chosen: bool, real: np.ndarray | None) -> Compared:
    return Compared(
        name=trial.name,
        chosen=chosen,
        mean=trial.mean,
        kinds={kind: _found(trial, raw) for kind, raw in trial.made.items()},
        real=None if real is None else _found(trial, real),
        fit_seconds=trial.fit_seconds,
        images_per_second=trial.images_per_second,
        megabytes=trial.detector.fitted_bytes() / 1e6,
    )


def _found(trial: Trial, raw: np.ndarray) -> Found:
    return Found(auroc(-trial.normal, -raw), *auroc_interval(-trial.normal, -raw))


@dataclass(frozen=True)
class Affordable:
    """Candidates that can be tried and fitted within some minutes."""

    detector: Detector
    left_out: dict[str, float] = field(default_factory=dict)
    """Seconds that others would take, by name."""


def affordable(detector: Detector, images: ImageSet, minutes: float) -> Affordable:
    """A choice without the candidates that its fit has no time for; the first one always stays.

    Raises
    ------
    SettingError : no minutes.
    """
    if not minutes > 0:
        raise SettingError(f"--minutes {minutes:g}: expected more than 0")
    first, *others = detector.candidates()
    kept, left_out = [first], {}
    for candidate in others:
        seconds = cost_of(detector.with_candidates([*kept, candidate]), images).seconds
        if seconds <= 60 * minutes:
            kept.append(candidate)
        else:
            left_out[candidate.method] = seconds
    return Affordable(detector.with_candidates(kept), left_out)
