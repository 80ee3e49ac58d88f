"""Every detector by name, and the loading of saved ones."""

from __future__ import annotations

import os
from typing import Any

from anomirror.detector.contract import Detector
from anomirror.detector.parameters import UNSTORED, marked, parameters_of
from anomirror.detectors.alad import ALAD
from anomirror.detectors.ama import AMA
from anomirror.detectors.anogan import AnoGAN
from anomirror.detectors.complexity import Complexity
from anomirror.detectors.deep_svdd import DeepSVDD
from anomirror.detectors.fanogan import FAnoGAN
from anomirror.detectors.fence_gan import FenceGAN
from anomirror.detectors.knn import KNN
from anomirror.detectors.likelihood_ratio import LikelihoodRatio
from anomirror.detectors.negative_sampling import NegativeSampling
from anomirror.detectors.pca import PCA
from anomirror.detectors.skip_ganomaly import SkipGANomaly
from anomirror.detectors.typicality import Typicality
from anomirror.detectors.waic import WAIC
from anomirror.errors import ModelFileError, SettingError, unknown
from anomirror.storage import load_model

__all__ = [
    "ALAD",
    "AMA",
    "DETECTORS",
    "KNN",
    "PCA",
    "WAIC",
    "AnoGAN",
    "Complexity",
    "DeepSVDD",
    "Detector",
    "FAnoGAN",
    "FenceGAN",
    "LikelihoodRatio",
    "NegativeSampling",
    "SkipGANomaly",
    "Typicality",
    "load",
    "make_detector",
]

DETECTORS: dict[str, type[Detector]] = {
    detector.method: detector
    for detector in (
        AMA,
        WAIC,
        LikelihoodRatio,
        Typicality,
        Complexity,
        DeepSVDD,
        FenceGAN,
        ALAD,
        AnoGAN,
        FAnoGAN,
        SkipGANomaly,
        NegativeSampling,
        PCA,
        KNN,
    )
}
"""Name to class: the only way from a name in a file or on the command line to code."""


def make_detector(method: str, /, **parameters: Any) -> Detector:
    """A detector by name; unknown names and parameters are refused with the known ones."""
    if method not in DETECTORS:
        raise SettingError(unknown("method named", method, DETECTORS))
    known = parameters_of(DETECTORS[method])
    for name in parameters:
        if name not in known:
            raise SettingError(f"{method} has {unknown('parameter', name, known, 'choose among')}")
    return DETECTORS[method](**parameters)


def load(path: str | os.PathLike[str], *, device: str | None = None) -> Detector:
    """A detector that :meth:`Detector.save` wrote. No code from the files is run.

    Raises
    ------
    ModelFileError : the folder is missing, truncated, changed, of a newer format, or names an unknown method.
    """
    card, tensors, history = load_model(path)
    try:
        kind = DETECTORS.get(card.method, Detector)
        if extra := sorted(marked(kind, UNSTORED) & card.parameters.keys()):
            raise SettingError(f"model.json: parameters.{extra[0]} does not belong there")
        detector = make_detector(card.method, **card.parameters, scorer=card.scorer, device=device)
    except SettingError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return detector._restore_from(card, tensors, history)
