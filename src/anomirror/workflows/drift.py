"""Whether images of a stream still are as the images that calibrate a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, false_discovery_control

from anomirror.decisions import highest_rate, score_otherwise, within_groups
from anomirror.detectors import Detector
from anomirror.errors import ImageError
from anomirror.images import ImageSet, check_files, fingerprints
from anomirror.scorers import Scores
from anomirror.sequential import DriftMonitor
from anomirror.workflows.naming import categories_for
from anomirror.workflows.scoring import Row, score_rows

ALARM = 20.0
"""E-value that is reached with a probability of at most 1/20 while nothing has changed."""


@dataclass(frozen=True)
class Moved:
    """One number of the images, compared with those that calibrate."""

    name: str
    p_value: float
    """Two-sample Kolmogorov-Smirnov test of the images from ``since`` on, adjusted for all numbers
    (Benjamini and Yekutieli)."""
    e_value: float
    """The highest over the stream: valid at any time."""
    since: int | None
    """Image from which on it moved; None where the e-value stayed below :data:`ALARM`."""
    before: float
    """Median of the images that calibrate."""
    now: float
    """Median of the stream, from ``since`` on."""


@dataclass(frozen=True)
class Drift:
    """A stream of images, compared with the images that calibrate a model."""

    paths: tuple[str, ...]
    score: Moved
    statistics: tuple[Moved, ...]
    p_values: Scores
    e_values: Scores
    """After each image, of the score."""
    flagged: int
    """Images that are called anomalies."""
    highest_rate: float
    """Bound on their share, with 95 % confidence, if all of them are normal as before."""
    unreadable: tuple[tuple[str, str], ...]
    """Files, and why."""
    known: int
    """Images that were given to the fit, or that calibrate: of these nothing can be told."""

    @property
    def too_many(self) -> bool:
        """Whether more are flagged than the promise and chance allow."""
        return bool(binom.sf(self.flagged - 1, len(self.paths), self.highest_rate) < 1 / ALARM)

    @property
    def alarm(self) -> bool:
        """Whether scores have moved: in order of time, and on the whole or beyond the threshold."""
        return self.uneven and (self.score.p_value < 1 / ALARM or self.too_many)

    @property
    def uneven(self) -> bool:
        """Whether scores do not come in random order: they moved, or come in runs, such as parts of
        one batch.
        """
        return self.score.since is not None


def drift_of(detector: Detector, sets: Iterable[ImageSet]) -> Drift:
    """Compare images, in the order in which they were taken, with those that calibrate.

    Raises
    ------
    SettingError : images that were fitted calibrate the model: new ones always differ from them.
    ImageError : no image can be read.
    """
    detector.refuse_without_p_values()
    names = tuple(
        name
        for name, values in detector.calibration_statistics_.items()
        if not np.array_equal(values, detector.calibration_raw_)  # the score says the same
    )
    scored, unreadable, known = _scored(detector, sets, names)
    stream = {"score": np.array([row.score for row in scored])}
    stream |= zip(names, np.array([row.statistics for row in scored]).T, strict=True)
    calibration = {"score": detector.calibration_} | dict(detector.calibration_statistics_)
    before, now = detector.calibration_categories_, categories_for(detector, _paths(scored))
    monitors = {
        name: _monitored(detector, name, calibration[name], stream[name], before, now)
        for name in stream
    }
    tests = []
    for name, monitor in monitors.items():
        start = monitor.since() or 0
        moved_by = None if now is None else now[start:]
        tests.append(score_otherwise(calibration[name], stream[name][start:], before, moved_by))
    adjusted = dict(zip(stream, false_discovery_control(tests, method="by"), strict=True))
    moved = {
        name: _moved(
            name,
            float(p),
            monitors[name],
            _as_mixed(calibration[name], before, now),
            stream[name],
        )
        for name, p in adjusted.items()
    }
    return Drift(
        paths=tuple(_paths(scored)),
        score=moved.pop("score"),
        statistics=tuple(sorted(moved.values(), key=lambda each: -each.e_value)),
        p_values=detector.p_values_from(stream["score"], now),
        e_values=monitors["score"].e_values,
        flagged=sum(row.is_anomaly for row in scored),
        highest_rate=_highest_rate(detector),
        unreadable=tuple(unreadable),
        known=known,
    )


def _scored(
    detector: Detector, sets: Iterable[ImageSet], names: Sequence[str]
) -> tuple[list[Row], list[tuple[str, str]], int]:
    """Rows of all images, in order; files that cannot be read; how many images are known."""
    scored, unreadable, known = [], [], 0
    for images in sets:
        good, bad = check_files(images)
        unreadable += [(images.names[index], reason) for index, reason in bad.items()]
        known += int(detector.known(fingerprints(good)[1]).sum()) if len(good) else 0
        rows = sorted(score_rows(detector, good, names), key=lambda row: natural(row.path))
        scored += [row for row in rows if not row.error]
        unreadable += [(row.path, row.error) for row in rows if row.error]
    if not scored:
        raise ImageError("no image can be read")
    return scored, unreadable, known


def _as_mixed(calibration: Scores, before: np.ndarray | None, now: np.ndarray | None) -> Scores:
    """For each image of the stream the median of its category; all of them, without categories."""
    if before is None or now is None:
        return calibration
    medians = np.empty(len(now))
    for members, new in within_groups(before, now):
        medians[new] = np.median(calibration[members])
    return medians


def _paths(rows: Sequence[Row]) -> list[str]:
    return [row.path for row in rows]


def _highest_rate(detector: Detector) -> float:
    """Bound on the share of normal images that are flagged: of the category with the loosest."""
    asked = detector.false_alarm_rate, detector.guarantee
    counts = detector.categories_.values() or [detector.calibrated_on_]
    return max(highest_rate(count, *asked) for count in counts)


def _monitored(
    detector: Detector,
    name: str,
    calibration: Scores,
    stream: Scores,
    before: np.ndarray | None,
    now: np.ndarray | None,
) -> DriftMonitor:
    """A bet on one number of the images, in order, within their categories."""
    if detector.calibrated_by_ != "folds":
        monitor = DriftMonitor(calibration, by=before)
        monitor.update(stream, now)
        return monitor
    # new images look a little more normal than those of folds: a bet on odder ones alone. What
    # methods that fold measure are deviations, high for odd images; the score is low for them
    odd = 1.0 if name == "score" else -1.0
    monitor = DriftMonitor(odd * calibration, two_sided=False, by=before)
    monitor.update(odd * stream, now)
    return monitor


def natural(name: str) -> list[tuple[int, str]]:
    """A key that puts "img_2" before "img_10".

    >>> sorted(["img_10", "img_2", "img_1"], key=natural)
    ['img_1', 'img_2', 'img_10']
    """
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split("([0-9]+)", name)
    ]


def _moved(
    name: str, p_value: float, monitor: DriftMonitor, calibration: Scores, stream: Scores
) -> Moved:
    since = monitor.since()
    return Moved(
        name,
        p_value,
        monitor.highest,
        since,
        float(np.median(calibration)),
        float(np.median(stream[since or 0 :])),
    )
