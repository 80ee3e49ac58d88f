"""anomirror: anomalies in images, found after seeing only normal ones.

>>> import anomirror
>>> sorted(anomirror.DETECTORS)
['ama', 'knn', 'pca']
"""

from importlib.metadata import version

from anomirror import errors
from anomirror.detectors import AMA, DETECTORS, KNN, PCA, Detector, load, make_detector
from anomirror.presets import PRESETS, preset
from anomirror.scoring import GaussianDensity, LogGaussianDensity, Negate

__version__ = version("anomirror")

__all__ = [
    "AMA",
    "DETECTORS",
    "KNN",
    "PCA",
    "PRESETS",
    "Detector",
    "GaussianDensity",
    "LogGaussianDensity",
    "Negate",
    "errors",
    "load",
    "make_detector",
    "preset",
]
