"""The paper's tables as lists of trials.

What is normal, what is anomalous, which variants of a method stand in the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from anomirror.benchmark.protocols import REST, Labelled, Protocol, parse_normal
from anomirror.benchmark.rows import Changes, MethodRows, rows_of
from anomirror.benchmark.trial import Trial, protocol_settings
from anomirror.codecs import installed
from anomirror.data import DATASETS, GENERATED, canonical
from anomirror.data.downloads import present
from anomirror.detectors import detector_class, make_detector
from anomirror.errors import SettingError
from anomirror.presets import preset, presets_of

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
    labelled: Labelled | None = None
    folder_size: int | None = None
    """Of a folder's images; None: the one that "auto" would be for each method."""
    normals: tuple[str, ...] = ()
    """Of a table or figure these normal sets alone, whole or one class; empty: all."""
    changes: Mapping[str, object] = field(default_factory=dict)
    """Parameters that are set otherwise than in the preset: a variant named after them."""

    def wants(self, trial: Trial) -> bool:
        """Whether its normal set was asked for."""
        return not self.normals or any(name in self.normals for name in _names(trial.normal))


def chosen_preset(method: str, wanted: str, normal: str) -> str:
    """The preset that ``--preset`` means for a method and a normal set.

    >>> [chosen_preset(method, "paper", "svhn") for method in ("ama", "waic", "pca")]
    ['paper-svhn', 'paper', 'default']
    >>> chosen_preset("ama", "cpu", "mnist:3")
    'cpu-one-class'
    """
    detector_class(method)  # refuses a name that is unknown
    presets = presets_of(method)
    name, label = parse_normal(normal)
    if wanted == "paper":
        own = _PAPER_PRESETS.get(name, "paper-svhn")
        return next(preset for preset in (own, "paper", "default") if preset in presets)
    if label is not None and f"{wanted}-one-class" in presets:
        return f"{wanted}-one-class"
    return wanted if wanted in presets or not rows_of(method).is_baseline else "cpu"


Choice = Callable[[MethodRows], Mapping[str, Changes]]
"""Picks variants or scorings of a method."""


def _none(rows: MethodRows) -> Mapping[str, Changes]:
    return {}


def all_scorings(rows: MethodRows) -> Mapping[str, Changes]:
    """Every further scoring of a method and its variants."""
    return rows.scorings


def _beside(rows: MethodRows) -> Mapping[str, Changes]:
    return rows.beside


def trials(
    normal: str,
    anomalies: Sequence[str],
    settings: Settings,
    variants: Choice = _none,
    scorings: Choice = _none,
    beside: Choice = _none,
) -> Iterable[Trial]:
    """Every method, variant and seed on one normal set; scorings ``beside`` are those of the method
    alone.
    """
    normal, columns = canonical(normal), tuple(canonical(column) for column in anomalies)
    labelled = settings.labelled
    if labelled:
        labelled = replace(labelled, dataset=canonical(labelled.dataset))
    for seed in range(settings.seeds):
        for method in settings.methods:
            rows, name = rows_of(method), chosen_preset(method, settings.preset, normal)
            given = preset(method, name)
            usual = make_detector(
                method, **{**protocol_settings(method, normal), **given}
            ).get_params()
            own = _differing(usual, settings.changes)
            for variant, changes in {variant_name(own): own, **variants(rows)}.items():
                further = {**scorings(rows), **({} if variant else beside(rows))}
                yield Trial(
                    method=method,
                    preset=name,
                    parameters={**given, **changes},
                    normal=normal,
                    anomalies=columns,
                    seed=seed,
                    variant=variant,
                    protocol=settings.protocol,
                    labelled=labelled,
                    group=settings.preset,
                    scorings={
                        scoring: changed
                        for scoring, changed in further.items()
                        if _differing(usual, changed) and _usable(changed)
                    },
                    own=rows.own_scoring({**usual, **changes}),
                    tested=rows.tested,
                    folder_size=settings.folder_size or detector_class(method).auto_size,
                )


def variant_name(changes: Mapping[str, object]) -> str:
    """The name of a variant that is set otherwise: it is in names of files, too.

    >>> variant_name({"epochs": 24, "betas": [0.0, 0.9]}), variant_name({})
    ('betas=_0.0,0.9_,epochs=24', '')
    """
    words = [f"{name}={value}".replace(" ", "") for name, value in sorted(changes.items())]
    return re.sub(r"[^\w.,=+-]", "_", ",".join(words))


def _differing(
    parameters: Mapping[str, object], changes: Mapping[str, object]
) -> dict[str, object]:
    """Those of some changes that are not set anyway."""
    return {key: value for key, value in changes.items() if parameters[key] != value}


def _each(
    sets: Mapping[str, tuple[str, ...]],
    there: Callable[[str], bool],
    settings: Settings,
    variants: Choice,
) -> list[Trial]:
    """Every method, variant, scoring and seed on the sets that are there."""
    return [
        trial
        for normal, columns in _available(sets, there)
        for trial in trials(normal, columns, settings, variants, all_scorings, _beside)
    ]


def table1(settings: Settings, there: Callable[[str], bool]) -> list[Trial]:
    """Out of distribution, with the ablations."""
    return _each(OUT_OF_DISTRIBUTION, there, settings, lambda rows: rows.ablations)


def table2(settings: Settings, there: Callable[[str], bool]) -> list[Trial]:
    """One class is normal."""
    sets = [normal for normal in ONE_CLASS if there(parse_normal(normal)[0])]
    return [
        trial
        for normal in sets
        for trial in trials(normal, [REST], settings, scorings=all_scorings)
    ]


def table3(settings: Settings, there: Callable[[str], bool]) -> list[Trial]:
    """Box negatives against atypical selection, with and without interpolation."""
    return _each(BOX_COLUMNS, there, settings, lambda rows: rows.negatives)


def figure2(settings: Settings, there: Callable[[str], bool]) -> list[Trial]:
    """Reconstructions with the ordinary and the mirrored loss.

    SVHN is normal where it is there, else CIFAR-10 and Fashion-MNIST are.
    """
    normals = ["svhn"] if there("svhn") else ["cifar10", "fashion-mnist"]

    def ordinary(rows: MethodRows) -> Mapping[str, Changes]:
        return {name: changes for name, changes in rows.ablations.items() if name == "no-mirrored"}

    return [
        trial
        for normal, columns in _available(
            {name: OUT_OF_DISTRIBUTION[name] for name in normals}, there
        )
        for trial in trials(normal, columns, settings, ordinary)
    ]


def figure4(settings: Settings, there: Callable[[str], bool]) -> list[Trial]:
    """Densities of the raw score."""
    return _each(OUT_OF_DISTRIBUTION, there, settings, _none)


EXPERIMENTS: dict[str, Callable[[Settings, Callable[[str], bool]], list[Trial]]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "figure2": figure2,
    "figure4": figure4,
}
"""Every table and figure that ``anomirror reproduce`` knows."""


def planned(target: str, settings: Settings, there: Callable[[str], bool]) -> list[Trial]:
    """The trials of a table or figure, of the normal sets that were asked for.

    Raises
    ------
    SettingError : it has no such normal set.
    """
    trials_there = EXPERIMENTS[target](settings, there)
    known = [
        _names(trial.normal)
        for trial in (*EXPERIMENTS[target](settings, lambda _: True), *trials_there)
    ]
    if unknown := set(settings.normals).difference(*known):
        sets = dict.fromkeys(names[0] for names in known)
        raise SettingError(
            f"{target} has no normal set {', '.join(sorted(unknown))}: choose among "
            f"{', '.join(sets)}"
        )
    return list(filter(settings.wants, trials_there))


def _names(normal: str) -> tuple[str, str]:
    """What a normal set may be asked for by: one class of a set by that set, too."""
    return parse_normal(normal)[0], normal


def on_disk(root: Path) -> Callable[[str], bool]:
    """Whether a set can be used: generated, or with files below ``root``."""
    return lambda name: name in GENERATED or (name in DATASETS and present(name, root))


def missing(target: str, settings: Settings, there: Callable[[str], bool]) -> list[str]:
    """Sets of a table or figure that are not there: their cells stay open."""
    wanted = filter(settings.wants, EXPERIMENTS[target](settings, lambda _: True))
    named = {
        name for trial in wanted for name in (parse_normal(trial.normal)[0], *trial.anomalies)
    } - {REST}
    return sorted(name for name in named if not there(name))


def absent_codecs(methods: Sequence[str]) -> list[str]:
    """Codecs that rows of some methods would name, and that are not installed."""
    scorings = [changes for method in methods for changes in rows_of(method).scorings.values()]
    return [str(changes["codec"]) for changes in scorings if not _usable(changes)]


def _usable(changes: Changes) -> bool:
    """Whether a scoring needs no codec, or one that is installed."""
    return "codec" not in changes or installed(changes["codec"])


def _available(
    sets: Mapping[str, tuple[str, ...]], there: Callable[[str], bool]
) -> Iterable[tuple[str, list[str]]]:
    """Normal sets that are there, with those of their columns that are."""
    for normal, columns in sets.items():
        if there(normal) and (left := [column for column in columns if there(column)]):
            yield normal, left
