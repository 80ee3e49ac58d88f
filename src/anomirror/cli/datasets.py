"""``anomirror data``: what is there, fetching it, checking it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from anomirror.cli.common import DataDir, say
from anomirror.data import DATASETS, GENERATED, data_directory
from anomirror.data.downloads import get as download
from anomirror.data.downloads import present
from anomirror.data.downloads import verify as checked
from anomirror.data.generated import COUNT, DESCRIPTIONS
from anomirror.errors import InputError


def list_sets(data_dir: DataDir = None) -> None:
    """Every named data set.

    Images, size, licence, source, and whether it is below the data directory.
    """
    try:
        root: Path | None = data_directory(data_dir)
    except InputError:
        root = None
    table = Table("name", "here", "images", "form", "download", "terms", "source")
    for name, dataset in DATASETS.items():
        images = ", ".join(f"{count:,} {split}" for split, count in dataset.counts.items())
        here = "?" if root is None else "yes" if present(name, root) else "no"
        form = f"{dataset.size}x{dataset.size}x{dataset.channels}"
        table.add_row(
            name,
            here,
            images,
            form,
            f"{dataset.megabytes:,} MB",
            escape(dataset.terms),
            escape(dataset.source),
        )
    for name in GENERATED:
        table.add_row(
            name,
            "yes",
            f"{COUNT:,} test",
            "any",
            "-",
            "-",
            escape(DESCRIPTIONS[name]),
        )
    Console().print(table)
    if root is None:
        say("without --data-dir or ANOMIRROR_DATA nothing can be said about what is here")


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(DATASETS))],
    data_dir: DataDir = None,
) -> None:
    """Download a set's official files.

    An interrupted download goes on, and every checksum is compared.
    """
    root = data_directory(data_dir)
    if name in GENERATED:
        say(f"{name} is generated; there is nothing to download")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(escape(file))
            progress.update(tasks[file], completed=done, total=total)

        files = download(name, root, show)
    for file in files:
        print(file)


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="all that are there, if none is given"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compare what is on disk with what was published.

    Exit code 2 if something is damaged or a named set is missing.
    """
    root = data_directory(data_dir)
    wanted = names or [name for name in DATASETS if present(name, root)]
    if not wanted:
        raise InputError(
            f"{root}: no named data set is here; `anomirror data list` tells what there is"
        )
    table, wrong = Table("set", "what", "status", "detail"), 0
    for name in wanted:
        for found in checked(name, root):
            table.add_row(name, found.what, found.status, escape(found.detail))
            wrong += found.status == "DAMAGED" or (names is not None and found.status == "missing")
    Console().print(table)
    if wrong:
        raise InputError(
            f"{wrong} of these are damaged or missing; move them away and fetch them with "
            "`anomirror data get`"
        )
