"""How well a model separates labelled images: by kind of anomaly, and for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from anomirror import metrics
from anomirror.detectors import Detector
from anomirror.errors import ImageError, InputError, SettingError, warn
from anomirror.images import (
    DefectLayout,
    ImageInput,
    defect_layout,
    find_files,
    fingerprints,
)
from anomirror.workflows.locating import Located, locate
from anomirror.workflows.naming import categories_for
from anomirror.workflows.reading import readable


@dataclass(frozen=True)
class Group:
    """Images of one role, scored."""

    name: str
    raw: np.ndarray
    hashes: np.ndarray
    by: np.ndarray | None
    """Categories, where the detector has some."""


@dataclass(frozen=True)
class Share:
    """So many of so many images."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Its exact 95 % interval (Clopper and Pearson)."""
        exact = binomtest(self.count, self.of).proportion_ci(0.95, method="exact")
        return float(exact.low), float(exact.high)


@dataclass(frozen=True)
class Evaluation:
    """Normal images and every kind of anomaly under one detector."""

    detector: Detector
    normal: Group
    kinds: tuple[Group, ...]
    pixels: Located | None
    """Where masks show defects."""

    @property
    def total(self) -> Group:
        """All anomalies."""
        parts = zip(*((kind.raw, kind.hashes) for kind in self.kinds), strict=True)
        raw, hashes = map(np.concatenate, parts)
        by = [kind.by for kind in self.kinds if kind.by is not None]
        return Group("all", raw, hashes, np.concatenate(by) if by else None)

    def by_score(self, kind: Group) -> dict[str, metrics.Metrics]:
        """Of ``score``, and of ``raw_score``."""
        normality = self.detector.normality
        return {
            "score": metrics.evaluate(normality(self.normal.raw), normality(kind.raw)),
            "raw_score": metrics.evaluate(-self.normal.raw, -kind.raw),
        }

    def flagged(self, group: Group) -> Share:
        """Images that are called anomalies at the model's threshold."""
        flags = self.detector.flagged(self.detector.normality(group.raw), group.by)
        return Share(int(flags.sum()), len(flags))

    def decisions(self, kind: Group) -> dict[str, float]:
        """Precision, recall and F1 of the model's decisions; of none flagged, precision is NaN."""
        found, alarms = self.flagged(kind), self.flagged(self.normal)
        flagged = found.count + alarms.count
        return {
            "precision": found.count / flagged if flagged else math.nan,
            "recall": found.share,
            "f1": 2 * found.count / (flagged + found.of),
        }

    def as_dict(self) -> dict[str, object]:
        """Plain numbers, for JSON."""

        def described(kind: Group) -> dict[str, object]:
            metrics = {name: each.as_dict() for name, each in self.by_score(kind).items()}
            found = self.flagged(kind)
            decided = {k: None if math.isnan(v) else v for k, v in self.decisions(kind).items()}
            return {
                "anomalies": found.of,
                "found": found.count,
                "recall_ci": found.interval,
                **decided,
                **metrics,
            }

        alarms = self.flagged(self.normal)
        said = {
            "method": self.detector.method,
            "normal": alarms.of,
            "false_alarms": alarms.count,
            "false_alarm_rate": alarms.share,
            "false_alarm_rate_ci": alarms.interval,
            "false_alarm_rate_asked": self.detector.false_alarm_rate,
            **described(self.total),
        }
        if self.pixels is not None:
            said["pixels"] = self.pixels.as_dict()
        if len(self.kinds) > 1:
            said["kinds"] = {kind.name: described(kind) for kind in self.kinds}
        return said

    def warnings(self) -> list[str]:
        """What makes the figures wrong: images that were fitted, or that are in both roles."""
        normal, known = self.normal.hashes, self.detector.known
        said = []
        if seen := int(known(normal).sum()):
            said.append(
                f"{seen} of {len(normal)} normal images were given to the fit or calibrate the "
                "model: they look more normal than new ones do, and these figures are better than "
                "what you will get"
            )
        for kind in self.kinds:
            of_kind = f"of {len(kind.raw)} anomalies ({kind.name})"
            if both := int(np.isin(kind.hashes, normal).sum()):
                said.append(f"{both} {of_kind} are the very pixels of normal images")
            if fitted := int(known(kind.hashes).sum()):
                said.append(f"{fitted} {of_kind} were fitted as normal images")
            if learnt := int(self.detector.learnt_as_anomalies(kind.hashes).sum()):
                said.append(
                    f"{learnt} {of_kind} were given to the fit as anomalies: new ones are found "
                    "less often"
                )
        return said


def evaluate_model(
    detector: Detector,
    normal: Sequence[ImageInput],
    anomalies: Mapping[str, ImageInput],
    *,
    root: Path | None = None,
    skip_bad: bool = False,
) -> Evaluation:
    """Score normal images and each kind of anomaly.

    Parameters
    ----------
    root : a folder laid out as MVTec AD is, whose masks maps are compared with.

    Raises
    ------
    ImageError : images that cannot be read, unless ``skip_bad``.
    """
    kinds = anomalies.items()
    return Evaluation(
        detector,
        _scored(detector, "normal", normal, skip_bad),
        tuple(_scored(detector, name, [source], skip_bad) for name, source in kinds),
        _located(detector, root, skip_bad),
    )


def _located(detector: Detector, root: Path | None, skip_bad: bool) -> Located | None:
    """By masks, if there are any, and maps to compare them with."""
    layout = None if root is None else defect_layout(root)
    if layout is None:
        return None
    try:
        return locate(detector, layout, skip_bad=skip_bad)
    except SettingError as error:
        warn(f"there are masks, but {error}: no figures of pixels")
        return None


def _scored(detector: Detector, name: str, sources: Sequence[ImageInput], skip_bad: bool) -> Group:
    raw, hashes, by = [], [], []
    for source in sources:
        images, _ = readable(detector.open_to_score(source), skip_bad=skip_bad)
        if (categories := categories_for(detector, images.names)) is not None:
            by.append(categories)
        raw.append(detector.raw_scores(images))
        hashes.append(fingerprints(images)[1])
    return Group(
        name, np.concatenate(raw), np.concatenate(hashes), np.concatenate(by) if by else None
    )


# ---------------------------------------------------------------------- what is evaluated


def roles(
    root: Path | None, normal: Sequence[str], anomalies: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """What is normal, and each kind of anomaly by name.

    Of a folder laid out as MVTec AD's its parts.

    Raises
    ------
    InputError : no images for one of the roles.
    """
    layouts = {source: _layout(source) for source in (*normal, *anomalies)}
    goods = [str(layout.normal) if (layout := layouts[each]) else each for each in normal]
    bads: dict[str, str] = {}
    for each in anomalies:
        bads |= _kinds(layout, f"{each}/") if (layout := layouts[each]) else {each: each}
    if root is not None:
        layout = _layout(str(root))
        if layout is None or not layout.normal.is_dir() or not layout.kinds:
            raise InputError(
                f"{root}: has no train/good, test/good and test/<kind>; use --normal DATA and "
                "--anomalies DATA"
            )
        goods, bads = [*goods, str(layout.normal)], _kinds(layout) | bads
    if not (goods and bads):
        raise InputError("give a folder as MVTec AD's, or --normal DATA and --anomalies DATA")
    return goods, bads


def _layout(source: str) -> DefectLayout | None:
    return defect_layout(Path(source)) if Path(source).is_dir() else None


def _kinds(layout: DefectLayout, prefix: str = "") -> dict[str, str]:
    """Each kind that has an image."""
    sources = {}
    for kind in layout.kinds:
        try:
            find_files(layout.defects(kind))
        except ImageError as error:
            warn(f"left out {error}")
            continue
        sources[f"{prefix}{kind}"] = str(layout.defects(kind))
    return sources
