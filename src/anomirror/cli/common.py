"""What the commands share: the application, options, and how a line is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="anomirror",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Find anomalies in images after seeing only normal ones.",
)

DataDir = Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA", help="where named data sets lie as their official files")]


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "[bold]Example:[/bold]\n\n" + "\n\n".join(f"  {line}" for line in lines)


def say(message: str) -> None:
    """One line on stderr, as it stands: no markup, no wrapping."""
    print(message, file=sys.stderr)


def words(text: str) -> list[str]:
    """Names separated by commas."""
    return [word for part in text.split(",") if (word := part.strip())]
