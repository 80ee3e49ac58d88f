"""What the commands share: the application, options, and how a line is said."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from anomirror.errors import InputError, SettingError

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


def assigned(texts: Sequence[str] | None) -> dict[str, Any]:
    """Parameters from ``key=value`` with TOML values; what is no TOML is a string, and none is None. The last of a key holds."""
    parameters: dict[str, Any] = {}
    for text in texts or []:
        key, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not key or "\n" in value:
            raise InputError(f"--set {text}: expected key=value")
        try:
            parameters[key] = none_from_word(tomllib.loads(f"value = {value}")["value"])
        except tomllib.TOMLDecodeError:
            parameters[key] = none_from_word(value)
    return parameters


def none_from_word(value: Any) -> Any:
    """What stands in a configuration; TOML has no word for None."""
    return None if isinstance(value, str) and value.lower() == "none" else value


def refuse_owned(parameters: Mapping[str, Any], *owned: str) -> None:
    """Parameters that a command sets by other ways."""
    if found := [name for name in owned if name in parameters]:
        raise SettingError(f"{found[0]} is set by the command line itself; leave it out")
