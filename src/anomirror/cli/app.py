"""The application: every command and its examples, and what a run of the program does around
them.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import typer

from anomirror.cli import about, comparing, datasets, evaluating, fitting, results, scoring, upkeep
from anomirror.cli.common import ODD_NAMES, Loudness, say
from anomirror.cli.stopping import Stopped, stoppable
from anomirror.errors import AnomirrorError, AnomirrorWarning

app = typer.Typer(
    name="anomirror",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find anomalies in images after seeing only normal ones.",
)
data = typer.Typer(
    no_args_is_help=True, help="Named data sets: what there is, fetching it, checking it."
)


def _register(family: typer.Typer, name: str, command: Callable[..., None], *examples: str) -> None:
    """Add a command, with examples at the end of its help."""
    lines = "\n\n".join(f"  {line}" for line in examples)
    family.command(name, epilog=f"[bold]Example:[/bold]\n\n{lines}")(command)


_register(app, "demo", about.demo, "anomirror demo --out demo-out")
_register(
    app,
    "fit",
    fitting.fit,
    "anomirror fit good-images/ --out model",
    "anomirror fit good-images/ --method ama --anomalies defects/ --out model --set epochs=30",
)
_register(
    app,
    "compare",
    comparing.compare,
    "anomirror compare good-images/ --anomalies a-few-defects/",
)
_register(
    app,
    "score",
    scoring.score,
    "anomirror score model new-images/ --out scores.csv --maps maps/",
    "find new-images -name '*.png' | anomirror score model -",
)
_register(
    app,
    "evaluate",
    evaluating.evaluate,
    "anomirror evaluate model --normal good/ --anomalies defects/ --json",
    "anomirror evaluate model mvtec/bottle",
)
_register(
    app,
    "suspects",
    upkeep.suspects,
    "anomirror suspects good-images/ --sheet suspects.png --out suspects.csv",
)
_register(app, "drift", upkeep.drift, "anomirror drift model this-week/ --out drift.csv")
_register(
    app,
    "recalibrate",
    upkeep.recalibrate,
    "anomirror recalibrate model new-good-images/ --out model-2",
)
_register(app, "info", about.info, "anomirror info model")
_register(app, "methods", about.methods, "anomirror methods", "anomirror methods ama")
_register(
    app,
    "reproduce",
    results.reproduce,
    "anomirror reproduce table1 --methods ama --seeds 3 --jobs 2 --data-dir data/",
)
_register(
    app,
    "benchmark",
    results.benchmark,
    "anomirror benchmark --normal mnist:3 --anomalies rest --methods ama,pca --seeds 3 --data-dir "
    "data/",
)
_register(app, "tables", results.tables, "anomirror tables results/cpu --format latex > tables.tex")
_register(data, "list", datasets.list_sets, "anomirror data list --data-dir data/")
_register(data, "get", datasets.get, "anomirror data get cifar10 --data-dir data/")
_register(
    data,
    "verify",
    datasets.verify,
    "anomirror data verify --data-dir data/",
    "anomirror data verify mnist cifar10",
)
app.add_typer(data, name="data")

_LOUDNESS = {"-v": 1, "--verbose": 1, "-q": -1, "--quiet": -1}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"anomirror {version('anomirror')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="errors with where they arose")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="only results and errors")] = False,
) -> None:
    Loudness.level = 1 if verbose else -1 if quiet else 0


def main() -> None:
    """Entry point: errors are one clear line and exit code 2, never a traceback (unless ``-v`` or
    ``ANOMIRROR_DEBUG``).
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ODD_NAMES)
    try:
        with _notes(), stoppable():
            app(args=_loudness_first(sys.argv[1:]))
    except Stopped as stopped:
        print(f"stopped by {stopped}{'; ' if stopped.hint else ''}{stopped.hint}", file=sys.stderr)
        sys.exit(128 + stopped.number)
    except Exception as error:
        if os.environ.get("ANOMIRROR_DEBUG") or Loudness.level > 0:
            traceback.print_exc()
        print(f"error: {_said(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, (AnomirrorError, OSError, MemoryError)) else 1)


def _loudness_first(words: list[str]) -> list[str]:
    """``-v`` and ``-q`` stand before the command, wherever they were given."""
    end = words.index("--") if "--" in words else len(words)
    moved = [word for word in words[:end] if word in _LOUDNESS]
    return [*moved, *(word for word in words[:end] if word not in _LOUDNESS), *words[end:]]


def _said(error: Exception) -> str:
    """What went wrong and the way out, in a line of its own."""
    text = str(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        where = getattr(error, "filename", None)
        return (
            f"the disk is full{f' ({where})' if where else ''}; free some space, and go on (a fit "
            "with --resume)"
        )
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return (
            "not enough memory; choose a smaller --size (32 needs least), a smaller batch_size, or "
            "fewer images"
        )
    if isinstance(error, (AnomirrorError, OSError)):
        return text
    first = (text.splitlines() or [""])[0]  # a fault of ours, or of the machine: still one line
    return f"{type(error).__name__}: {first} (-v shows where)"


@contextmanager
def _notes() -> Iterator[None]:
    """Warnings of ours as lines, each once."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if (text := str(message)) not in shown and issubclass(category, AnomirrorWarning):
            shown.add(text)
            say(f"note: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", AnomirrorWarning)
        warnings.showwarning = show
        yield


def keep_freed_memory() -> None:
    """Let the process keep what it frees.

    By default glibc gives large blocks back to the system at once, and each tensor of the next
    minibatch is mapped and faulted in again (docs/performance.md). Elsewhere than on glibc nothing
    happens, nor where MALLOC_ variables say what is wanted.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a static build, or another C library
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)
