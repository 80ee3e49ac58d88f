"""Named settings of every method, one TOML file each: plain keyword arguments.

``cpu`` is what the constructors default to: small, sized in steps. ``default`` is our best stable
setting at the paper's size. ``paper-*`` are the paper to the letter; where it is silent the
released code (marked R), where both are silent ours (marked O).
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, get_args

from anomirror.errors import SettingError, unknown

if TYPE_CHECKING:
    from anomirror.detector.parameters import Arguments

_SHARED = "paper-common"
"""What presets of a file may extend; no preset by itself."""


def _read(text: str) -> dict[str, Arguments]:
    tables = tomllib.loads(text)
    presets = {}
    for name, settings in tables.items():
        if name != _SHARED:
            extended = tables[settings.pop("extends")] if "extends" in settings else {}
            presets[name] = {key: _python(value) for key, value in {**extended, **settings}.items()}
    return presets


def _python(value: object) -> object:
    """TOML has no None and no tuples."""
    if isinstance(value, list):
        return tuple(value)
    return None if value == "none" else value


PRESETS: dict[str, dict[str, Arguments]] = {
    file.name.removesuffix(".toml"): _read(file.read_text(encoding="utf-8"))
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name)
    if file.name.endswith(".toml")
}
"""Method and name to keyword arguments."""


def as_published(method: str) -> Arguments:
    """Settings under which the tables were measured and that are neither defaults nor in presets.

    Pixels as the set has them, and a scorer fitted on training images (kNN's on a twentieth that is
    held out).
    """
    from anomirror.detector.parameters import parameters_of
    from anomirror.detectors import detector_class

    declared = parameters_of(detector_class(method))
    choices = get_args(declared["calibration"].hint)
    settings: Arguments = {
        "image_size": None,
        "calibration": "train" if "train" in choices else "heldout",
    }
    if "scoring_precision" in declared:
        settings["scoring_precision"] = "auto"
    if method == "ama":
        settings["scorer"] = "log-gaussian"
    return settings


def preset(method: str, name: str) -> Arguments:
    """The keyword arguments of a preset, as a copy.

    >>> preset("ama", "paper-svhn")["negatives"]
    'outward'
    """
    presets = presets_of(method)
    if name not in presets:
        raise SettingError(f"{method} has {unknown('preset', name, presets)}")
    return dict(presets[name])


def presets_of(method: str) -> dict[str, Arguments]:
    """Of a method without a file, ``cpu`` alone: its defaults."""
    return PRESETS.get(method, {"cpu": {}})
