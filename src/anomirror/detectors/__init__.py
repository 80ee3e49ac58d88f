"""Every detector by name, and the loading of saved ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from anomirror import plugins
from anomirror.cards import MemberCard
from anomirror.detector.contract import Detector as Detector
from anomirror.detector.parameters import UNSTORED, marked, parameters_of

# the list of detectors: a line each
from anomirror.detectors.alad import ALAD as ALAD
from anomirror.detectors.ama import AMA as AMA
from anomirror.detectors.anogan import AnoGAN as AnoGAN
from anomirror.detectors.auto import Auto as Auto
from anomirror.detectors.complexity import Complexity as Complexity
from anomirror.detectors.deep_svdd import DeepSVDD as DeepSVDD
from anomirror.detectors.ensemble import Ensemble as Ensemble
from anomirror.detectors.fanogan import FAnoGAN as FAnoGAN
from anomirror.detectors.fence_gan import FenceGAN as FenceGAN
from anomirror.detectors.knn import KNN as KNN
from anomirror.detectors.likelihood_ratio import LikelihoodRatio as LikelihoodRatio
from anomirror.detectors.negative_sampling import NegativeSampling as NegativeSampling
from anomirror.detectors.pca import PCA as PCA
from anomirror.detectors.scattering import Scattering as Scattering
from anomirror.detectors.skip_ganomaly import SkipGANomaly as SkipGANomaly
from anomirror.detectors.typicality import Typicality as Typicality
from anomirror.detectors.waic import WAIC as WAIC
from anomirror.errors import ModelFileError, SettingError, unknown
from anomirror.storage import load_model

_AnyDetector = TypeVar("_AnyDetector", bound=type[Detector])

DETECTORS: dict[str, type[Detector]] = {
    detector.method: detector
    for detector in list(globals().values())
    if isinstance(detector, type) and issubclass(detector, Detector) and "method" in vars(detector)
}
"""Name to class: the only way from a name in a file or on the command line to code."""


def register(detector: _AnyDetector) -> _AnyDetector:
    """Make a detector known by its ``method``, as a class decorator or a call; returns it.

    From then on it can be made, saved and loaded by name in this process. A package makes its
    detectors known to every process, and to the command line, by an entry point of the group
    ``anomirror.detectors`` whose name is the method.

    Raises
    ------
    SettingError : another detector has that name, or it has none.
    """
    if not (isinstance(detector, type) and issubclass(detector, Detector)):
        raise SettingError(f"{detector!r}: expected a class of detectors")
    method = getattr(detector, "method", None)
    if not isinstance(method, str) or not method.isidentifier():
        raise SettingError(f"{detector.__name__}.method is {method!r}: expected a name")
    there = DETECTORS.get(method, detector)
    # the same class once more is what running a cell of a notebook again gives
    if (there.__module__, there.__qualname__) != (detector.__module__, detector.__qualname__):
        raise SettingError(f"{method}: {there.__name__} has that name already")
    DETECTORS[method] = detector
    return detector


def known_methods() -> list[str]:
    """Names of all detectors: ours, registered ones, and those of other packages."""
    return [*DETECTORS, *(name for name in plugins.names() if name not in DETECTORS)]


def detector_class(method: str) -> type[Detector]:
    """A detector's class by name.

    Raises
    ------
    SettingError : there is none.
    """
    if method not in DETECTORS and method in plugins.names():
        offered = plugins.load(method)
        if not (isinstance(offered, type) and issubclass(offered, Detector)):
            raise SettingError(f"the entry point {method!r} names no detector: {offered!r}")
        if offered.method != method:
            raise SettingError(f"the entry point {method!r} names the method {offered.method!r}")
        register(offered)
    if method not in DETECTORS:
        raise SettingError(unknown("method named", method, known_methods()))
    return DETECTORS[method]


def make_detector(method: str, /, **parameters: Any) -> Detector:
    """A detector by name; unknown names and parameters are refused with the known ones."""
    kind = detector_class(method)
    known = parameters_of(kind)
    for name in parameters:
        if name not in known:
            said = unknown("parameter", name, known, "choose among")
            raise SettingError(f"{method} has {said}{_of_others(name)}")
    if "detectors" in known and "detectors" in parameters:
        parameters["detectors"] = _named(parameters["detectors"])
    return kind(**parameters)


def _of_others(parameter: str) -> str:
    """Which methods have a parameter, if any does."""
    others = [name for name, kind in DETECTORS.items() if parameter in parameters_of(kind)]
    return f" (that is one of {', '.join(others)})" if others else ""


def _named(detectors: object) -> list[Detector]:
    """Detectors, or their names, as detectors."""
    given = detectors.split(",") if isinstance(detectors, str) else detectors
    if not isinstance(given, Sequence):
        raise SettingError(f"detectors={detectors!r}: expected names of methods")
    return [make_detector(each.strip()) if isinstance(each, str) else each for each in given]


def load(path: str | os.PathLike[str], *, device: str | None = None) -> Detector:
    """A detector that :meth:`Detector.save` wrote. No code from the files is run.

    Raises
    ------
    ModelFileError : the folder is missing, truncated, changed, of a newer format, or names an
        unknown method.
    """
    card, tensors, history = load_model(path)
    try:
        kind = detector_class(card.method)
        if extra := sorted(marked(kind, UNSTORED) & card.parameters.keys()):
            raise SettingError(f"model.json: parameters.{extra[0]} does not belong there")
        parts = {}
        if card.members:
            parts["detectors"] = [_member(each, device) for each in card.members]
        detector = make_detector(
            card.method, **card.parameters, **parts, scorer=card.scorer, device=device
        )
    except SettingError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return detector.restore(card, tensors, history)


def _member(card: MemberCard, device: str | None) -> Detector:
    """Of an ensemble, not fitted."""
    if extra := sorted(marked(detector_class(card.method), UNSTORED) & card.parameters.keys()):
        raise SettingError(f"model.json: {card.name}.parameters.{extra[0]} does not belong there")
    return make_detector(card.method, **card.parameters, device=device)
