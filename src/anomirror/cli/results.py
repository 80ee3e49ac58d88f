"""``anomirror reproduce``, ``benchmark`` and ``tables``: measured results."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from anomirror.cli.common import METHODS, DataDir, assigned, each_of, refuse_owned, say, side, words
from anomirror.data import data_directory
from anomirror.errors import AnomirrorError, InputError, SettingError

if TYPE_CHECKING:
    from anomirror.benchmark.protocols import Labelled
    from anomirror.benchmark.trial import Trial
    from anomirror.detector.parameters import Arguments


class Target(StrEnum):
    """What ``reproduce`` knows."""

    TABLE1 = "table1"
    TABLE2 = "table2"
    TABLE3 = "table3"
    FIGURE2 = "figure2"
    FIGURE4 = "figure4"


class Protocol(StrEnum):
    """Who may look at anomalies before the test."""

    BLIND = "blind"
    PAPER = "paper"


class Format(StrEnum):
    """How tables are written."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"


Methods = Annotated[str, typer.Option(help=f"separated by commas: {', '.join(METHODS)}")]
ProtocolOption = Annotated[
    Protocol,
    typer.Option(
        help=(
            "blind: no anomaly before the test; paper: 50 of each set choose the epoch, apart from "
            "the test"
        )
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        "--preset", help="cpu, cpu-long, or paper, which picks by data set; or any preset by name"
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="how many: 0, 1, ...")]
Jobs = Annotated[
    int,
    typer.Option(min=1, help="trainings side by side; the processor's cores are shared among them"),
]
KeepModels = Annotated[
    bool,
    typer.Option(
        "--keep-models",
        help="keep trained models next to their cells, and score kept ones again, not train them",
    ),
]
Out = Annotated[
    Path, typer.Option(help="folder of results; a folder for each preset is made in it")
]


TargetArgument = Annotated[Target, typer.Argument(help="a table or figure of the AMA paper")]
Normals = Annotated[
    str | None, typer.Option(help="of its normal sets these alone, separated by commas")
]


def reproduce(
    target: TargetArgument,
    preset_name: Preset = "cpu",
    methods: Methods = "ama,pca,knn",
    protocol: ProtocolOption = Protocol.BLIND,
    seeds: Seeds = 1,
    normals: Normals = None,
    jobs: Jobs = 1,
    out: Out = Path("results"),
    keep_models: KeepModels = False,
    data_dir: DataDir = None,
) -> None:
    """Measure a table or figure of the paper on the data that is there, and print ours next to the
    paper's.

    Tables always hold pca and knn as well: what a user would pick instead. What is measured already
    is not measured again; a run that was killed goes on where it stopped.
    """
    from anomirror.benchmark.experiments import Settings, absent_codecs, missing, on_disk, planned
    from anomirror.benchmark.rows import BASELINES

    root = data_directory(data_dir)
    there = on_disk(root)
    figure = target.value.startswith("figure")
    if figure:
        import anomirror.benchmark.figures  # noqa: F401  (needs the extra `report`: known before anything is trained)
    chosen = _methods(methods)
    every = tuple(dict.fromkeys([*chosen, *(() if figure else BASELINES)]))
    if normals is not None and not words(normals):
        raise SettingError("--normals names no set")
    settings = Settings(
        every, preset_name, protocol.value, seeds, normals=tuple(words(normals or ""))
    )
    if absent := missing(target.value, settings, there):
        say(f"not below {root}, so their cells stay open: {', '.join(absent)}")
    if uninstalled := absent_codecs(chosen):
        say(f"codecs that are not installed, so their rows stay open: {', '.join(uninstalled)}")
    todo = planned(target.value, settings, there)
    if not todo:
        raise InputError(
            f"{root}: no normal set of {target.value} is here; `anomirror data list` tells what "
            "there is"
        )
    folder = out / preset_name
    failures = _measure(todo, folder, jobs, root, keep_models)
    if figure and not failures:
        _draw(target, todo, folder, root)
    elif not figure:
        _print_tables(todo, folder)
    _tell(failures)


Normal = Annotated[
    str, typer.Option(help="a data set, one class of it as NAME:LABEL, or a folder of images")
]
Anomalies = Annotated[
    list[str] | None,
    typer.Option(
        help="data sets, generated sets or folders, separated by commas; of a class: rest; "
        "of a folder with train/good and test/<kind> (MVTec AD): every kind, if none is given"
    ),
]
LabelledOption = Annotated[
    str | None, typer.Option(help="NAME:COUNT labelled anomalies, from a set's train split")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="a row of methods that differ from the preset in this; repeatable",
    ),
]
Size = Annotated[
    str,
    typer.Option(
        "--size",
        "--image-size",
        help="of a folder's images: 32, 64, 128, 256, or auto as in `anomirror fit`",
    ),
]


def benchmark(
    normal: Normal,
    anomalies: Anomalies = None,
    preset_name: Preset = "cpu",
    methods: Methods = "ama,pca,knn",
    protocol: ProtocolOption = Protocol.BLIND,
    labelled: LabelledOption = None,
    seeds: Seeds = 1,
    set_: Set = None,
    jobs: Jobs = 1,
    image_size: Size = "auto",
    out: Out = Path("results"),
    keep_models: KeepModels = False,
    data_dir: DataDir = None,
) -> None:
    """Measure methods on any normal set against any anomaly sets, and print the AUROC table."""
    from anomirror.benchmark.experiments import Settings, trials

    columns = _columns(normal, each_of(anomalies))
    size = None if (chosen_size := side(image_size)) == "auto" else chosen_size
    chosen = _methods(methods)
    changes = _changes(set_, chosen)
    settings = Settings(
        chosen, preset_name, protocol.value, seeds, _labelled(labelled), size, changes=changes
    )
    todo = list(trials(normal, columns, settings))
    folder = out / preset_name
    failures = _measure(todo, folder, jobs, data_dir, keep_models)
    _print_tables(todo, folder)
    _tell(failures)


def tables(
    results: Annotated[
        list[Path], typer.Argument(help="folders that `anomirror reproduce` or `benchmark` wrote")
    ],
    format_: Annotated[Format, typer.Option("--format")] = Format.MARKDOWN,
    metric: Annotated[
        str,
        typer.Option(help="auroc, aupr (anomalies positive), aupr_normal, fpr95, auroc_whole_set"),
    ] = "auroc",
) -> None:
    """Every table that measured cells can fill, on standard output."""
    from anomirror.benchmark.cells import read_entries
    from anomirror.benchmark.render import FORMATS
    from anomirror.benchmark.tables import all_tables

    for folder in results:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    made = all_tables(read_entries(*results), metric)
    print("\n".join(map(FORMATS[format_.value], made)), end="")


def _methods(text: str) -> tuple[str, ...]:
    chosen = tuple(words(text))
    if not chosen:
        raise SettingError(f"--methods names none; choose among {', '.join(METHODS)}")
    return chosen


def _columns(normal: str, anomalies: list[str]) -> list[str]:
    """Anomaly sets: those that are named, or the kinds of defects of a folder that has them."""
    from anomirror.images import defect_layout

    if anomalies:
        return anomalies
    layout = defect_layout(Path(normal)) if Path(normal).is_dir() else None
    if layout is None or not layout.kinds:
        raise SettingError("--anomalies names no set")
    return [str(layout.defects(kind)) for kind in layout.kinds]


def _changes(texts: Sequence[str] | None, methods: Sequence[str]) -> Arguments:
    """Parameters that are set otherwise than in the preset; each belongs to all of the methods."""
    from anomirror.detectors import make_detector

    changes = assigned(texts)
    if len(changes) < len(texts or []):
        raise SettingError(
            "--set: a parameter is set twice; each value is a row of its own, and wants a command "
            "of its own"
        )
    refuse_owned(
        changes,
        "random_state",
        "device",
        "image_size",
        "workers",
        "skip_bad",
        "checkpoint_dir",
        "verbose",
        "callback",
    )
    for method in methods:
        make_detector(method, **changes).validate()
    return changes


def _labelled(text: str | None) -> Labelled | None:
    from anomirror.benchmark.protocols import Labelled

    if text is None:
        return None
    name, _, count = text.rpartition(":")
    if not name or not count.isdigit():
        raise SettingError(f"--labelled {text}: expected NAME:COUNT, for example mnist:10")
    return Labelled(name, int(count))


def _measure(
    trials: Sequence[Trial], folder: Path, jobs: int, data_dir: Path | None, keep_models: bool
) -> list[tuple[Trial, Exception]]:
    """Measure what is missing and report how far it is; returns what failed."""
    from anomirror.benchmark.pool import run
    from anomirror.benchmark.resume import unfinished

    todo = unfinished(trials, folder, data_dir)
    say(f"{len(todo)} of {len(trials)} trainings to do; results are in {folder}")

    def report(
        trial: Trial, done: int, total: int, seconds: float, error: Exception | None
    ) -> None:
        failed = f" failed: {error}" if error else ""
        say(f"{done} of {total} done, about {_duration(seconds)} left: {trial}{failed}")

    return run(todo, folder, jobs=jobs, data_dir=data_dir, keep_models=keep_models, report=report)


def _tell(failures: Sequence[tuple[Trial, Exception]]) -> None:
    """End the command with what failed, when everything else is written and printed."""
    if failures:
        listed = "\n".join(f"  {trial}: {error}" for trial, error in failures)
        raise AnomirrorError(f"{len(failures)} trainings failed, the others are written:\n{listed}")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _print_tables(trials: Sequence[Trial], folder: Path) -> None:
    """The tables of these trials alone, whatever else lies in the folder."""
    from anomirror.benchmark.cells import entries_of
    from anomirror.benchmark.render import as_markdown
    from anomirror.benchmark.tables import all_tables

    entries = []
    for trial in trials:
        if record := trial.record(folder):
            places = set(trial.places())
            entries += [e for e in entries_of(trial.file(folder), record) if e.cell.place in places]
    if entries:
        print("\n".join(as_markdown(table) for table in all_tables(entries)), end="")


def _draw(target: Target, trials: Sequence[Trial], folder: Path, root: Path) -> None:
    from anomirror.benchmark.figures import FIGURES

    files = FIGURES[target.value](trials, folder, root)
    if not files:
        raise InputError(f"{target.value}: none of these methods has what it shows; ama has")
    for file in files:
        Console().print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)
