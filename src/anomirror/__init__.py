"""anomirror: anomalies in images, found after seeing only normal ones.

>>> import anomirror
>>> {"ama", "knn", "pca"} <= anomirror.DETECTORS.keys()
True
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from anomirror import errors
from anomirror.presets import PRESETS, preset

if TYPE_CHECKING:
    from anomirror.detectors import *  # noqa: F403
    from anomirror.detectors import DETECTORS, load, make_detector, register
    from anomirror.scorers import GaussianDensity, LogGaussianDensity, Negate

__version__ = version("anomirror")

__all__ = [
    "DETECTORS",
    "PRESETS",
    "GaussianDensity",
    "LogGaussianDensity",
    "Negate",
    "errors",
    "load",
    "make_detector",
    "preset",
    "register",
]
"""And every detector, under the name of its class."""

_PARTS = (
    "codecs",
    "data",
    "decisions",
    "detectors",
    "images",
    "latent",
    "likelihood",
    "losses",
    "metrics",
    "networks",
    "scorers",
    "sequential",
    "storage",
    "testing",
    "training",
)


def __getattr__(name: str) -> object:
    """What needs torch, imported when first asked for (PEP 562).

    The command line's help does not need it.
    """
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    if name in __all__ or name[:1].isupper():  # not of a module, which an import asks for first
        for home in ("anomirror.detectors", "anomirror.scorers"):
            module = import_module(home)
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    detectors = import_module("anomirror.detectors")
    classes = {kind.__name__ for kind in detectors.DETECTORS.values()}
    return sorted(globals().keys() | set(__all__) | classes)
