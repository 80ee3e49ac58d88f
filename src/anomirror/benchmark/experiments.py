"""The paper's tables as lists of trainings: what is normal, what is anomalous, which variants of a method stand in the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anomirror.benchmark.protocols import REST, Known, Protocol, parse_normal
from anomirror.benchmark.runner import Training, protocol_settings
from anomirror.codecs import CODECS, installed
from anomirror.data import DATASETS, GENERATED, canonical
from anomirror.data.downloads import present
from anomirror.detectors import DETECTORS, make_detector
from anomirror.errors import SettingError
from anomirror.presets import PRESETS, preset

BASELINES = ("pca", "knn")
"""What a user would pick instead: rows of every table."""

ABLATIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "ama": {
        "no-mirrored": {"mirrored": False},
        "no-interpolation": {"interpolation": None},
        "no-negatives": {"negatives": None},
    }
}
"""Method and variant to the arguments in which it differs (Table 1). "Without the A-score" is every row's one-sided reading."""

BOX_DELTA = 0.05
NEGATIVES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "ama": {
        "no-interpolation": {"interpolation": None},
        "box": {"negatives": "box", "delta": BOX_DELTA},
        "box-no-interpolation": {"negatives": "box", "delta": BOX_DELTA, "interpolation": None},
    }
}
"""The same for Table 3, box negatives against atypical selection. The margin of the box is ours: the paper gives none."""

FORMS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {"anogan": {"fast": {"fast": True}}}
"""The same for Table 2: methods of two forms."""

TESTED: Mapping[str, tuple[Mapping[str, Any], int]] = {"anogan": ({"fast": False}, 500)}
"""Methods, arguments with which an image takes them long, and how many test images are scored then, the same in every seed."""

PLAIN_R, LIKELIHOOD = "plain-r", "likelihood"
"""What is scored by AMA's Eq. (5) and (6) to the letter; and by the likelihood alone."""

SCORINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "ama": {PLAIN_R: {"structure_power": 0.0, "scorer": "gaussian"}},
    "likelihood_ratio": {LIKELIHOOD: {"likelihood_only": True}},
    "typicality": {LIKELIHOOD: {"likelihood_only": True}},
    "complexity": {LIKELIHOOD: {"likelihood_only": True}, **{codec: {"codec": codec} for codec in CODECS}},
}
"""Further scorings of the same networks. A codec that is not installed is left out."""

NAMED_BY = {"complexity": "codec"}
"""Methods of which every result, their own scoring's too, names a parameter."""

OUT_OF_DISTRIBUTION: Mapping[str, tuple[str, ...]] = {
    "fashion-mnist": ("mnist", "omniglot", "gtsrb", *GENERATED),
    "cifar10": ("svhn", "imagenet-resize", "cifar100", "gtsrb", *GENERATED),
    "svhn": ("cifar10", "imagenet-resize", "cifar100", "gtsrb", *GENERATED),
    "gtsrb": ("svhn", "cifar10", "imagenet-resize", "cifar100", *GENERATED),
}
"""Normal sets of Table 1 and their columns; GTSRB and the generated sets are ours."""

BOX_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "fashion-mnist": ("mnist",),
    "cifar10": ("svhn", "gtsrb"),
    "svhn": ("cifar10",),
    "gtsrb": ("cifar10",),
}
"""The same of Table 3; with GTSRB in place of SVHN."""

ONE_CLASS = tuple(f"{name}:{label}" for name in ("mnist", "cifar10") for label in range(10))
"""Normal sets of Table 2."""


def classes_of(dataset: str) -> list[str]:
    """Normal sets of Table 2 that are classes of a set.

    >>> classes_of("mnist")[:2]
    ['mnist:0', 'mnist:1']
    """
    return [normal for normal in ONE_CLASS if parse_normal(normal)[0] == dataset]


_PAPER_PRESETS = {"fashion-mnist": "paper-grey", "mnist": "paper-grey", "cifar10": "paper-cifar10"}
"""``--preset paper`` by normal set; others are set as SVHN is."""


@dataclass(frozen=True)
class Settings:
    """What the commands let a user choose."""

    methods: tuple[str, ...]
    preset: str = "cpu"
    protocol: Protocol = "blind"
    seeds: int = 1
    known: Known | None = None
    folder_size: int | None = None
    """Of a folder's pictures; None: the one that "auto" would be for each method."""
    normals: tuple[str, ...] = ()
    """Of a table or figure these normal sets alone, whole or one class; empty: all."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are set otherwise than in the preset: a variant named after them."""

    def wants(self, training: Training) -> bool:
        """Whether its normal set was asked for."""
        return not self.normals or any(name in self.normals for name in _names(training.normal))


def chosen_preset(method: str, wanted: str, normal: str) -> str:
    """The preset that ``--preset`` means for a method and a normal set.

    >>> chosen_preset("ama", "paper", "svhn"), chosen_preset("waic", "paper", "svhn"), chosen_preset("pca", "paper", "svhn")
    ('paper-svhn', 'paper', 'default')
    >>> chosen_preset("ama", "cpu", "mnist:3")
    'cpu-one-class'
    """
    if method not in PRESETS:
        raise SettingError(f"no method named {method!r}: choose one of {', '.join(PRESETS)}")
    name, label = parse_normal(normal)
    if wanted == "paper":
        own = _PAPER_PRESETS.get(name, "paper-svhn")
        return next(preset for preset in (own, "paper", "default") if preset in PRESETS[method])
    if label is not None and f"{wanted}-one-class" in PRESETS[method]:
        return f"{wanted}-one-class"
    return wanted if wanted in PRESETS[method] or method not in BASELINES else "cpu"


def trainings(
    normal: str,
    anomalies: Sequence[str],
    settings: Settings,
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    scorings: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> Iterable[Training]:
    """Every method, variant and seed on one normal set."""
    normal, anomalies = canonical(normal), [canonical(column) for column in anomalies]
    known = settings.known and replace(settings.known, dataset=canonical(settings.known.dataset))
    for seed in range(settings.seeds):
        for method in settings.methods:
            name = chosen_preset(method, settings.preset, normal)
            usual = make_detector(method, **{**protocol_settings(method, normal), **preset(method, name)}).get_params()
            own = _departing(usual, settings.changes)
            for variant, changes in {variant_name(own): own, **(variants or {}).get(method, {})}.items():
                yield Training(
                    method=method,
                    preset=name,
                    parameters={**preset(method, name), **changes},
                    normal=normal,
                    anomalies=tuple(anomalies),
                    seed=seed,
                    variant=variant,
                    protocol=settings.protocol,
                    known=known,
                    group=settings.preset,
                    scorings={
                        scoring: departures
                        for scoring, departures in (scorings or {}).get(method, {}).items()
                        if _departing(usual, departures) and _usable(departures)
                    },
                    own=str({**usual, **changes}[NAMED_BY[method]]) if method in NAMED_BY else "",
                    tested=_tested(method, {**usual, **changes}),
                    folder_size=settings.folder_size or DETECTORS[method].auto_size,
                )


def _tested(method: str, parameters: Mapping[str, Any]) -> int | None:
    slow, count = TESTED.get(method, ({}, None))
    return count if all(parameters[name] == value for name, value in slow.items()) else None


def variant_name(changes: Mapping[str, Any]) -> str:
    """The name of a variant that is set otherwise: it is in names of files, too.

    >>> variant_name({"epochs": 24, "betas": [0.0, 0.9]}), variant_name({})
    ('betas=_0.0,0.9_,epochs=24', '')
    """
    words = [f"{name}={value}".replace(" ", "") for name, value in sorted(changes.items())]
    return re.sub(r"[^\w.,=+-]", "_", ",".join(words))


def _departing(parameters: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some changes that differ from what is set anyway."""
    return {key: value for key, value in changes.items() if parameters[key] != value}


def table1(settings: Settings, there: Callable[[str], bool]) -> list[Training]:
    """Out of distribution, with the ablations."""
    return [
        training
        for normal, columns in _available(OUT_OF_DISTRIBUTION, there)
        for training in trainings(normal, columns, settings, ABLATIONS, SCORINGS)
    ]


def table2(settings: Settings, there: Callable[[str], bool]) -> list[Training]:
    """One class is normal."""
    sets = [normal for normal in ONE_CLASS if there(parse_normal(normal)[0])]
    return [training for normal in sets for training in trainings(normal, [REST], settings, FORMS, SCORINGS)]


def table3(settings: Settings, there: Callable[[str], bool]) -> list[Training]:
    """Box negatives against atypical selection, with and without interpolation."""
    return [
        training
        for normal, columns in _available(BOX_COLUMNS, there)
        for training in trainings(normal, columns, settings, NEGATIVES, SCORINGS)
    ]


def figure2(settings: Settings, there: Callable[[str], bool]) -> list[Training]:
    """Reconstructions with the ordinary and the mirrored loss: of SVHN if it is there, else of CIFAR-10 and Fashion-MNIST."""
    normals = ["svhn"] if there("svhn") else ["cifar10", "fashion-mnist"]
    wanted = {method: {"no-mirrored": found["no-mirrored"]} for method, found in ABLATIONS.items()}
    return [
        training
        for normal, columns in _available({name: OUT_OF_DISTRIBUTION[name] for name in normals}, there)
        for training in trainings(normal, columns, settings, wanted)
    ]


def figure4(settings: Settings, there: Callable[[str], bool]) -> list[Training]:
    """Densities of the raw score."""
    return [
        training
        for normal, columns in _available(OUT_OF_DISTRIBUTION, there)
        for training in trainings(normal, columns, settings, scorings=SCORINGS)
    ]


EXPERIMENTS: dict[str, Callable[[Settings, Callable[[str], bool]], list[Training]]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "figure2": figure2,
    "figure4": figure4,
}
"""Every table and figure that ``anomirror reproduce`` knows."""


def planned(target: str, settings: Settings, there: Callable[[str], bool]) -> list[Training]:
    """The trainings of a table or figure, of the normal sets that were asked for.

    Raises
    ------
    SettingError : it has no such normal set.
    """
    found = EXPERIMENTS[target](settings, there)
    known = [_names(training.normal) for training in (*EXPERIMENTS[target](settings, lambda _: True), *found)]
    if unknown := set(settings.normals).difference(*known):
        sets = dict.fromkeys(names[0] for names in known)
        raise SettingError(f"{target} has no normal set {', '.join(sorted(unknown))}: choose among {', '.join(sets)}")
    return list(filter(settings.wants, found))


def _names(normal: str) -> tuple[str, str]:
    """What a normal set may be asked for by: one class of a set by that set, too."""
    return parse_normal(normal)[0], normal


def on_disk(root: Path) -> Callable[[str], bool]:
    """Whether a set can be used: generated, or with files below ``root``."""
    return lambda name: name in GENERATED or (name in DATASETS and present(name, root))


def missing(target: str, settings: Settings, there: Callable[[str], bool]) -> list[str]:
    """Sets of a table or figure that are not there: their cells stay open."""
    wanted = filter(settings.wants, EXPERIMENTS[target](settings, lambda _: True))
    named = {name for training in wanted for name in (parse_normal(training.normal)[0], *training.anomalies)} - {REST}
    return sorted(name for name in named if not there(name))


def absent_codecs(methods: Sequence[str]) -> list[str]:
    """Codecs that rows of some methods would name, and that are not installed."""
    scorings = [departures for method in methods for departures in SCORINGS.get(method, {}).values()]
    return [departures["codec"] for departures in scorings if not _usable(departures)]


def _usable(departures: Mapping[str, Any]) -> bool:
    """Whether a scoring needs no codec, or one that is installed."""
    return "codec" not in departures or installed(departures["codec"])


def _available(sets: Mapping[str, tuple[str, ...]], there: Callable[[str], bool]) -> Iterable[tuple[str, list[str]]]:
    """Normal sets that are there, with those of their columns that are."""
    for normal, columns in sets.items():
        if there(normal) and (left := [column for column in columns if there(column)]):
            yield normal, left
