"""``anomirror reproduce``, ``benchmark`` and ``tables``: measured results."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from anomirror.cli.common import DataDir, app, example, say, words
from anomirror.data import data_directory
from anomirror.errors import AnomirrorError, InputError, SettingError
from anomirror.presets import PRESETS

if TYPE_CHECKING:
    from anomirror.benchmark.protocols import Known
    from anomirror.benchmark.runner import Training


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


Methods = Annotated[str, typer.Option(help=f"separated by commas: {', '.join(PRESETS)}")]
ProtocolOption = Annotated[
    Protocol, typer.Option(help="blind: no anomaly before the test; paper: 50 of each set choose the epoch, apart from the test")
]
Preset = Annotated[str, typer.Option("--preset", help="cpu, cpu-long, or paper, which picks by data set; or any preset by name")]
Seeds = Annotated[int, typer.Option(min=1, help="how many: 0, 1, ...")]
Jobs = Annotated[int, typer.Option(min=1, help="trainings side by side; the processor's cores are shared among them")]
Out = Annotated[Path, typer.Option(help="folder of results; a folder for each preset is made in it")]


@app.command(epilog=example("anomirror reproduce table1 --methods ama --seeds 3 --jobs 2 --data-dir data/"))
def reproduce(
    target: Annotated[Target, typer.Argument(help="a table or figure of the AMA paper")],
    preset_name: Preset = "cpu",
    methods: Methods = "ama,pca,knn",
    protocol: ProtocolOption = Protocol.BLIND,
    seeds: Seeds = 1,
    jobs: Jobs = 1,
    out: Out = Path("results"),
    data_dir: DataDir = None,
) -> None:
    """Measure a table or figure of the paper on the data that is there, and print ours beside the paper's.

    What is measured already is not measured again; a run that was killed goes on where it stopped.
    """
    from anomirror.benchmark.experiments import EXPERIMENTS, Settings, missing, on_disk

    root = data_directory(data_dir)
    there = on_disk(root)
    if absent := missing(there):
        say(f"not below {root}, so their cells stay open: {', '.join(absent)}")
    settings = Settings(tuple(words(methods)), preset_name, protocol.value, seeds)
    trainings = EXPERIMENTS[target.value](settings, there)
    if not trainings:
        raise InputError(f"{root}: no normal set of {target.value} is here; `anomirror data list` tells what there is")
    folder = out / preset_name
    _measure(trainings, folder, jobs, root)
    if target.value.startswith("figure"):
        _draw(target, trainings, folder, root)
    else:
        _print_tables(trainings, folder)


@app.command(epilog=example("anomirror benchmark --normal mnist:3 --anomalies rest --methods ama,pca --seeds 3 --data-dir data/"))
def benchmark(
    normal: Annotated[str, typer.Option(help="a data set, one class of it as NAME:LABEL, or a folder of pictures")],
    anomalies: Annotated[str, typer.Option(help="data sets, generated sets or folders, separated by commas; of a class: rest")],
    preset_name: Preset = "cpu",
    methods: Methods = "ama,pca,knn",
    protocol: ProtocolOption = Protocol.BLIND,
    known: Annotated[str | None, typer.Option(help="NAME:COUNT known anomalies, from a set's train split")] = None,
    seeds: Seeds = 1,
    jobs: Jobs = 1,
    image_size: Annotated[int, typer.Option(help="of a folder's pictures: 32, 64, 128 or 256")] = 64,
    out: Out = Path("results"),
    data_dir: DataDir = None,
) -> None:
    """Measure methods on any normal set against any anomaly sets, and print the AUROC table."""
    from anomirror.benchmark.experiments import Settings, trainings

    settings = Settings(tuple(words(methods)), preset_name, protocol.value, seeds, _known(known), image_size)
    todo = list(trainings(normal, words(anomalies), settings))
    if not todo or not words(anomalies):
        raise SettingError("--methods and --anomalies name at least one each")
    folder = out / preset_name
    _measure(todo, folder, jobs, data_dir)
    _print_tables(todo, folder)


@app.command(epilog=example("anomirror tables results/cpu --format latex > tables.tex"))
def tables(
    results: Annotated[list[Path], typer.Argument(help="folders that `anomirror reproduce` or `benchmark` wrote")],
    format_: Annotated[Format, typer.Option("--format")] = Format.MARKDOWN,
    metric: Annotated[str, typer.Option(help="auroc, aupr (anomalies positive), aupr_normal, fpr95, auroc_whole_set")] = "auroc",
) -> None:
    """Every table that measured cells can fill, on standard output."""
    from anomirror.benchmark.tables import FORMATS, all_tables, read_cells

    for folder in results:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    cells = read_cells(*results)
    made = []
    for preset_name in dict.fromkeys(_group(cell["preset"]) for cell in cells):
        made += all_tables([cell for cell in cells if _group(cell["preset"]) == preset_name], metric)
    if not made:
        raise InputError(f"{', '.join(map(str, results))}: no measured cell here")
    print("\n".join(map(FORMATS[format_.value], made)), end="")


def _group(preset_name: str) -> str:
    """Presets that stand in one table: those of one command, and the plain methods' only one."""
    return "paper" if preset_name.startswith("paper") or preset_name == "default" else preset_name.removesuffix("-one-class")


def _known(text: str | None) -> Known | None:
    from anomirror.benchmark.protocols import Known

    if text is None:
        return None
    name, _, count = text.rpartition(":")
    if not name or not count.isdigit():
        raise SettingError(f"--known {text}: expected NAME:COUNT, for example mnist:10")
    return Known(name, int(count))


def _measure(trainings: Sequence[Training], folder: Path, jobs: int, data_dir: Path | None) -> None:
    """Run what is missing and tell how far it is; a failed training is told, and ends the command when the others are done."""
    from anomirror.benchmark.runner import run, unfinished

    todo = len(unfinished(trainings, folder))
    say(f"{todo} of {len(trainings)} trainings to do; results are in {folder}")

    def report(training: Training, done: int, total: int, seconds: float, error: Exception | None) -> None:
        failed = f" failed: {error}" if error else ""
        say(f"{done} of {total} done, about {_duration(seconds)} left: {training}{failed}")

    if failures := run(trainings, folder, jobs=jobs, data_dir=data_dir, report=report):
        listed = "\n".join(f"  {training}: {error}" for training, error in failures)
        raise AnomirrorError(f"{len(failures)} of {todo} trainings failed, the others are written:\n{listed}")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _print_tables(trainings: Sequence[Training], folder: Path) -> None:
    """The tables of these trainings alone, whatever else lies in the folder."""
    import json

    from anomirror.benchmark.tables import all_tables, as_markdown

    files = dict.fromkeys(file for training in trainings for file in training.cells(folder).values())
    cells = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for table in all_tables(cells):
        print(as_markdown(table))


def _draw(target: Target, trainings: Sequence[Training], folder: Path, root: Path) -> None:
    from anomirror.benchmark.figures import FIGURES

    for file in FIGURES[target.value](trainings, folder, root):
        Console().print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)
